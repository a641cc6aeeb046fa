"""How much of a model must be fetched before it can be read: what the Hub has, less what this disk holds of it."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from fitune.core.errors import UserError
from fitune.core.hub import call_hub
from fitune.core.runs import Run

# Weights as safetensors only: the other formats are pickles, which run code when loaded.
WANTED = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "*.txt", "tokenizer.model", "*.tiktoken"]
UNWANTED = ["original/*", "onnx/*", "consolidated*"]
PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class Download:
    """What is still to be fetched of a model."""

    model_id: str
    bytes: int | None = None
    """0: all of it is on this machine; None: not known."""
    why_unknown: str = ""
    """Why the Hub can't tell; empty if it has not been asked."""


def on_disk(model_id: str, revision: str | None = None) -> Download:
    """Without a question to the Hub: whether a folder, or the Hub's cache, holds the model's weights, all of them."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    if os.path.isdir(os.path.expanduser(model_id)):
        return Download(model_id, 0)
    try:
        found = try_to_load_from_cache(model_id, "config.json", revision=revision)
    except HFValidationError:
        return Download(model_id)
    whole = isinstance(found, str) and _has_weights(Path(found).parent)
    return Download(model_id, 0 if whole else None)


def download(model_id: str, revision: str | None = None) -> Download:
    """As `on_disk`, and where the weights are not there, what the Hub says of their size. For a thread."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError

    if (found := on_disk(model_id, revision)).bytes == 0:
        return found
    ask = HfApi().model_info
    try:
        told = call_hub(lambda: ask(model_id, revision=revision, files_metadata=True, timeout=PATIENCE_S))
    except UserError as error:
        why = "The Hub has no such model, or not for you." if _withheld(error) else error.message
        return Download(model_id, None, why)
    except HFValidationError:
        return Download(model_id, None, "That is no name of a model on the Hub.")
    return Download(model_id, _missing_bytes(model_id, told.siblings or []))


def _withheld(error: UserError) -> bool:
    """Whether the Hub does not let this user read a model; `call_hub` takes a 403 for a token that may not write."""
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    cause = error.__cause__
    forbidden = isinstance(cause, HfHubHTTPError) and cause.response.status_code == 403
    return forbidden or isinstance(cause, RepositoryNotFoundError)


def of_run(run: Run, ask: bool = True) -> Download:
    """What is still to be fetched of the model that a run was trained on, at the commit that it loaded.

    ask: ask the Hub where the disk does not tell. Raises UserError or BadInput if run.json can't be read.
    """
    from fitune.core.deliver.handoff import job

    trained = job.of_run(run)
    model_id = trained.recipe.model.id
    if job.BUNDLED in trained.notes:
        return Download(model_id, 0)
    return (download if ask else on_disk)(model_id, trained.revision)


def _missing_bytes(model_id: str, files: list[Any]) -> int:
    """Of the files that a model is read from, those whose content the cache lacks; it goes by their hashes."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name
    from huggingface_hub.utils._paths import filter_repo_objects

    blobs = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=model_id, repo_type="model") / "blobs"
    wanted = filter_repo_objects(
        files, allow_patterns=WANTED, ignore_patterns=UNWANTED, key=lambda file: str(file.rfilename)
    )
    missing = (file for file in wanted if not (blobs / (file.lfs.sha256 if file.lfs else file.blob_id)).is_file())
    return sum(file.size or 0 for file in missing)


def _has_weights(folder: Path) -> bool:
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return (folder / "model.safetensors").is_file()
    names = set(orjson.loads(index.read_bytes())["weight_map"].values())
    return all((folder / name).is_file() for name in names)
