"""The fastest plan that fits a card, and why not the others."""

from dataclasses import dataclass, replace
from typing import Any

from fitune.core.forecast.cards import can_be_split
from fitune.core.forecast.forecast import Forecast, forecast
from fitune.core.forecast.plans.candidates import Candidate, Rejected, SearchSpace, start_s
from fitune.core.forecast.plans.search import best_plan, least_short, longest_plan, neighbours
from fitune.core.forecast.plans.ways_out import ways_out
from fitune.core.recipe import changed, value_of
from fitune.core.tokens import loses_much, suggested_length
from fitune.core.units import GIB

WORTH_PROPOSING = 1.2
"""A plan is proposed if it is so many times as fast as the recipe."""


@dataclass(frozen=True, slots=True)
class Fit:
    """The result of the search."""

    plan: Candidate | None
    """The fastest that fits; where none surely does, one that may; None if nothing does."""
    reason: str
    rejected: tuple[Rejected, ...]
    longest: Candidate | None
    """The plan with one row at once, leanest checkpointing, and rows as long as then fit."""
    gain: float | None = None
    """The plan's speed over the recipe's own, once started; None where the recipe does not fit, or no plan surely
    does."""
    ways_out: tuple[Rejected, ...] = ()
    """Changes of what is learned that would fit, and the card that would do; only where nothing surely fits."""

    @property
    def proposal(self) -> Candidate | None:
        """The plan, where it makes the recipe fit or clearly faster: else a change is not worth a word."""
        if self.plan is None or not self.plan.set:
            return None
        return self.plan if self.gain is None or self.gain >= WORTH_PROPOSING else None


def fit(asked: Forecast, base_is_open: bool = False) -> Fit:
    """The result of `fit_as_asked`, where the recipe leaves it open with the model whole on each of several cards, or
    split over them: split only where no other plan fits, or that is clearly slower."""
    if asked.site.ranks == 1 or asked.recipe.run.shard != "auto":
        return fit_as_asked(asked, base_is_open)
    whole = fit_as_asked(_with_split(asked, False), base_is_open)
    if not can_be_split(asked.recipe, asked.shape):
        return whole
    split = fit_as_asked(_with_split(asked, True), base_is_open)
    if split.plan is None or not split.plan.fits:
        return whole
    if whole.plan and whole.plan.fits and split.plan.speed < WORTH_PROPOSING * whole.plan.speed:
        return whole
    plan = replace(split.plan, set={"run.shard": True, **split.plan.set})
    return replace(split, plan=plan, reason=f"No card has room for the whole model, or that is slower. {split.reason}")


def _with_split(asked: Forecast, split: bool) -> Forecast:
    return replace(asked, recipe=changed(asked.recipe, {"run.shard": split}))


def fit_as_asked(asked: Forecast, base_is_open: bool = False) -> Fit:
    """The fastest plan that keeps length, effective batch and result of a recipe. asked: its forecast as it is.

    base_is_open: the base may be kept in 16 bits although the recipe says less, as nobody has asked for that. Where no
    plan surely fits, the one that lacks least is taken, if it may fit with luck. Raises UserError for a model or
    modules that can't be trained.
    """
    space = SearchSpace(asked.shape, asked.recipe, asked.site, asked.rows, base_is_open, start_s(asked))
    own = space.look({})
    best = best_plan(space, own)
    if best is not None:
        rejected = tuple(Rejected(each.set, _unlike(each, best), _why(each, best)) for each in neighbours(space, best))
        gain = best.speed_once_started / own.speed_once_started if own.fits else None
        return Fit(best, _reason(own, best), rejected, longest_plan(space, best), gain)
    leanest = least_short(space, {})
    lucky = [each for each in (own, leanest) if may_fit(each)]
    plan = min(lucky, key=lambda each: each.short_bytes, default=None)
    if plan is None:
        reason = f"Nothing fits: even the leanest plan {_why(leanest, own)}."
    else:
        reason = f"No plan surely fits. This one may, with luck: it {_why(plan, plan)}."
    return Fit(plan, reason, (Rejected({}, {}, _why(own, own)),), None, None, tuple(ways_out(space)))


def whole_rows(asked: Forecast, base_is_open: bool = False) -> Candidate | None:
    """The fastest plan for the rows that a recipe cuts, nearly all of them whole; None where it cuts hardly anything of
    what is to be learned, or where no plan surely has room for them. Parameters and errors as those of `fit_as_asked`.
    """
    length = asked.recipe.model.max_seq_length
    if asked.rows is None or not loses_much(asked.rows, length):
        return None
    if (whole := suggested_length(asked.rows, length)) is None:
        return None
    change = {"model.max_seq_length": whole}
    longer = forecast(asked.shape, changed(asked.recipe, change), asked.site, asked.rows)
    plan = fit_as_asked(longer, base_is_open).plan
    return replace(plan, set={**change, **plan.set}) if plan and plan.fits else None


def may_fit(candidate: Candidate) -> bool:
    short = candidate.forecast.memory_shortage
    return short is None or not short.is_sure


def _unlike(candidate: Candidate, best: Candidate) -> dict[str, Any]:
    names = dict.fromkeys((*best.set, *candidate.set))
    return {name: value_of(candidate.recipe, name) for name in names
            if value_of(candidate.recipe, name) != value_of(best.recipe, name)}  # fmt: skip


def _reason(own: Candidate, best: Candidate) -> str:
    if not best.set:
        return "The recipe as it is: no other setting that teaches the same is noticeably faster."
    if own.fits:
        gain = best.speed_once_started / own.speed_once_started
        said = f"{gain - 1:.0%} faster than" if gain < 2 else f"{gain:.0f} times as fast as"
        return f"Once started, about {said} the recipe as it is.{_of_base(own, best)}"
    return f"The simplest of the fastest plans that fit; the recipe as it is {_why(own, best)}.{_of_base(own, best)}"


def _of_base(own: Candidate, best: Candidate) -> str:
    """A sentence on a change of the base's number format; empty without one."""
    if "model.quant" not in best.set:
        return ""
    before = own.recipe.model.quant
    return f" It changes the number format of the base from {before} to 16 bits: its weights are no longer rounded."


def _why(candidate: Candidate, best: Candidate) -> str:
    """The reason why a plan was not taken."""
    if candidate.budget.refused:
        return "would not be loaded: Unsloth's auto finds no room"
    if short := candidate.forecast.memory_shortage:
        return f"needs {_gib(short.missing_bytes)} more {short.of} to be safe"
    change = candidate.speed_once_started / best.speed_once_started - 1
    if change < -0.005:
        return f"{-change:.0%} slower"
    more_bytes = candidate.budget.total_bytes - best.budget.total_bytes
    return f"no faster worth the change{f', and takes {_gib(more_bytes)} more' if more_bytes > 0 else ''}"


def _gib(amount_bytes: int) -> str:
    return f"{max(amount_bytes, GIB // 10) / GIB:.1f} GiB"
