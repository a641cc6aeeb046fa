"""What a push sends: which folders of a run go to which branch of a repository, and which of their files."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fitune.core.errors import UserError
from fitune.core.runs import Run

What = Literal["adapter", "merged", "gguf", "checkpoints"]
WHAT: tuple[What, ...] = ("adapter", "merged", "gguf", "checkpoints")
MAIN = "main"
OF_CHECKPOINTS = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "README.md")
"""The adapter and its tokenizer. What else a checkpoint holds, a resume reads: optimizer, random state, pickles."""
WEIGHTS = "adapter_model.safetensors"
TRAINERS_OWN = "trainer_state.json"
PLACEHOLDER = "[More Information Needed]"
"""What PEFT's and the Hub's templates of a model card leave where someone should have written."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A folder as it goes to a branch."""

    folder: Path
    sizes: dict[str, int]
    """In bytes, of each file to send, by its path in the folder; a card is made where there is none."""
    branch: str = MAIN
    step: int | None = None
    """Of a checkpoint: after how many steps it was written."""

    @property
    def bytes(self) -> int:
        return sum(self.sizes.values())


def uploads(run: Run, what: What) -> list[Upload]:
    """All that is to be sent, checkpoints in their order. Raises UserError if there is nothing, or nothing proven."""
    if what == "checkpoints":
        return _of_checkpoints(run)
    folder = run.path / what
    if not folder.is_dir():
        first = {"merged": f"fitune merge {run.name}", "gguf": f"fitune export {run.name} --gguf q8_0"}
        raise UserError(f"There is no {folder} yet.", f"First: {first.get(what, f'fitune resume {run.name}')}")
    if what == "gguf" and not list(folder.glob("*.gguf")):
        raise UserError("No GGUF file passed its proof.", f"Make another: fitune export {run.name} --gguf f16")
    files = (path for path in folder.rglob("*") if not _is_aside(path.relative_to(folder)))
    return [Upload(folder, _sizes(folder, files))]


def _of_checkpoints(run: Run) -> list[Upload]:
    from fitune.core.recipe import MOVES_THE_BASE

    whole = (re.fullmatch(r"checkpoint-(\d+)", path.name) for path in run.checkpoints.glob("checkpoint-*"))
    steps = sorted(int(found[1]) for found in whole if found and (run.checkpoints / found[0] / WEIGHTS).is_file())
    if not steps:
        raise UserError(f"{run.name} has no checkpoints on this disk.", "Push the adapter instead.")
    if (init := run.recipe().lora.init) in MOVES_THE_BASE:
        raise UserError(
            f"The checkpoints of {run.name} are no adapters for the base model as it is: {init} has moved a part of "
            "its weights into them, which only the finished adapter has undone.",
            "Push the adapter instead.",
        )
    made = []
    for step in steps:
        folder = run.checkpoints / f"checkpoint-{step}"
        files = (path for pattern in OF_CHECKPOINTS for path in folder.glob(pattern) if path.name != TRAINERS_OWN)
        made.append(Upload(folder, _sizes(folder, files), branch_of(step), step))
    return made


def _sizes(folder: Path, paths: Iterable[Path]) -> dict[str, int]:
    files = (path for path in sorted(paths) if path.is_file() and not _is_template(path))
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


def _is_aside(path: Path) -> bool:
    """Whether a file is huggingface_hub's own note, or failed its proof."""
    return ".cache" in path.parts or ".failed" in path.suffixes


def _is_template(path: Path) -> bool:
    return path.name == "README.md" and PLACEHOLDER in path.read_text(errors="replace")


def branch_of(step: int) -> str:
    """The branch of a checkpoint, in the order of the steps where branches are listed by name."""
    return f"step-{step:06}"
