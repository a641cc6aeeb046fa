"""The files that a push uploads: folders of a run, their files, and the branch each goes to."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fitune.core.errors import UserError
from fitune.core.runs import Run

UploadKind = Literal["adapter", "merged", "gguf", "checkpoints"]
UPLOAD_KINDS: tuple[UploadKind, ...] = ("adapter", "merged", "gguf", "checkpoints")
MAIN = "main"
CHECKPOINT_FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "README.md")
"""The adapter and its tokenizer. The other files of a checkpoint are for resuming: optimizer, random state, pickles."""
WEIGHTS = "adapter_model.safetensors"
TRAINER_STATE = "trainer_state.json"
PLACEHOLDER = "[More Information Needed]"
"""Placeholder in PEFT's and the Hub's templates of a model card."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A folder to upload to a branch."""

    folder: Path
    sizes: dict[str, int]
    """Bytes of each file, by its path in the folder. A model card is added if there is none."""
    branch: str = MAIN
    step: int | None = None
    """Number of steps after which a checkpoint was written."""

    @property
    def bytes(self) -> int:
        return sum(self.sizes.values())


def uploads(run: Run, what: UploadKind) -> list[Upload]:
    """The uploads of a kind, checkpoints by step. Raises UserError if there is nothing, or nothing proven."""
    if what == "checkpoints":
        return _of_checkpoints(run)
    folder = run.path / what
    if not folder.is_dir() and not run.adapter.is_dir():
        raise run.lacks_adapter()
    if not folder.is_dir():
        first = "merge {}" if what == "merged" else "export {} --gguf q8_0"
        raise UserError(f"There is no {folder} yet.", f"First: fitune {first.format(run.name)}")
    if what == "gguf" and not list(folder.glob("*.gguf")):
        raise UserError("No GGUF file passed its proof.", f"Make another: fitune export {run.name} --gguf f16")
    files = (path for path in folder.rglob("*") if not _is_internal(path.relative_to(folder)))
    return [Upload(folder, _sizes(folder, files))]


def _of_checkpoints(run: Run) -> list[Upload]:
    from fitune.core.recipe import BEGINS_FILLED

    matches = (re.fullmatch(r"checkpoint-(\d+)", path.name) for path in run.checkpoints.glob("checkpoint-*"))
    steps = sorted(int(match[1]) for match in matches if match and (run.checkpoints / match[0] / WEIGHTS).is_file())
    if not steps:
        raise UserError(f"{run.name} has no checkpoints on this disk.", "Push the adapter instead.")
    if (init := run.recipe().lora.init) in BEGINS_FILLED:
        raise UserError(
            f"The checkpoints of {run.name} don't fit the base model as it is: with {init} the adapter was not empty "
            "at the start, and only the finished one is converted back.",
            "Push the adapter instead.",
        )
    uploads = []
    for step in steps:
        folder = run.checkpoints / f"checkpoint-{step}"
        files = (path for pattern in CHECKPOINT_FILES for path in folder.glob(pattern) if path.name != TRAINER_STATE)
        uploads.append(Upload(folder, _sizes(folder, files), branch_of(step), step))
    return uploads


def _sizes(folder: Path, paths: Iterable[Path]) -> dict[str, int]:
    files = (path for path in sorted(paths) if path.is_file() and not _is_template(path))
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


def _is_internal(path: Path) -> bool:
    """True for huggingface_hub's own files, and for files that failed their proof."""
    return ".cache" in path.parts or ".failed" in path.suffixes


def _is_template(path: Path) -> bool:
    return path.name == "README.md" and PLACEHOLDER in path.read_text(errors="replace")


def branch_of(step: int) -> str:
    """The name of a checkpoint's branch; sorted by name, branches are in the order of the steps."""
    return f"step-{step:06}"
