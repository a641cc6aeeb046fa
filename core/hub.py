"""The Hub's side of a push: the account behind the token in use, the base model's licence, what refusals mean.

Where a token lies is huggingface_hub's business.
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
    """Whose token it is, and how far it reaches."""

    name: str
    role: str = ""
    """read, write or fineGrained; empty if the Hub does not say."""
    writable: frozenset[str] | None = None
    """The users, organisations and repositories that a fine-grained token may write to; None if that is not said."""

    def require_write(self, repo: str) -> None:
        """Raise UserError if this token surely can't write to a repository, user/name; what is not known may pass."""
        if self.role == "read":
            raise UserError(f"The token of {self.name} may only read.", TOKEN_HELP)
        if self.writable is not None and not self.writable & {repo, repo.partition("/")[0]}:
            raise UserError(
                f"The token of {self.name} may not write to {repo}.",
                "Give it the permission to write there (https://huggingface.co/settings/tokens), or choose another "
                "name.",
            )


def account() -> Account:
    """Ask the Hub whose token this is. Raises TokenNeeded, or UserError where the Hub refuses or can't be reached."""
    from huggingface_hub import HfApi

    told = asked(HfApi().whoami)
    token = (told.get("auth") or {}).get("accessToken") or {}
    return Account(str(told["name"]), str(token.get("role") or ""), _writable(token.get("fineGrained")))


@dataclass(frozen=True, slots=True)
class Licence:
    """A model's licence in the words of its own card."""

    key: str
    """The Hub's identifier, such as apache-2.0; "other" for one that it does not list."""
    name: str | None = None
    link: str | None = None


def licence(model_id: str) -> Licence | None:
    """What the card of a model says, in its folder or on the Hub; None where it says nothing or can't be read."""
    from huggingface_hub import HfApi, ModelCard
    from yaml import YAMLError  # type: ignore[import-untyped]

    folder = Path(os.path.expanduser(model_id))
    try:
        if folder.is_dir():
            return _licence(ModelCard.load(folder / "README.md").data)
        return _licence(asked(lambda: HfApi().model_info(model_id)).card_data)
    except (UserError, OSError, ValueError, YAMLError):
        return None


def use_token(token: str) -> None:
    """Take a token for this process and the workers it starts: from the environment, never from a file.

    Raises UserError for what can't be one.
    """
    token = token.strip()
    if not re.fullmatch(r"[!-~]{8,}", token):
        raise UserError("That can't be a token.", "It begins with hf_ and has no spaces.")
    os.environ["HF_TOKEN"] = token


def asked(question: Callable[[], Any]) -> Any:
    """The Hub's answer. Raises TokenNeeded, or UserError where it refuses or can't be reached."""
    import httpx
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

    try:
        return question()
    except LocalTokenNotFoundError as error:
        raise TokenNeeded("There is no token for the Hub.", TOKEN_HELP) from error
    except UnicodeEncodeError:
        raise unsendable_token() from None
    except HfHubHTTPError as error:
        raise _refusal(error.response.status_code, error.server_message or str(error).partition("\n")[0]) from error
    except (httpx.HTTPError, OfflineModeIsEnabled, JSONDecodeError) as error:
        raise UserError(f"The Hub can't be reached: {_silence(error)}.", "Check the network: fitune doctor.") from error


def unsendable_token() -> TokenNeeded:
    """What an UnicodeEncodeError of the Hub's client means; it holds the token, so nothing is raised from it."""
    hint = "Run `hf auth login`; the variable HF_TOKEN, where set, wins over that."
    return TokenNeeded("The Hub token holds characters that no token has, such as quotation marks of a text.", hint)


def _silence(error: Exception) -> str:
    """Why there was no answer, in plain words; the error itself is for the log."""
    import httpx

    match error:
        case httpx.TimeoutException():
            return "it did not answer in time"
        case httpx.ProxyError():
            return "the proxy lets nothing through to it"
        case httpx.ConnectError() if "certificate" in str(error).lower():
            return "its certificate is not trusted here, mostly because of a proxy in between"
        case httpx.ConnectError():
            return "this machine finds no way to it"
        case httpx.HTTPError():
            return "the connection was cut"
        case JSONDecodeError():
            return "something else answers in its place, perhaps the login page of this network"
    return "HF_HUB_OFFLINE forbids it"


def _refusal(status: int, said: str) -> UserError:
    match status:
        case 401:
            return TokenNeeded("The Hub does not know this token.", TOKEN_HELP)
        case 403:
            return UserError("The token may not write there.", f"Check the name of the repository. {TOKEN_HELP}")
        case 409:
            return UserError(f"The repository was changed meanwhile: {redact(said)}", "Push once more.")
        case 429:
            return UserError("The Hub asks to slow down: too many requests.", "Push again in some minutes.")
    return UserError(f"The Hub answered with status {status}: {redact(said)}", "Push once more, or later.")


def _licence(card: Any) -> Licence | None:
    """Of a card's metadata, which others wrote: only what can be a licence's identifier, name and link."""
    key, name, link = (getattr(card, field, None) for field in ("license", "license_name", "license_link"))
    if not isinstance(key, str) or not re.fullmatch(r"[a-z0-9][a-z0-9.+-]{0,63}", key):
        return None
    named = isinstance(name, str) and re.fullmatch(r"[\w .+()-]{1,100}", name)
    linked = isinstance(link, str) and re.fullmatch(r"https?://[\w./~%#?=&+-]{1,300}", link)
    return Licence(key, name if named else None, link if linked else None)


def _writable(fine_grained: Any) -> frozenset[str] | None:
    """The names in whoami's list of scopes that come with repo.write; None where there is no such list."""
    scopes = fine_grained.get("scoped") if isinstance(fine_grained, dict) else None
    if not isinstance(scopes, list):
        return None
    named = ((scope.get("entity") or {}, scope.get("permissions") or []) for scope in scopes)
    return frozenset(str(entity.get("name")) for entity, permissions in named if "repo.write" in permissions)


def sixteen_bit_name(model_id: str) -> str | None:
    """The repository that a quantized copy was made from, by its name: unsloth/X-bnb-4bit is of unsloth/X."""
    plain = re.sub(r"(-unsloth)?-bnb-[48]bit$", "", model_id)
    return plain if plain != model_id and not model_id.startswith(("/", ".", "~")) else None
