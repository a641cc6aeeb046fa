"""What a push sends: which folders of a run go to which branch of a repository, and which of their files."""

import fnmatch
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.errors import UserError
from core.runs import Run

What = Literal["adapter", "merged", "gguf", "checkpoints"]
WHAT: tuple[What, ...] = ("adapter", "merged", "gguf", "checkpoints")
MAIN = "main"
OF_CHECKPOINTS = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "README.md")
"""The adapter and its tokenizer. What else a checkpoint holds, a resume reads: optimizer, random state, pickles."""
NOT_OF_CHECKPOINTS = "trainer_state.json"
PLACEHOLDER = "[More Information Needed]"
"""What PEFT's and the Hub's templates of a model card leave where someone should have written."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A folder as it goes to a branch."""

    folder: Path
    branch: str = MAIN
    step: int | None = None
    """Of a checkpoint: after how many steps it was written."""

    @property
    def sizes(self) -> dict[str, int]:
        """The size in bytes of each file to upload, by its path in the folder; a card is made where there is none."""
        found = (path for path in sorted(self.folder.rglob("*")) if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path.stat().st_size for path in found if self._wants(path)}

    @property
    def bytes(self) -> int:
        return sum(self.sizes.values())

    def _wants(self, path: Path) -> bool:
        """No files that failed their proof, no template of a card; of a checkpoint only what makes an adapter."""
        if path.name == "README.md" and PLACEHOLDER in path.read_text(errors="replace"):
            return False
        if self.step is not None:
            named = any(fnmatch.fnmatch(path.name, pattern) for pattern in OF_CHECKPOINTS)
            return named and path.parent == self.folder and path.name != NOT_OF_CHECKPOINTS
        return ".cache" not in path.relative_to(self.folder).parts and ".failed" not in path.suffixes


def uploads(run: Run, what: What) -> list[Upload]:
    """All that is to be sent, checkpoints in their order. Raises UserError if there is nothing, or nothing proven."""
    if what == "checkpoints":
        whole = (re.fullmatch(r"checkpoint-(\d+)", path.name) for path in run.checkpoints.glob("checkpoint-*"))
        steps = sorted(int(found[1]) for found in whole if found)
        if not steps:
            raise UserError(f"{run.name} has no checkpoints on this disk.", "Push the adapter instead.")
        return [Upload(run.checkpoints / f"checkpoint-{step}", branch_of(step), step) for step in steps]
    folder = run.path / what
    if not folder.is_dir():
        first = {"merged": f"fitune merge {run.name}", "gguf": f"fitune export {run.name} --gguf q8_0"}
        raise UserError(f"There is no {folder} yet.", f"First: {first.get(what, f'fitune resume {run.name}')}")
    if what == "gguf" and not list(folder.glob("*.gguf")):
        raise UserError("No GGUF file passed its proof.", f"Make another: fitune export {run.name} --gguf f16")
    return [Upload(folder)]


def branch_of(step: int) -> str:
    """The branch of a checkpoint, in the order of the steps where branches are listed by name."""
    return f"step-{step:06}"
