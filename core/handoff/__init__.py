"""What runs elsewhere without fitune: a recipe or a run as a script, a configuration, or a job for another machine."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from core.errors import UserError
from core.handoff.axolotl import axolotl
from core.handoff.cluster import accelerate, skypilot, slurm
from core.handoff.job import Files, Job
from core.handoff.rows import EVAL, TRAIN, write_rows
from core.handoff.script import render_file, script
from core.handoff.serving import ollama, vllm
from core.recipe_fields import MOVES_THE_BASE

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
    match target:
        case "axolotl":
            return axolotl(jobs[0])
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


def write(target: str, jobs: Sequence[Job], folder: Path) -> list[str]:
    """Write all that a target needs, the rows too, into a new folder: whole or not at all. Returns the files' names.

    Raises UserError where the folder holds something already or can't be made, and as `core.dataset.rows`.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists already.", "Name a new folder; nothing was written.")
    aside = folder.with_name(folder.name + ".part")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        for name, text in files_for(target, jobs).items():
            (aside / name).write_text(text, encoding="utf-8")
        if target in TRAINING:
            write_rows(jobs[0].recipe, aside)
        names = sorted(path.name for path in aside.iterdir())
        aside.replace(folder)
    except OSError as error:
        raise UserError(f"{folder} can't be written: {error.strerror}.", "Name another folder.") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return names
