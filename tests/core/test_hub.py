"""How far a token reaches, by what the Hub says of it, and how one is taken from a prompt."""

import os
from json import JSONDecodeError
from typing import Any

import httpx
import pytest

from fitune.core import hub
from fitune.core.errors import TokenNeeded, UserError


def fine(*scopes: tuple[str, list[str]]) -> dict[str, Any]:
    named = [{"entity": {"name": name}, "permissions": permissions} for name, permissions in scopes]
    return {"role": "fineGrained", "fineGrained": {"scoped": named}}


@pytest.mark.parametrize(
    ("token", "repo", "may"),
    [
        ({"role": "write"}, "ada/x", True),
        ({"role": "read"}, "ada/x", False),
        ({}, "ada/x", True),
        (None, "ada/x", True),
        (fine(("ada", ["repo.content.read"])), "ada/x", False),
        (fine(("ada", ["repo.content.read", "repo.write"])), "ada/x", True),
        (fine(("ada", ["repo.write"])), "org/x", False),
        (fine(("ada", ["repo.write"]), ("org/x", ["repo.write"])), "org/x", True),
        ({"role": "fineGrained", "fineGrained": None}, "ada/x", True),
        ({"role": "fineGrained", "fineGrained": {"scoped": "?"}}, "ada/x", True),
    ],
)
def test_a_token_is_refused_only_if_it_surely_may_not_write(
    monkeypatch: pytest.MonkeyPatch, token: Any, repo: str, may: bool
) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi.whoami", lambda self: {"name": "ada", "auth": {"accessToken": token}})
    who = hub.account()
    assert who.name == "ada"
    if may:
        who.require_write(repo)
    else:
        with pytest.raises(UserError, match=r"may only read|may not write to"):
            who.require_write(repo)


def test_a_typed_token_lives_in_the_environment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_older_one")
    hub.use_token("  hf_abcdefgh \n")
    assert os.environ["HF_TOKEN"] == "hf_abcdefgh"


@pytest.mark.parametrize("typed", ["", "hf", "two words in it", "hf_ümlaut_here", "hf_abc\x1b[31mdef"])
def test_what_can_be_no_token_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch, typed: str) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_older_one")
    with pytest.raises(UserError) as refused:
        hub.use_token(typed)
    assert str(refused.value) == "That can't be a token. It begins with hf_ and has no spaces."
    assert os.environ["HF_TOKEN"] == "hf_older_one"


def test_a_header_that_the_client_refuses_does_not_show_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx

    def refuse(self: object) -> None:
        raise httpx.LocalProtocolError("Illegal header value b'Bearer hf_" + "Ab3" * 11 + "'")

    monkeypatch.setattr("huggingface_hub.HfApi.whoami", refuse)
    with pytest.raises(UserError) as refused:
        hub.account()
    assert "Ab3" not in str(refused.value)


def test_where_the_hub_is_out_of_reach_no_token_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", "/nowhere/token")

    def unreachable(self: object, url: str) -> None:
        raise httpx.ConnectError("[Errno -2] Name or service not known")

    monkeypatch.setattr("httpx.Client.head", unreachable)
    with pytest.raises(UserError, match="The Hub can't be reached: this machine can't connect to it") as refused:
        hub.account()
    assert not isinstance(refused.value, TokenNeeded)


def test_a_token_that_cannot_be_sent_is_a_sentence_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "“hf_secret”")
    with pytest.raises(TokenNeeded, match="The Hub token holds characters that no token has") as refused:
        hub.account()
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (httpx.ConnectError("[Errno -2] Name or service not known"), "this machine can't connect to it"),
        (httpx.ConnectError("[SSL] certificate verify failed: self-signed"), "its certificate is not trusted here"),
        (httpx.ProxyError("407"), "the proxy lets nothing through"),
        (httpx.ReadTimeout("The read operation timed out"), "it did not answer in time"),
        (httpx.RemoteProtocolError("peer closed connection"), "the connection was cut"),
        (JSONDecodeError("Expecting value", "<html>", 0), "something else answers in its place"),
    ],
)
def test_a_hub_without_an_answer_is_told_in_plain_words(error: Exception, said: str) -> None:
    def ask() -> None:
        raise error

    with pytest.raises(UserError) as silent:
        hub.call_hub(ask)
    assert silent.value.message.startswith(f"The Hub can't be reached: {said}")
    assert str(error) not in str(silent.value)
