"""Settings that depend on the machine: a recipe that says "auto" becomes one that says what will run, and why."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from fitune.core.data import dataset
from fitune.core.data.files import find
from fitune.core.errors import BadInput, UserError
from fitune.core.forecast.cards import for_split, ranks_of, shared_batch
from fitune.core.machine import Gpu, Machine, choose_backend, pick_gpus
from fitune.core.memory import FAST_UNSLOTH, config_json
from fitune.core.recipe import Data, Recipe, find_contradictions

LOOKED_AT = 64
"""Rows in which images are looked for."""
FILE_SUFFIXES = {".jsonl", ".json", ".csv", ".tsv", ".parquet", ".txt", ".md", ".gz", ".zst"}


@dataclass(frozen=True, slots=True)
class Resolved:
    """A recipe without open ends, the card it will run on, and what was decided on the user's behalf."""

    recipe: Recipe
    gpus: tuple[Gpu, ...]
    """The cards; none for the processor."""
    ranks: int
    """Processes that train together, one a card; on the processor as many as the recipe asks for."""
    backend_reason: str
    notes: tuple[str, ...]
    """Each change, as a sentence: shown before the start, kept in run.json."""
    unsloth_works: bool
    """Unsloth could be used, whatever the recipe asks for."""

    @property
    def gpu(self) -> Gpu | None:
        """The first card; None for the processor."""
        return self.gpus[0] if self.gpus else None


def resolve(recipe: Recipe, machine: Machine, need_data: bool = True) -> Resolved:
    """Choose the card and the backend, and adapt what this machine can't do.

    need_data: the data must be there already. Raises UserError where the recipe insists on something that is not there.
    """
    gpus = pick_gpus(machine, recipe.run.gpu, recipe.run.gpus)
    gpu = min(gpus, key=lambda each: each.compute_capability or (0, 0), default=None)  # the oldest
    ranks = ranks_of(recipe, gpus)
    if ranks > 1 and recipe.train.objective != "sft":
        text = f"run.gpus: objective = {recipe.train.objective} was tried on one card only."
        raise UserError(text, "Set run.gpus = 1.")
    if ranks > 1 and recipe.train.tiled_mlp:
        raise UserError("train.tiled_mlp was tried on one card only.", "Remove it, or set run.gpus = 1.")
    if gpu is None and recipe.lora.init == "loftq":
        raise UserError("lora.init: loftq needs an NVIDIA card: PEFT computes it on one.", 'Use init = "default".')
    model_type = config_json.known_type(recipe.model.id)
    backend, reason = choose_backend(recipe.train.backend, gpu, machine.versions, model_type)
    if recipe.train.backend == "auto" and recipe.trains_all:
        backend, reason = "trl", "trl: it trains all weights."
    unsloth_works = choose_backend("auto", gpu, machine.versions, model_type)[0] == "unsloth"
    images = unsloth_works and _begins_with_images(recipe, model_type)
    if images and backend == "unsloth" and recipe.train.backend == "auto":
        backend, reason = "trl", "trl: nobody has shown yet that unsloth learns right from images."
    if backend == "unsloth":
        refuse_stretched(recipe.model.id, recipe.model.max_seq_length)
    changed: dict[str, dict[str, Any]] = {
        "train": {"backend": backend},
        "model": {"id": _absolute(recipe.model.id, "model.id")},
        "run": {"copy_to": place_of(recipe.run.copy_to)} if recipe.run.copy_to else {},
    }
    key = "data.sources" if recipe.data.sources else "data.source"
    data = recipe.data.with_sources(lambda name: _absolute(name, key)) if need_data else recipe.data
    notes = []
    of_several = (*for_split(recipe, gpus, backend), *shared_batch(recipe, ranks))
    for group, changes, why in (*_adaptations(recipe, backend, gpu), *of_several):
        changed[group].update(changes)
        said = ", ".join(f"{group}.{name} = {value}" for name, value in changes.items())
        notes.append(f"{said}: {why}")
    resolved = recipe.model_copy(
        update={
            **{group: getattr(recipe, group).model_copy(update=changes) for group, changes in changed.items()},
            "data": data,
        }
    )
    if contradictions := find_contradictions(resolved):  # with a backend that "auto" left open
        raise BadInput(contradictions)
    return Resolved(resolved, gpus, ranks, reason, tuple(notes), unsloth_works and not images)


def _begins_with_images(recipe: Recipe, model_type: str | None) -> bool:
    """True if an image is in the first rows of a recipe whose model may see. A data set on the Hub is not looked at: it
    would be fetched at each keystroke; there the training warns."""
    sources = [each.source for each in recipe.data.all_sources()]
    if model_type in FAST_UNSLOTH or any(find.is_on_hub(each) for each in sources):
        return False
    return _first_rows_hold_images(recipe.rows.model_dump_json(), tuple(_changed_ns(each) for each in sources))


@lru_cache(maxsize=16)
def _first_rows_hold_images(data_json: str, _changed: tuple[int, ...]) -> bool:
    """Kept as long as settings and files stay the same, since reading takes 30 ms and screens ask at each key."""
    try:
        return any("images" in row for row in dataset.rows(Data.model_validate_json(data_json), limit=LOOKED_AT))
    except UserError:  # it is told where the rows are needed
        return False


def _changed_ns(source: str) -> int:
    """When a file changed last, in nanoseconds; 0 where there is none."""
    path = os.path.expanduser(source)
    return os.stat(path).st_mtime_ns if os.path.exists(path) else 0


def refuse_stretched(model: str, length: int) -> None:
    """Raise UserError if Unsloth's own layers would count the positions of a model on this disk in smaller steps, so
    that rows of `length` tokens fit (unsloth 2026.10, models/llama.py): the adapter would then fit no other program."""
    made_for = config_json.known_positions(model)
    if made_for and made_for < length and config_json.known_type(model) in FAST_UNSLOTH:
        message = f"model.max_seq_length = {length}: this model was made for {made_for:,} tokens at most."
        hint = f"Set it to {made_for} or less, or choose a model that was made for longer rows."
        raise UserError(message, hint)


def _adaptations(recipe: Recipe, backend: str, gpu: Gpu | None) -> Iterator[tuple[str, dict[str, Any], str]]:
    """(group, changes, why) for each thing that this machine does otherwise."""
    train = recipe.train
    if backend == "trl" and train.checkpointing == "unsloth":
        yield "train", {"checkpointing": "on"}, "only unsloth parks activations in host RAM."
    if backend == "trl" and train.offload_layers is not None:
        yield "train", {"offload_layers": None}, "only unsloth keeps layers in host RAM."
    if backend == "trl" and train.checkpoint_skip_layers is not None:
        yield "train", {"checkpoint_skip_layers": None}, "only unsloth checkpoints a part of the layers."
    if backend == "trl" and train.tiled_mlp:
        yield "train", {"tiled_mlp": False}, "only unsloth computes an MLP in tiles."
    if gpu is None and train.optimizer.startswith(("adamw_8bit", "paged_", "lion_8bit")):
        yield "train", {"optimizer": "adamw_torch"}, "the 8-bit and paged optimizers need an NVIDIA card."
    if gpu is None and recipe.model.quant != "bf16":
        yield "model", {"quant": "bf16"}, "on a CPU quantized weights save little and cost much time."


def place_of(name: str) -> str:
    """A folder that may not be there yet, made absolute; a URL stays as it is."""
    return name if "://" in name else str(Path(os.path.expanduser(name)).absolute())


def _absolute(name: str, key: str) -> str:
    """A path that exists here, made absolute: the worker runs elsewhere. Hub ids stay as they are.

    Raises UserError for what can only be a path, and is not there.
    """
    path = Path(os.path.expanduser(name))
    try:
        if path.exists():
            return str(path.absolute())
    except OSError as error:
        raise UserError(f"{key}: {name} can't be reached: {error.strerror}.", "Check the path.") from None
    if name.startswith(("/", "./", "../", "~")) or name.count("/") > 1 or path.suffix in FILE_SUFFIXES:
        raise UserError(f"{key}: {name} does not exist.", "Check the path; a Hub id looks like owner/name.")
    return name
