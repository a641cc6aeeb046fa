"""`fitune push` asks for a token where there is none, on a terminal only, and never shows or keeps it."""

import getpass
import os
from pathlib import Path

import pytest

from fitune.core import hub
from fitune.core.errors import TokenNeeded, UserError
from fitune.tui.commands.delivery import push
from tests.tui.conftest import Fitune
from tests.tui.test_cli import trained

TOKEN = "hf_" + "Ab3" * 11


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Hub that knows TOKEN only, and it may only read."""
    monkeypatch.setenv("HF_TOKEN", "")

    def account() -> hub.Account:
        if os.environ["HF_TOKEN"] != TOKEN:
            raise TokenNeeded("There is no token for the Hub.", hub.TOKEN_HELP)
        return hub.Account("ada", "read")

    monkeypatch.setattr(hub, "account", account)


@pytest.mark.usefixtures("known")
def test_without_a_terminal_it_says_how_to_log_in(fitune: Fitune, fitune_home: Path) -> None:
    run = trained(fitune_home)
    status, _, err = fitune("push", run.name, "--repo", "me/it")
    assert status == 2
    assert "There is no token for the Hub." in err
    assert "hf auth login" in err
    assert not (run.path / "push.json").exists()


@pytest.mark.usefixtures("known")
def test_a_token_is_asked_for_and_a_wrong_scope_is_told_before_anything_starts(
    fitune: Fitune, fitune_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained(fitune_home)
    monkeypatch.setattr(push, "is_terminal", lambda stream: True)
    monkeypatch.setattr(getpass, "getpass", lambda prompt, stream: TOKEN)
    status, out, err = fitune("push", run.name, "--repo", "me/it")
    assert status == 2
    assert "The token of ada may only read." in err
    assert "Ab3" not in out + err
    assert not (run.path / "push.json").exists()
    for path in fitune_home.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path


@pytest.mark.parametrize(("more", "seen_by"), [([], "private"), (["--public", "--yes"], "PUBLIC: everyone can see it")])
def test_what_leaves_the_machine_is_told_part_by_part_before_it_does(
    fitune: Fitune, fitune_home: Path, monkeypatch: pytest.MonkeyPatch, more: list[str], seen_by: str
) -> None:
    run = trained(fitune_home)
    for step in (20, 100):
        folder = run.checkpoints / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        (folder / "adapter_model.safetensors").write_bytes(bytes(1 << 20))
        (folder / "tokenizer.json").write_bytes(b"{}")

    def refuse() -> hub.Account:
        raise UserError("The Hub can't be reached.")

    monkeypatch.setattr(hub, "account", refuse)
    status, _, err = fitune("push", run.name, "--repo", "me/it", "--checkpoints", *more)
    assert status == 2
    assert f"To me/it, {seen_by}:" in err
    assert "  checkpoint-20, branch step-000020: 1.0 MiB in 2 files, and a model card" in err
    assert "  checkpoint-100, branch step-000100: 1.0 MiB in 2 files, and a model card" in err
