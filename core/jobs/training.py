"""The start of a training: what is checked before, and what its run is made with."""

import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from fitune.core import runs
from fitune.core.at_end import OnEnd
from fitune.core.errors import Problem, UserError, problems_of
from fitune.core.forecast import (
    Fit,
    Forecast,
    Resolved,
    budget_document,
    decisions,
    fit,
    forecast,
    learning_rate,
    resolve,
    site_of,
    together,
)
from fitune.core.jobs.starting import refuse_absent_tracker, start, trainings_beside
from fitune.core.machine import Gpu, Machine, host, require_training_stack
from fitune.core.memory import Shape, shapes
from fitune.core.recipe import Recipe, changed, options
from fitune.core.records import from_json
from fitune.core.runs import BudgetInfo, GpuInfo, Run, RunInfo
from fitune.core.tokens import TokenStats, cache

SMALLER = "All settings together don't save that much: a smaller model does."
REMEDIES_NAMED = 3
ASK_FIT = "Let `fitune fit` search a plan, or start it anyway with --yes."


@dataclass(frozen=True, slots=True)
class Begun:
    """A run that has just been started, and what to tell the user about it."""

    run: Run
    how: str
    """"setsid" or "systemd": what keeps it alive when the terminal goes."""
    backend_reason: str
    notes: tuple[str, ...]
    forecast: Forecast | None = None
    """None where the model is not understood."""
    plan: Fit | None = None
    """The fastest plan for these rows, where they are known in tokens; taken, if that was asked for."""


def begin(
    recipe: Recipe,
    preset: str | None = None,
    share_gpu: bool = False,
    anyway: bool = False,
    rows: TokenStats | None = None,
    fastest: bool = False,
    on_end: OnEnd | None = None,
    prepare: Callable[[Run], object] | None = None,
) -> Begun:
    """Make a run of a recipe on this machine and start it.

    anyway: start although the forecast says that it does not fit. rows: the recipe's rows in tokens, for the forecast;
    None takes what the prepare job has found before, and where it has not, rows count as full length. fastest: train by
    the fastest plan with the same result instead of the recipe's own split of the batch. on_end: what is done when it
    has ended, however that comes. prepare: what is done in the new run's folder before its worker starts. Raises
    UserError;
    a run that was refused leaves nothing behind, and one whose worker died at once its log.
    """
    require_training_stack()  # `start` asks too, but a budget that does not fit would be said first
    refuse_absent_tracker(recipe.train.report_to)
    base = runs.home(recipe.run.home)
    machine = host.detect(base / "runs")
    resolved = resolve(recipe, machine)
    found = foresee(resolved, machine, base, rows)
    plan = fit(found, "quant" not in recipe.model.model_fields_set) if found and found.work else None
    if fastest and plan and plan.proposal:
        resolved, found = replace(resolved, recipe=plan.proposal.recipe), plan.proposal.forecast
    if found and found.verdict == "over" and not anyway:
        refuse(found)
    resolved = with_decisions(resolved, found)
    beside = trainings_beside([gpu.uuid for gpu in resolved.gpus], base)
    run = runs.create(resolved.recipe, base, _info(resolved, machine, found, preset))
    try:
        if prepare:
            prepare(run)
        how = start(run, "train", share_gpu, on_end=on_end)
    except UserError:
        if not run.log.exists():
            shutil.rmtree(run.path)
        raise
    doubts = [each.sentence for each in found.shortages] if found else [_not_checked(resolved)]
    notes = (*resolved.notes, *doubts, *([f"WARN  {beside}"] if beside else []), *_elsewhere(base))
    return Begun(run, how, resolved.backend_reason, notes, found, plan)


def obstacles(recipe: Recipe, machine: Machine, anyway: bool = False) -> list[Problem]:
    """All that would keep a training of a recipe from starting on a machine, at once; a busy card is none of it.

    anyway: it may start although the forecast says that it does not fit.
    """
    found: list[Problem] = []
    for refuse_all in _refusals(recipe, machine, anyway):
        try:
            refuse_all()
        except UserError as error:
            found += problems_of(error)
    return found


def _refusals(recipe: Recipe, machine: Machine, anyway: bool) -> Iterator[Callable[[], object]]:
    """The checks of `begin`, each of which raises UserError by itself."""
    base = runs.home(recipe.run.home)

    def refuse_over() -> None:
        found = foresee(resolve(recipe, machine), machine, base)
        if found and found.verdict == "over" and not anyway:
            refuse(found)

    yield require_training_stack
    yield lambda: refuse_absent_tracker(recipe.train.report_to)
    yield refuse_over


def with_decisions(resolved: Resolved, found: Forecast | None) -> Resolved:
    """The recipe with what the forecast decides: whether its model is split over the cards, and its learning rate; with
    a note on each, and on what it asks for and does not get."""
    made = decisions(resolved.recipe, found.decided) if found else {"run.shard": resolved.recipe.run.shard is True}
    recipe = changed(resolved.recipe, made)
    notes = resolved.notes
    if recipe.run.shard and resolved.recipe.run.shard is not True:
        said = ", ".join(f"{name} = {value}" for name, value in made.items())
        notes = (*notes, f"{said}: the model is split, as no card has room for the whole.")
    if found:
        notes = (*notes, *found.notes)
    if recipe.train.lr == "auto":
        chosen = found.learning_rate if found else learning_rate(recipe, None, None)
        recipe = changed(recipe, {"train.lr": chosen.lr})
        notes = (*notes, f"train.lr = {chosen.lr:g}: {chosen.why}.")
    return replace(resolved, recipe=recipe, notes=notes)


def foresee(resolved: Resolved, machine: Machine, base: Path, rows: TokenStats | None = None) -> Forecast | None:
    """The forecast of a training on this machine; None where the model's size is not known, or the card does not say
    how much memory it has.

    rows: as for `begin`. Raises UserError for a model that can't be trained as it is stored, or in which the recipe
    chooses no layer.
    """
    recipe = resolved.recipe
    if resolved.gpu is not None and resolved.gpu.total_bytes is None:
        return None
    try:
        shape = shapes.load(recipe.model.id, recipe.model.revision, recipe.model.trust_remote_code)
    except UserError:
        return None
    _refuse_what_only_unsloth_reads(shape, recipe)
    return forecast(shape, recipe, site_of(resolved, machine, base), rows or cache.lookup(recipe, base))


def _refuse_what_only_unsloth_reads(shape: Shape, recipe: Recipe) -> None:
    """Raise UserError before a download of files that transformers has no place for. A forecast goes without: the list
    of all presets holds such models, too."""
    if recipe.train.backend != "unsloth" and shape.model_type == "gpt_oss" and shape.stored_as:
        message = f"{shape.name} is stored in 4 bits with a matrix for each expert, which only Unsloth reads."
        raise UserError(message, 'Set train.backend = "unsloth", or take unsloth/gpt-oss-20b-BF16 or 120b-BF16.')


def _not_checked(resolved: Resolved) -> str:
    """Why a training starts without a forecast, as a sentence."""
    if resolved.gpu is not None and resolved.gpu.total_bytes is None:
        return f"WARN  Memory was not checked: {resolved.gpu.name} does not say how much it has."
    name = resolved.recipe.model.id
    return f"WARN  Memory was not checked: the size of {name} is not known. `fitune estimate` on the recipe says why."


def refuse(found: Forecast) -> None:
    """Raise UserError with what is short, and the changes that would help most gently, if all together are enough."""
    ways = budget_document(found).remedies
    tried = " or ".join(options(each.set) for each in ways[:REMEDIES_NAMED])
    enough = together(found, ways).memory_shortage is None
    hint = f"Try {tried}. {ASK_FIT}" if ways and enough else f"{SMALLER} {ASK_FIT}" if ways else ASK_FIT
    raise UserError(" ".join(each.sentence for each in found.shortages if each.is_sure), hint)


def _info(resolved: Resolved, machine: Machine, found: Forecast | None, preset: str | None) -> RunInfo:
    """The content of run.json, but for the recipe and what `runs.create` adds."""
    cards = gpu_infos(resolved)
    return RunInfo(
        preset=preset,
        budget=from_json(BudgetInfo, asdict(budget_document(found))) if found else None,
        workload=asdict(found.work) if found and found.work else None,
        gpu=cards[0] if cards else None,
        gpus=cards if len(cards) > 1 else (),
        ranks=resolved.ranks,
        cpu=machine.cpu_name,
        backend_reason=resolved.backend_reason,
        notes=resolved.notes,
        versions={"python": machine.python_version, **machine.versions},
        host=platform.node(),
    )


def gpu_infos(resolved: Resolved) -> tuple[GpuInfo, ...]:
    """The cards to train on, as run.json has them."""
    return tuple(map(gpu_info, resolved.gpus))


def gpu_info(gpu: Gpu) -> GpuInfo:
    """A card as run.json has it."""
    return GpuInfo(
        uuid=gpu.uuid,
        name=gpu.name,
        total_bytes=gpu.total_bytes,
        free_bytes=gpu.free_bytes,
        compute_capability=gpu.compute_capability,
    )


def _elsewhere(base: Path) -> list[str]:
    """A note on how other commands find a run whose recipe names a home of its own."""
    if base == runs.home():
        return []
    return [f"run.home = {base}: other commands find this run with FITUNE_HOME={base}, or by its path."]
