"""Load a model's config.json: from a folder, from the table that fitune ships, or from the Hub."""

import json
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from fitune.core.errors import UserError
from fitune.core.hub import unsendable_token

CONFIG_FILE = "config.json"
GGUF_HINT = "GGUF files are made for answering, and can't be trained: give the original model, in safetensors."
LARGEST_BYTES = 8 * 2**20


def load_config(model_id: str, revision: str | None = None) -> tuple[object, str]:
    """Load the config.json of a folder, a file or a Hub repository; return its content, and its name for errors.

    Only a repository that the shipped table lacks needs the network, for one small file. Raises UserError with a hint.
    """
    if path := _local(model_id):
        return _read(path), str(path)
    if model_id.endswith(".json") or model_id.startswith(("/", ".", "~")):
        raise UserError(f"{model_id} holds no config.json.", _instead_of(model_id))
    if revision is None and (known := shipped_configs().get(model_id.lower())):
        return known, model_id
    return _read(_fetch(model_id, revision)), model_id


@cache
def shipped_configs() -> dict[str, dict[str, Any]]:
    """Config values by lower-case Hub id, of the models that presets offer; mirrors share their original's."""
    table = _table()
    models: dict[str, dict[str, Any]] = {name.lower(): config for name, config in table["models"].items()}
    return models | {mirror.lower(): models[name.lower()] for mirror, name in table["same_as"].items()}


def shipped_ids() -> tuple[str, ...]:
    """The Hub ids of these models, as the Hub spells them."""
    return (*_table()["models"], *_table()["same_as"])


@cache
def _table() -> dict[str, dict[str, Any]]:
    table: dict[str, dict[str, Any]] = json.loads(
        (Path(__file__).with_name("shapes") / "shapes_table.json").read_text()
    )
    return table


def known_type(model_id: str) -> str | None:
    """The model_type of a model that is on this disk or ships with fitune; None where only the Hub knows it, or where
    the file can't be read: loading it says why."""
    try:
        config = _read(path) if (path := _local(model_id)) else shipped_configs().get(model_id.lower())
    except UserError:
        return None
    model_type = config.get("model_type") if isinstance(config, dict) else None
    return model_type if isinstance(model_type, str) else None


def known_positions(model_id: str) -> int | None:
    """The tokens of the longest text that a model on this disk was made for; None where that is not known."""
    try:
        config = _read(path) if (path := _local(model_id)) else None
    except UserError:
        return None
    return positions_of(config) if isinstance(config, dict) else None


def positions_of(config: Mapping[str, Any]) -> int | None:
    """What a config.json says of the tokens that its model was made for."""
    nested = config.get("text_config")
    trees = (nested, config) if isinstance(nested, Mapping) else (config,)
    found = (tree.get("max_position_embeddings") for tree in trees)
    return next((each for each in found if isinstance(each, int) and not isinstance(each, bool) and each > 0), None)


def _local(model_id: str) -> Path | None:
    """The config.json at a path, or None if the id is no path of one."""
    try:
        path = Path(model_id).expanduser()
        path = path / CONFIG_FILE if path.is_dir() else path
        return path if path.is_file() else None
    except (OSError, RuntimeError, ValueError):  # too long for a path, no such ~user, a NUL byte
        return None


def _instead_of(name: str) -> str:
    """What to give instead of a path without a config.json, by what is there."""
    with suppress(OSError, RuntimeError, ValueError):
        folder = Path(name).expanduser()
        if (adapter := folder / "adapter_config.json").is_file():
            told = json.loads(adapter.read_bytes())
            base = told.get("base_model_name_or_path") if isinstance(told, dict) else None
            return f"It holds an adapter: give the model that it was made for{f', {base}' if base else ''}."
        if next(folder.glob("*.gguf"), None):
            return GGUF_HINT
    return "Give a Hub id, a model's folder, or its config.json."


def _read(path: Path) -> object:
    if path.suffix == ".gguf":
        raise UserError(f"{path} is a GGUF file.", GGUF_HINT)
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise UserError(f"{path} is larger than 8 MiB.", "A model's config.json is a few kilobytes.")
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        line = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise UserError(f"{path} is not valid JSON{line}.", "Download the model's config.json again.") from None
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}.", "Check the path.") from None


def _fetch(model_id: str, revision: str | None) -> Path:
    from httpx import HTTPError
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        if not isinstance(try_to_load_from_cache(model_id, CONFIG_FILE, revision=revision), str):
            get_hf_file_metadata(
                hf_hub_url(model_id, CONFIG_FILE, revision=revision)
            )  # once: the download asks for 30 s
        return Path(hf_hub_download(model_id, CONFIG_FILE, revision=revision))
    except HFValidationError:
        raise UserError(
            f"{model_id!r} is no Hub id and no folder here.", "A Hub id looks like Qwen/Qwen3-8B."
        ) from None
    except GatedRepoError:
        hint = "Accept its licence on huggingface.co, then log in with `hf auth login`."
        raise UserError(f"{model_id} is gated.", hint) from None
    except RevisionNotFoundError:
        raise UserError(f"{model_id} has no revision {revision!r}.", "Check model.revision.") from None
    except RepositoryNotFoundError:
        raise UserError(f"{model_id} is not on the Hub.", "Check the spelling; a private one needs a login.") from None
    except LocalEntryNotFoundError:
        raise _offline(model_id) from None
    except EntryNotFoundError:
        raise UserError(f"{model_id} has no config.json.", "It may hold GGUF files only; use the original.") from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        hint = "Log in again: hf auth login" if status in (401, 403) else "Try again in a while."
        raise UserError(f"The Hub refused to hand out {model_id} (HTTP status {status}).", hint) from None
    except UnicodeEncodeError:
        raise unsendable_token() from None
    except (HTTPError, OSError):
        raise _offline(model_id) from None


def _offline(model_id: str) -> UserError:
    hint = f"Check the connection, or give the model's folder. fitune knows {len(shipped_configs())} models offline."
    return UserError(f"The Hub can't be reached for {model_id}'s config.json.", hint)
