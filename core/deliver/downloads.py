"""Size of a model's download: the files on the Hub less those on this disk."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from fitune.core.errors import UserError
from fitune.core.files import read_file
from fitune.core.hub import call_hub
from fitune.core.runs import Run

# Weights as safetensors only: other formats are pickles, which run code when loaded.
MODEL_FILES = [
    "*.safetensors",
    "*.safetensors.index.json",
    "*.json",
    "*.jinja",
    "*.txt",
    "tokenizer.model",
    "*.tiktoken",
]
INDEX = "model.safetensors.index.json"
SKIPPED_FILES = ["original/*", "onnx/*", "consolidated*"]
TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Download:
    """The download that a model still needs."""

    model_id: str
    bytes: int | None = None
    """0: the whole model is on this machine; None: not known."""
    why_unknown: str = ""
    """The reason that the size is not known; empty if the Hub has not been asked."""


def on_disk(model_id: str, revision: str | None = None) -> Download:
    """Check a folder or the Hub's cache for all of a model's weights, without asking the Hub."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    if os.path.isdir(os.path.expanduser(model_id)):
        return Download(model_id, 0)
    try:
        cached = try_to_load_from_cache(model_id, "config.json", revision=revision)
    except HFValidationError:
        return Download(model_id)
    complete = isinstance(cached, str) and _has_weights(Path(cached).parent)
    return Download(model_id, 0 if complete else None)


def download(model_id: str, revision: str | None = None) -> Download:
    """As `on_disk`, and where the weights are missing, their size from the Hub. It blocks: call it in a thread."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError

    if (local := on_disk(model_id, revision)).bytes == 0:
        return local
    model_info = HfApi().model_info
    try:
        info = call_hub(lambda: model_info(model_id, revision=revision, files_metadata=True, timeout=TIMEOUT_S))
    except UserError as error:
        why = "The Hub has no such model, or not for you." if _is_access_denied(error) else error.message
        return Download(model_id, None, why)
    except HFValidationError:
        return Download(model_id, None, "That is no name of a model on the Hub.")
    return Download(model_id, _missing_bytes(model_id, info.siblings or []))


def _is_access_denied(error: UserError) -> bool:
    """True if the Hub does not let this user read a model; `call_hub` words a 403 as a token that may not write."""
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    cause = error.__cause__
    forbidden = isinstance(cause, HfHubHTTPError) and cause.response.status_code == 403
    return forbidden or isinstance(cause, RepositoryNotFoundError)


def of_run(run: Run, ask: bool = True) -> Download:
    """The download of the model that a run was trained on, at the commit that it loaded.

    ask: ask the Hub if the model is not on disk. Raises UserError or BadInput if run.json can't be read.
    """
    from fitune.core.deliver.handoff import spec

    trained = spec.from_run(run)
    model_id = trained.recipe.model.id
    if spec.BUNDLED in trained.notes:
        return Download(model_id, 0)
    return (download if ask else on_disk)(model_id, trained.revision)


def _missing_bytes(model_id: str, files: list[Any]) -> int:
    """Bytes of the model's files whose content the cache lacks, compared by hash."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name
    from huggingface_hub.utils._paths import filter_repo_objects

    blobs = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=model_id, repo_type="model") / "blobs"
    needed = filter_repo_objects(
        files, allow_patterns=MODEL_FILES, ignore_patterns=SKIPPED_FILES, key=lambda file: str(file.rfilename)
    )
    missing = (file for file in needed if not (blobs / (file.lfs.sha256 if file.lfs else file.blob_id)).is_file())
    return sum(file.size or 0 for file in missing)


def indexed_files(folder: Path) -> set[str] | None:
    """The names of the files that hold a model's weights, as its index has them; None without an index.

    Raises UserError for an index that does not say them, as one that a full disk or a power cut has left empty.
    """
    index = folder / INDEX
    try:
        names = set(orjson.loads(read_file(index))["weight_map"].values())
    except FileNotFoundError:
        return None
    except (OSError, AttributeError, KeyError, TypeError, ValueError):
        names = {None}
    if not all(isinstance(name, str) for name in names):
        raise UserError(f"{index} does not say which file holds which weights.", "Fetch the model again.")
    return names


def _has_weights(folder: Path) -> bool:
    try:
        names = indexed_files(folder)
    except UserError:  # it is fetched again
        return False
    return all((folder / name).is_file() for name in names or {"model.safetensors"})
