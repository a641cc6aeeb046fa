"""The Hugging Face Hub: the account of the token, a model's licence, and its errors as sentences.

The token is stored by huggingface_hub.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from json import JSONDecodeError
from pathlib import Path
from typing import Any

from fitune.core.diagnose import redact
from fitune.core.errors import TokenNeeded, UserError

TOKEN_HELP = "Make a token with the role write (https://huggingface.co/settings/tokens), then: hf auth login"


@dataclass(frozen=True, slots=True)
class Account:
    """The account that a token belongs to, and its permissions."""

    name: str
    role: str = ""
    """read, write or fineGrained; empty if the Hub does not say."""
    writable: frozenset[str] | None = None
    """Users, organisations and repositories that a fine-grained token may write to; None if the Hub does not say."""

    def require_write(self, repo: str) -> None:
        """Raise UserError if this token surely can't write to a repository, user/name; unknown permissions pass."""
        if self.role == "read":
            raise UserError(f"The token of {self.name} may only read.", TOKEN_HELP)
        if self.writable is not None and not self.writable & {repo, repo.partition("/")[0]}:
            raise UserError(
                f"The token of {self.name} may not write to {repo}.",
                "Give it the permission to write there (https://huggingface.co/settings/tokens), or choose another "
                "name.",
            )


def account() -> Account:
    """The account of the token in use. Raises TokenNeeded, or UserError where the Hub refuses or can't be reached."""
    from huggingface_hub import HfApi, constants, get_session, get_token

    try:
        answer = call_hub(HfApi().whoami)
    except TokenNeeded:
        if get_token() is None:  # nobody shall type one where it can't be used
            call_hub(lambda: get_session().head(constants.ENDPOINT))
        raise
    token = (answer.get("auth") or {}).get("accessToken") or {}
    return Account(str(answer["name"]), str(token.get("role") or ""), _writable(token.get("fineGrained")))


@dataclass(frozen=True, slots=True)
class Licence:
    """A model's licence, from its model card."""

    key: str
    """The Hub's identifier, such as apache-2.0; "other" for one that it does not list."""
    name: str | None = None
    link: str | None = None


def licence(model_id: str) -> Licence | None:
    """The licence in a model's card, in its folder or on the Hub; None where it names none or can't be read."""
    from huggingface_hub import HfApi, ModelCard
    from yaml import YAMLError  # type: ignore[import-untyped]

    folder = Path(os.path.expanduser(model_id))
    try:
        if folder.is_dir():
            return _licence(ModelCard.load(folder / "README.md").data)
        return _licence(call_hub(lambda: HfApi().model_info(model_id)).card_data)
    except (UserError, OSError, ValueError, YAMLError):
        return None


def use_token(token: str) -> None:
    """Use a token in this process and the workers it starts: it goes into the environment, never into a file.

    Raises UserError for a text that can't be a token.
    """
    token = token.strip()
    if not re.fullmatch(r"[!-~]{8,}", token):
        raise UserError("That can't be a token.", "It begins with hf_ and has no spaces.")
    os.environ["HF_TOKEN"] = token


def call_hub(request: Callable[[], Any]) -> Any:
    """Call the Hub and return its answer. Raises TokenNeeded, or UserError where it refuses or can't be reached."""
    import httpx
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

    try:
        return request()
    except LocalTokenNotFoundError as error:
        raise TokenNeeded("There is no token for the Hub.", TOKEN_HELP) from error
    except UnicodeEncodeError:
        raise unsendable_token() from None
    except HfHubHTTPError as error:
        raise _refusal(error.response.status_code, error.server_message or str(error).partition("\n")[0]) from error
    except (httpx.HTTPError, OfflineModeIsEnabled, JSONDecodeError) as error:
        raise UserError(
            f"The Hub can't be reached: {_why_unreachable(error)}.", "Check the network: fitune doctor."
        ) from error


def unsendable_token() -> TokenNeeded:
    """The error for a UnicodeEncodeError of the Hub's client. That one holds the token, so raise this `from None`."""
    hint = "Run `hf auth login`; the variable HF_TOKEN, where set, wins over that."
    return TokenNeeded("The Hub token holds characters that no token has, such as quotation marks of a text.", hint)


def _why_unreachable(error: Exception) -> str:
    """The reason for no answer, in plain words; the error itself goes to the log."""
    import httpx

    match error:
        case httpx.TimeoutException():
            return "it did not answer in time"
        case httpx.ProxyError():
            return "the proxy lets nothing through to it"
        case httpx.ConnectError() if "certificate" in str(error).lower():
            return "its certificate is not trusted here, mostly because of a proxy in between"
        case httpx.ConnectError():
            return "this machine can't connect to it"
        case httpx.HTTPError():
            return "the connection was cut"
        case JSONDecodeError():
            return "something else answers in its place, perhaps the login page of this network"
    return "HF_HUB_OFFLINE forbids it"


def _refusal(status: int, server_message: str) -> UserError:
    match status:
        case 401:
            return TokenNeeded("The Hub does not know this token.", TOKEN_HELP)
        case 403:
            return UserError("The token may not write there.", f"Check the name of the repository. {TOKEN_HELP}")
        case 409:
            return UserError(f"The repository was changed meanwhile: {redact(server_message)}", "Push once more.")
        case 429:
            return UserError("The Hub asks to slow down: too many requests.", "Push again in some minutes.")
    return UserError(f"The Hub answered with status {status}: {redact(server_message)}", "Push once more, or later.")


def _licence(card: Any) -> Licence | None:
    """The licence in a model card's metadata; values that can't be an identifier, name or link are dropped."""
    key, name, link = (getattr(card, field, None) for field in ("license", "license_name", "license_link"))
    if not isinstance(key, str) or not re.fullmatch(r"[a-z0-9][a-z0-9.+-]{0,63}", key):
        return None
    name_is_valid = isinstance(name, str) and re.fullmatch(r"[\w .+()-]{1,100}", name)
    link_is_valid = isinstance(link, str) and re.fullmatch(r"https?://[\w./~%#?=&+-]{1,300}", link)
    return Licence(key, name if name_is_valid else None, link if link_is_valid else None)


def _writable(fine_grained: Any) -> frozenset[str] | None:
    """Names with the permission repo.write in whoami's list of scopes; None where there is no such list."""
    scopes = fine_grained.get("scoped") if isinstance(fine_grained, dict) else None
    if not isinstance(scopes, list):
        return None
    scopes_with_permissions = ((scope.get("entity") or {}, scope.get("permissions") or []) for scope in scopes)
    return frozenset(
        str(entity.get("name")) for entity, permissions in scopes_with_permissions if "repo.write" in permissions
    )


def sixteen_bit_name(model_id: str) -> str | None:
    """The 16-bit repository of a quantized copy, by its name: unsloth/X for unsloth/X-bnb-4bit; None if it is none.

    gpt-oss is published in 4 bits of its own kind, so its 16-bit copies have a name of their own.
    """
    plain = re.sub(r"(-unsloth)?-bnb-[48]bit$", "", model_id)
    plain += "-BF16" if plain != model_id and "gpt-oss" in plain else ""
    return plain if plain != model_id and not model_id.startswith(("/", ".", "~")) else None
