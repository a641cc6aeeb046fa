"""Starts what comes after a training: merge, export and push, each with what it needs."""

from collections.abc import Sequence
from pathlib import Path

from fitune.core.deliver import ExportRequest, MergeRequest, PushRequest, UploadKind, uploads
from fitune.core.errors import UserError
from fitune.core.jobs.starting import start
from fitune.core.memory import GGUF_BYTES
from fitune.core.runs import Run


def merge(run: Run, base: str | None = None) -> str:
    """Start the job that writes adapter and model as one into merged/. Returns and raises as `start`.

    base: the model to merge into, if not the one it was trained on: the full one of a quantized copy.
    """
    _require(run, run.adapter)
    if base is not None and not (base and base.isprintable()):
        raise UserError(f"{base!r} can't be the name of a model.", "Give its id on the Hub, or its folder.")
    return start(run, "merge", share_gpu=True, request=MergeRequest(base))  # it leaves a card that trains alone


def merged_model(run: Run) -> Path:
    """The model that a run made, as a folder, for a training that goes on from it: what was learnt is in its weights,
    so an objective that compares answers compares with that. Raises UserError if it was not merged yet."""
    _require(run, run.merged)
    return run.merged


def export(run: Run, kinds: Sequence[str]) -> str:
    """Start the job that makes GGUF files of merged/, of kinds such as "q8_0". Returns and raises as `start`."""
    check_export(run, kinds)
    return start(run, "export", share_gpu=True, request=ExportRequest(tuple(kinds)))


def check_export(run: Run, kinds: Sequence[str]) -> None:
    """Raise UserError if there is nothing to make the files of, or a kind is none of fitune's."""
    if odd := [kind for kind in kinds if kind not in GGUF_BYTES]:
        raise UserError(f"{odd[0]!r} is no kind of GGUF file that fitune makes.", f"Known: {', '.join(GGUF_BYTES)}.")
    _require(run, run.merged)


def push(run: Run, repo: str, private: bool = True, what: UploadKind = "adapter") -> str:
    """Start the job that uploads a part of the run to a repository on the Hub. Returns and raises as `start`."""
    check_push(run, repo, what)
    return start(run, "push", share_gpu=True, request=PushRequest(repo, private, what))


def check_push(run: Run, repo: str, what: UploadKind) -> None:
    """Raise UserError if there is nothing to push, or its name won't do."""
    check_repo(repo)
    uploads(run, what)


def check_repo(repo: str) -> None:
    """Raise UserError if this can't be the name of a repository on the Hub."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError:
        raise UserError(
            f"{repo!r} can't be the name of a repository.",
            "It should read user/name, of letters, digits, '-', '_' and '.', without '--' or '..'.",
        ) from None


def _require(run: Run, folder: Path) -> None:
    if folder.is_dir():
        return
    if not run.adapter.is_dir():
        raise run.lacks_adapter()
    raise UserError(f"There is no {folder} yet.", f"First: fitune merge {run.name}")
