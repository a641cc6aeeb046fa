"""What runs elsewhere without fitune: a recipe or a run as a script, a configuration, or a job for another machine."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fitune.core.deliver.handoff.axolotl import axolotl
from fitune.core.deliver.handoff.cluster import accelerate, skypilot, slurm
from fitune.core.deliver.handoff.dataset_files import EVAL, TRAIN, write_rows
from fitune.core.deliver.handoff.job import Files, Job
from fitune.core.deliver.handoff.script import render_file, script
from fitune.core.deliver.handoff.serving import ollama, vllm
from fitune.core.errors import BadInput, Problem, UserError
from fitune.core.recipe import MOVES_THE_BASE, find_contradictions

__all__ = ["EVAL", "TARGETS", "TRAIN", "TRAINING", "files_for", "write"]
TRAINING = ("script", "axolotl", "accelerate", "slurm", "skypilot")
"""What trains elsewhere, and so needs the rows."""
TARGETS = (*TRAINING, "vllm", "ollama")


def files_for(target: str, jobs: Sequence[Job]) -> Files:
    """The texts that a target needs, the main one first. Only vllm takes several jobs. Raises UserError."""
    if target == "vllm":
        return vllm(jobs)
    if len(jobs) > 1:
        raise UserError(f"{target} takes one run or recipe.", "Several are for vllm: adapters on one base model.")
    if target in TRAINING and (start := jobs[0].recipe.lora.init) in MOVES_THE_BASE:
        raise UserError(
            f"lora.init = {start} moves the base model's weights: what trains elsewhere saves an adapter that fits the "
            "moved ones alone.",
            "Train with fitune, which converts it, or hand off with --set lora.init=default",
        )
    if target in TRAINING and jobs[0].recipe.train.optimizer == "schedule_free_adamw":
        raise UserError(
            "schedule_free_adamw keeps other weights than it learns with, and what trains elsewhere saves the latter.",
            "Train with fitune, which saves the right ones, or hand off with --set train.optimizer=adamw_8bit",
        )
    if target == "axolotl":
        return axolotl(jobs[0])
    if target in TRAINING:
        _refuse_contradictions(target, jobs[0])
    match target:
        case "accelerate":
            return accelerate(jobs[0])
        case "slurm":
            return slurm(jobs[0])
        case "skypilot":
            return skypilot(jobs[0])
        case "ollama":
            return ollama(jobs[0])
        case _:
            return {"run.py": script(jobs[0]), "render.py": render_file()}


def _refuse_contradictions(target: str, job: Job) -> None:
    """Raise BadInput for settings that the backend of the script does not have: `auto` has left it open till here."""
    train = job.recipe.train
    changes: dict[str, Any] = {"backend": "trl" if target == "accelerate" else job.backend}
    if changes["backend"] == "trl":  # these it does otherwise, and says so on top
        changes |= {"checkpointing": "off" if train.checkpointing == "off" else "on", "offload_layers": None}
    found = find_contradictions(job.recipe.model_copy(update={"train": train.model_copy(update=changes)}))
    if found:
        way = f"{target} by {changes['backend']}"
        raise BadInput([Problem(f"{way}: {each.where}", each.text, each.fix) for each in found])


def write(target: str, jobs: Sequence[Job], folder: Path) -> list[str]:
    """Write all that a target needs, the rows too, into a new folder: whole or not at all. Returns the files' names.

    Raises UserError where the folder holds something already or can't be made, and as `core.data.dataset.rows`.
    """
    try:
        taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    except OSError as error:
        raise _unwritable(folder, error) from None
    if taken:
        raise UserError(f"{folder} exists already.", "Name a new folder; nothing was written.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(".part", ".handoff-", folder.parent, ignore_cleanup_errors=True) as beside:
            aside = Path(beside) / "files"
            aside.mkdir()
            for name, text in files_for(target, jobs).items():
                (aside / name).write_text(text, encoding="utf-8")
            if target in TRAINING:
                write_rows(jobs[0].recipe, aside)
            names = sorted(path.name for path in aside.iterdir())
            aside.replace(folder)
    except OSError as error:
        raise _unwritable(folder, error) from None
    return names


def _unwritable(folder: Path, error: OSError) -> UserError:
    return UserError(f"{folder} can't be written: {error.strerror}.", "Name another folder.")
