"""The JSON of forecasts: what `fitune estimate`, `fit` and `presets` print with --json, and run.json keeps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fitune.core.forecast.duration import Duration
from fitune.core.forecast.forecast import Forecast, Verdict
from fitune.core.forecast.learning_rate import LearningRate
from fitune.core.forecast.pace import Pace
from fitune.core.forecast.plans.candidates import Candidate, Rejected
from fitune.core.forecast.plans.cards_choice import CardsChoice
from fitune.core.forecast.plans.fit import Fit
from fitune.core.forecast.plans.remedies import Remedy, remedies
from fitune.core.memory import BudgetPart
from fitune.core.tokens import Workload


@dataclass(frozen=True, slots=True)
class BudgetDocument:
    """The memory that a recipe takes, item by item, and the verdict on it."""

    total_bytes: int
    """The peak that nvidia-smi would show for the process; on a processor the peak of its RAM."""
    low_bytes: int
    """The least that the total may be."""
    high_bytes: int
    """The most that the total may be."""
    host_bytes: int
    """Host RAM that is pinned beside the card."""
    disk_bytes: int
    """Disk for the run, the download of the model included."""
    checkpoint_bytes: int
    """The part of one checkpoint."""
    free_bytes: int
    """Memory that the run may take: of the card, or on a processor of the RAM; 0 is unknown."""
    verdict: Verdict
    """fits, tight (it may, with luck) or over: of the card's memory, host RAM and disk together."""
    shortages: tuple[str, ...]
    """A sentence for each thing that is short."""
    parts: tuple[BudgetPart, ...]
    """The items of the budget; they sum to total_bytes."""
    remedies: tuple[Remedy, ...]
    """Changes that help, the gentlest first; only where it does not fit."""


@dataclass(frozen=True, slots=True)
class EstimateDocument(BudgetDocument):
    """The answer of `fitune estimate --json`."""

    pace: Pace
    """The forecast of the training's speed."""
    workload: Workload | None
    """The whole training in tokens; null where the rows were not measured."""
    duration: Duration | None
    """The time of the whole training; null where the rows were not measured, or for a card without figures."""
    learning_rate: LearningRate
    """The highest learning rate, and the reason for it."""


@dataclass(frozen=True, slots=True)
class PlanDocument:
    """A plan of `fitune fit --json`."""

    set: Mapping[str, Any]
    """Changes of the recipe, by `group.key`; null unsets a field."""
    max_seq_length: int
    """Tokens of the longest row that the plan allows."""
    budget: BudgetDocument
    """The memory that the plan takes."""
    pace: Pace
    """The forecast of the plan's speed."""
    duration: Duration | None
    """The time of the whole training; null where the rows were not measured, or for a card without figures."""


@dataclass(frozen=True, slots=True)
class FitDocument:
    """The answer of `fitune fit --json`."""

    fits: bool
    """True if there is a plan that is not over."""
    reason: str
    """The reason for the plan, or why nothing fits, as a sentence."""
    plan: PlanDocument | None
    """The plan that was chosen; null if nothing fits."""
    rejected: tuple[Rejected, ...]
    """Other plans, each with the reason why it was not taken."""
    longest: PlanDocument | None
    """The plan with the longest rows that fit, one at a time."""
    whole_rows: PlanDocument | None
    """The fastest plan with a max_seq_length that leaves nearly all rows whole; null where the recipe cuts hardly
    anything, where no such plan surely fits, or where the rows were not measured."""
    ways_out: tuple[Rejected, ...]
    """Changes of what is learned that would fit, and the card that would do; only where nothing surely fits."""
    recipe: BudgetDocument
    """The recipe as it is."""
    workload: Workload | None
    """The whole training in tokens; null where the rows were not measured."""
    cards: tuple["CardsDocument", ...] = ()
    """One card, and all together, on a machine with several; empty where there is nothing to choose."""


@dataclass(frozen=True, slots=True)
class CardsDocument:
    """A number of cards that could train together."""

    gpus: int
    """The value of run.gpus."""
    proposed: bool
    """The choice that is proposed."""
    why: str
    """The reason for or against it."""
    plan: PlanDocument | None
    """Its plan; null if nothing fits. The memory is that of each card."""


@dataclass(frozen=True, slots=True)
class PresetDocument:
    """A preset in the list of `fitune presets --json`."""

    id: str
    """The name of the preset, which may stand in place of a recipe file."""
    title: str
    """Size of the model and of the card: 8B on 12 GB."""
    whom: str
    """A sentence on the users it is for."""
    models: tuple[str, ...]
    """Hub ids of suitable models; the first is the default."""
    card_gib: float
    """The size of card it is made for."""
    total_bytes: int
    """The peak that nvidia-smi would show for the process; on a processor the peak of its RAM."""
    host_bytes: int
    """Host RAM that is pinned beside the card."""
    offloaded_layers: int
    """Layers kept in host RAM."""
    verdict: Verdict
    """fits, tight (it may, with luck), over or unknown: on this machine."""
    shortages: tuple[str, ...]
    """A sentence for each thing that is short."""
    tokens_per_s: float | None
    """Padding included; null for a card without figures."""
    evidence: str
    """What was measured with its first model, or "estimated"; then also what was measured with another one."""


def budget_document(now: Forecast) -> BudgetDocument:
    """The budget of a forecast, with remedies where it does not fit."""
    budget = now.budget
    return BudgetDocument(
        total_bytes=budget.total_bytes,
        low_bytes=budget.low_bytes,
        high_bytes=budget.high_bytes,
        host_bytes=budget.host_bytes,
        disk_bytes=budget.disk_bytes,
        checkpoint_bytes=budget.checkpoint_bytes,
        free_bytes=budget.free_bytes,
        verdict=now.verdict,
        shortages=tuple(each.sentence for each in now.shortages),
        parts=budget.parts,
        remedies=tuple(remedies(now)) if now.memory_shortage and budget.free_bytes else (),
    )


def estimate_document(now: Forecast) -> EstimateDocument:
    """The answer of `fitune estimate --json`."""
    budget = budget_document(now)
    kept = {name: getattr(budget, name) for name in BudgetDocument.__dataclass_fields__}
    return EstimateDocument(
        **kept, pace=now.pace, workload=now.work, duration=now.duration, learning_rate=now.learning_rate
    )


def fit_document(
    found: Fit, own: Forecast, cards: Sequence[CardsChoice] = (), whole: Candidate | None = None
) -> FitDocument:
    """The answer of `fitune fit --json`. own: the forecast of the recipe as it is. cards: of a machine with several.
    whole: as `whole_rows` has it."""
    return FitDocument(
        fits=found.plan is not None and found.plan.forecast.verdict != "over",
        reason=found.reason,
        plan=_plan(found.plan),
        rejected=found.rejected,
        longest=_plan(found.longest),
        whole_rows=_plan(whole),
        ways_out=found.ways_out,
        recipe=budget_document(own),
        workload=own.work,
        cards=tuple(CardsDocument(each.gpus, each.proposed, each.why, _plan(each.plan)) for each in cards),
    )


def _plan(candidate: Candidate | None) -> PlanDocument | None:
    if candidate is None:
        return None
    length = candidate.recipe.model.max_seq_length
    now = candidate.forecast
    return PlanDocument(candidate.set, length, budget_document(now), now.pace, now.duration)
