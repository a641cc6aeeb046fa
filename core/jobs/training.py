"""Starts a training: what is checked before, and what the run is made with."""

import platform
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fitune.core import runs
from fitune.core.errors import UserError
from fitune.core.forecast import Experience, Resolved, card_of, history, ram_lack, remedies, resolve
from fitune.core.jobs.starting import start
from fitune.core.machine import GIB, Gpu, host
from fitune.core.memory import EXPERT_NAMES, budget, shapes
from fitune.core.recipe import Recipe
from fitune.core.runs import Run
from fitune.core.tokens import Prepared, Workload, as_decided, cache


@dataclass(frozen=True, slots=True)
class Begun:
    """A run that has just been started, and what to tell the user about it."""

    run: Run
    how: str
    """"setsid" or "systemd": what keeps it alive when the terminal goes."""
    backend_reason: str
    notes: tuple[str, ...]
    budget: Mapping[str, Any] | None = None
    """As run.json has it; None where `budget_of` makes none."""
    work: Workload | None = None
    """By the true lengths of the rows, which the budget is made of; None: rows count as full length."""


TOLD_OF_GPU = ("uuid", "name", "total_bytes", "free_bytes", "compute_capability")


def begin(
    recipe: Recipe,
    preset: str | None = None,
    share_gpu: bool = False,
    anyway: bool = False,
    rows: Prepared | None = None,
) -> Begun:
    """Make a run of a recipe on this machine and start it.

    anyway: start although the budget says that it does not fit. rows: the recipe's rows in tokens, for the budget; None
    takes what the prepare job has found before, and where it has not, rows count as full length. Raises UserError; a
    run that was refused leaves nothing behind, and one whose worker died at once its log.
    """
    _refuse_absent_tracker(recipe.train.report_to)
    base = runs.home(recipe.run.home)
    found = host.detect(base / "runs")
    resolved = resolve(recipe, found)
    gpu = resolved.gpu
    taught = history.experience(base, gpu, found.cpu_name, found.versions, resolved.recipe.train.backend)
    rows = rows or cache.known(resolved.recipe, base)
    _, work = as_decided(resolved.recipe, rows)
    planned = budget_of(resolved, taught, rows, found.ram_available_bytes)
    if planned and planned["verdict"] == "over" and not anyway:
        refuse_too_large(planned, gpu)
    run = runs.create(
        resolved.recipe,
        base,
        {
            "preset": preset,
            "budget": planned,
            "workload": asdict(work) if work else None,
            "gpu": {key: getattr(gpu, key) for key in TOLD_OF_GPU} if gpu else None,
            "cpu": found.cpu_name,
            "backend_reason": resolved.backend_reason,
            "notes": resolved.notes,
            "versions": {"python": found.python_version, **found.versions},
            "host": platform.node(),
        },
    )
    try:
        how = start(run, "train", share_gpu)
    except UserError:
        if not run.log.exists():
            shutil.rmtree(run.path)
        raise
    lack = ram_lack(planned["host_bytes"], found.ram_available_bytes) if planned else ""
    notes = (*resolved.notes, *_elsewhere(base), *([lack] if lack else []))
    return Begun(run, how, resolved.backend_reason, notes, planned, work)


def _refuse_absent_tracker(name: str) -> None:
    """Raise UserError if the package of train.report_to is not installed: the trainer would find out after minutes."""
    if name != "none" and find_spec(name) is None:
        hint = f'Install it beside fitune (uv pip install {name}), or set report_to = "none".'
        raise UserError(f"train.report_to: the package {name} is not installed.", hint)


def _elsewhere(base: Path) -> list[str]:
    """How other commands find a run whose recipe names a home of its own."""
    if base == runs.home():
        return []
    return [f"run.home = {base}: other commands find this run with FITUNE_HOME={base}, or by its path."]


def budget_of(
    resolved: Resolved, taught: Experience, rows: Prepared | None = None, ram_bytes: int | None = None
) -> dict[str, Any] | None:
    """The budget of a resolved recipe as `fitune estimate --json` has it; None where the model is not understood, the
    card doesn't tell its size, or only experts are trained, whose adapters the budget doesn't know.

    taught: what earlier runs here taught; the budget is corrected by it. rows: as for `begin`. ram_bytes: the free RAM,
    which judges where there is no card. Raises UserError for a model that can't be trained as it is stored, or in which
    the recipe chooses no layer.
    """
    card = card_of(resolved.gpu)
    if resolved.gpu is not None and card is None:
        return None
    recipe, work = as_decided(resolved.recipe, rows)
    tokens = work.longest if work else None
    try:
        shape = shapes.load(recipe.model.id, recipe.model.revision)
    except UserError:
        return None
    chosen = recipe.lora.target_modules
    only_experts = shape.expert_params and isinstance(chosen, tuple) and EXPERT_NAMES.issuperset(chosen)
    if only_experts and recipe.train.backend == "unsloth":
        return None
    planned = taught.budget(budget.estimate(shape, recipe, card, tokens))
    planned = planned if card else budget.in_ram(planned, ram_bytes)
    ways = remedies(shape, recipe, card, tokens, taught, resolved.unsloth_works) if planned.verdict == "over" else []
    return budget.to_json(planned, ways)


def refuse_too_large(planned: dict[str, Any], gpu: Gpu | None) -> None:
    """Raise UserError if a card's memory will not do, with the changes that would help most gently."""
    if gpu is None:
        return
    ways = [" ".join(f"--set {key}={value}" for key, value in each["set"].items()) for each in planned["remedies"][:3]]
    wanted_gib, free_gib = planned["total_bytes"] / GIB, planned["free_bytes"] / GIB
    said = f"This needs about {wanted_gib:.1f} GiB, and {gpu.name} has {free_gib:.1f} GiB free."
    if planned["total_bytes"] <= planned["free_bytes"]:
        said = f'Unsloth would not load this: train.offload_layers = "auto" finds no room on {gpu.name}.'
    raise UserError(
        said,
        f"Try {' or '.join(ways)}; or start it anyway with --yes." if ways else "Start it anyway with --yes.",
    )
