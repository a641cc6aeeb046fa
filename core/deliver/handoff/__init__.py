"""Hand-offs: a recipe or a run as a script, a configuration or a job file that needs no fitune."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fitune.core.deliver.handoff.axolotl import axolotl
from fitune.core.deliver.handoff.cluster import accelerate, cards_of, skypilot, slurm
from fitune.core.deliver.handoff.dataset_files import EVAL, GENERAL, ROWS, TRAIN, write_all_rows, write_rows
from fitune.core.deliver.handoff.script_files import script_files
from fitune.core.deliver.handoff.serving import ollama, vllm
from fitune.core.deliver.handoff.spec import Files, TrainingSpec
from fitune.core.errors import BadInput, Problem, UserError
from fitune.core.recipe import BEGINS_FILLED, find_contradictions

__all__ = ["EVAL", "TARGETS", "TRAIN", "TRAINING", "files_for", "row_files", "write"]
TRAINING = ("script", "axolotl", "accelerate", "slurm", "skypilot")
"""Targets that train, and so need the rows."""
WITH_FITUNE = ("slurm", "skypilot")
"""Those that train with fitune where it is, and so need the rows as it reads them."""
TARGETS = (*TRAINING, "vllm", "ollama")


def files_for(target: str, specs: Sequence[TrainingSpec]) -> Files:
    """The files of a target, the main one first. Only vllm takes several specs. Raises UserError."""
    if target == "vllm":
        return vllm(specs)
    if len(specs) > 1:
        raise UserError(f"{target} takes one run or recipe.", "Several are for vllm: adapters on one base model.")
    if target in TRAINING and (objective := specs[0].recipe.train.objective) != "sft":
        text = f"A hand-off to {target} trains on good answers alone, and not with objective = {objective}."
        raise UserError(text, "Train it here: fitune train RECIPE.")
    if target in TRAINING and (start := specs[0].recipe.lora.init) in BEGINS_FILLED:
        raise UserError(
            f"lora.init = {start} begins with an adapter that is not empty: what trains elsewhere saves one that does "
            "not fit the base model as it is.",
            "Train with fitune, which converts it, or hand off with --set lora.init=default",
        )
    if target in TRAINING and target != "axolotl" and specs[0].recipe.trains_all:
        raise UserError(
            "train.weights = all: the script that is handed off trains adapters.",
            "Train with fitune, or hand off with --to axolotl, which trains all weights, too.",
        )
    if target in TRAINING and specs[0].recipe.train.optimizer == "schedule_free_adamw":
        raise UserError(
            "schedule_free_adamw keeps other weights than it learns with, and what trains elsewhere saves the latter.",
            "Train with fitune, which saves the right ones, or hand off with --set train.optimizer=adamw_8bit",
        )
    if target == "axolotl":
        return axolotl(specs[0])
    if target in TRAINING:
        _refuse_contradictions(target, specs[0])
    match target:
        case "accelerate":
            return accelerate(specs[0])
        case "slurm":
            return slurm(specs[0])
        case "skypilot":
            return skypilot(specs[0])
        case "ollama":
            return ollama(specs[0])
        case _:
            return script_files(specs[0])


def row_files(target: str, spec: TrainingSpec) -> list[str]:
    """The files with rows that a target's folder holds."""
    general = [GENERAL] if spec.recipe.data.general() else []
    return [*([TRAIN, EVAL] if target in TRAINING else []), *([ROWS, *general] if target in WITH_FITUNE else [])]


def _refuse_contradictions(target: str, spec: TrainingSpec) -> None:
    """Raise BadInput for settings that the script's backend does not support: `auto` is resolved only here."""
    train = spec.recipe.train
    several = target == "accelerate" or (target == "slurm" and cards_of(spec) > 1)
    changes: dict[str, Any] = {"backend": "trl" if several else spec.backend}
    if changes["backend"] == "trl":  # the script changes these, and says so in its header
        changes |= {"checkpointing": "off" if train.checkpointing == "off" else "on"}
        changes |= {"offload_layers": None, "checkpoint_skip_layers": None, "tiled_mlp": False}
    contradictions = find_contradictions(spec.recipe.model_copy(update={"train": train.model_copy(update=changes)}))
    if contradictions:
        way = f"{target} by {changes['backend']}"
        raise BadInput([Problem(f"{way}: {problem.where}", problem.text, problem.fix) for problem in contradictions])


def write(target: str, specs: Sequence[TrainingSpec], folder: Path) -> list[str]:
    """Write a target's files, and the rows, into a new folder: whole or not at all. Returns the files' names.

    Raises UserError if the folder is not empty or can't be made, and as `core.data.dataset.rows`.
    """
    try:
        taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    except OSError as error:
        raise _unwritable(folder, error) from None
    if taken:
        raise UserError(f"{folder} exists already.", "Name a new folder; nothing was written.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(".part", ".handoff-", folder.parent, ignore_cleanup_errors=True) as temporary:
            staging = Path(temporary) / "files"
            staging.mkdir()
            for name, text in files_for(target, specs).items():
                (staging / name).write_text(text, encoding="utf-8")
            if target in TRAINING:
                write_rows(specs[0].recipe, staging)
            if target in WITH_FITUNE:
                write_all_rows(specs[0].recipe, staging)
            names = sorted(path.name for path in staging.iterdir())
            staging.replace(folder)
    except OSError as error:
        raise _unwritable(folder, error) from None
    return names


def _unwritable(folder: Path, error: OSError) -> UserError:
    return UserError(f"{folder} can't be written: {error.strerror}.", "Name another folder.")
