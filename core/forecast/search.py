"""The fastest plan that fits a card, and why not the others: a search over settings which leave the result alone.

Rows at once, checkpointing, layers in host RAM and the optimizer's precision change neither what is learned nor from
which batches. Length, rank and quantization do: they are named as ways out where nothing fits, never chosen.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fitune.core.forecast.candidates import Candidate, SearchSpace
from fitune.core.forecast.forecast import Forecast
from fitune.core.forecast.remedies import STATES_32BIT, can_offload, fewest_layers
from fitune.core.memory import Card
from fitune.core.recipe import changed, find_contradictions, value_of
from fitune.core.units import GIB

NO_FASTER = 0.05
"""Paces within this share of each other count as one: a guess of pace tells no more apart. Fewer changes are better."""
WORTH_PROPOSING = 1.2
"""A plan is proposed if it is so many times as fast as the recipe."""
ENOUGH_TOKENS = 65_536
"""More tokens at once gain nothing: the smallest model keeps the fastest card busy with these."""
FUSED = "adamw_torch_fused"
PLANNED = ("train.micro_batch", "train.grad_accum", "train.checkpointing", "train.offload_layers", "train.optimizer")
"""The fields that a plan may change."""
LENGTH_STEP, LONGEST = 64, 2**20
LOWEST_RANK = 4
CARDS_GIB = (6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 141, 180)
"""Sizes of cards that are sold."""
CARD_FREE_SHARE = 0.95
"""The share of its memory that an idle card has free, about."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A plan that was not taken, and why."""

    set: Mapping[str, Any]
    """Changes of the recipe that make it."""
    unlike: Mapping[str, Any]
    """Its differences from the plan that was taken, by `group.key`."""
    why: str


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
    """The plan's speed over the recipe's own; None where the recipe does not fit, or no plan surely does."""
    ways_out: tuple[Rejected, ...] = ()
    """Changes of what is learned that would fit, and the card that would do; only where nothing surely fits."""

    @property
    def proposal(self) -> Candidate | None:
        """The plan, where it makes the recipe fit or clearly faster: else a change is not worth a word."""
        if self.plan is None or not self.plan.set:
            return None
        return self.plan if self.gain is None or self.gain >= WORTH_PROPOSING else None


def fit(asked: Forecast) -> Fit:
    """The fastest plan that keeps length, effective batch and result of a recipe. asked: its forecast as it is.

    Where no plan surely fits, the one that lacks least is taken, if it may fit with luck. Raises UserError for a model
    or modules that can't be trained.
    """
    space = SearchSpace(asked.shape, asked.recipe, asked.site, asked.rows)
    own = space.look({})
    best = _best(space, own)
    if best is not None:
        rejected = tuple(Rejected(each.set, _unlike(each, best), _why(each, best)) for each in _neighbours(space, best))
        gain = best.speed / own.speed if own.fits else None
        return Fit(best, _reason(own, best), rejected, _longest(space, best), gain)
    leanest = _least_short(space, {})
    lucky = [each for each in (own, leanest) if _may_fit(each)]
    plan = min(lucky, key=lambda each: each.short_bytes, default=None)
    if plan is None:
        reason = f"Nothing fits: even the leanest plan {_why(leanest, own)}."
    else:
        reason = f"No plan surely fits. This one may, with luck: it {_why(plan, plan)}."
    return Fit(plan, reason, (Rejected({}, {}, _why(own, own)),), None, None, tuple(_ways_out(space)))


def _may_fit(candidate: Candidate) -> bool:
    short = candidate.forecast.memory_shortage
    return short is None or not short.is_sure


def _best(space: SearchSpace, own: Candidate) -> Candidate | None:
    """Of the plans that fit the fastest; of those about as fast the one that asks least of a person and the machine."""
    found = [each for each in (own, *_candidates(space)) if each.fits]
    top = max((each.speed for each in found), default=0.0)
    close = [each for each in found if each.speed >= top * (1 - NO_FASTER)]

    def trouble(plan: Candidate) -> tuple[int, bool, float, int]:
        changes = len(plan.set) - ("train.grad_accum" in plan.set)  # a split of the batch is one change
        return changes, plan.budget.offloaded_layers > 0, -round(plan.speed / top, 2), plan.budget.total_bytes

    return min(close, key=trouble, default=None)


def _candidates(space: SearchSpace) -> Iterator[Candidate]:
    """Plans worth a look: for each mode the numbers of rows that fit, then those that fit with layers in host RAM."""
    for mode in _modes(space):
        for optimizer in _optimizers(space):
            common = {"train.checkpointing": mode, "train.optimizer": optimizer}
            rows = list(_rows_at_once(space))
            while rows and (candidate := space.look({**common, **rows[0], "train.offload_layers": None})).fits:
                yield candidate
                rows.pop(0)
            if not can_offload(space.shape, changed(space.recipe, common), space.site.card):
                continue
            for each in rows:
                candidate = _with_fewest_layers(space, {**common, **each})
                if not candidate.fits:
                    break
                yield candidate


def _with_fewest_layers(space: SearchSpace, changes: Mapping[str, Any]) -> Candidate:
    """The fewest layers in host RAM with which the card has room: host RAM may well lack it for more."""

    def away(layers: int) -> Candidate:
        return space.look({**changes, "train.offload_layers": layers})

    return away(fewest_layers(len(space.shape.layers) - 1, lambda layers: away(layers).budget.verdict == "fits"))


def _rows_at_once(space: SearchSpace) -> Iterator[dict[str, int]]:
    """Each way to split the effective batch, fewest rows at once first, as far as more rows can gain anything."""
    train = space.recipe.train
    batch = train.micro_batch * train.grad_accum
    most = max(1, train.micro_batch, ENOUGH_TOKENS // space.longest)
    for rows in range(1, min(batch, most) + 1):
        if batch % rows == 0:
            yield {"train.micro_batch": rows, "train.grad_accum": batch // rows}


def _modes(space: SearchSpace) -> tuple[str, ...]:
    unsloth = space.site.card is not None and space.recipe.train.backend != "trl"
    return ("off", "on", "unsloth") if unsloth else ("off", "on")


def _optimizers(space: SearchSpace) -> tuple[str, ...]:
    """The recipe's own; one with smaller states, or one whose kernels are fused, which is quicker; a processor has
    neither."""
    own = space.recipe.train.optimizer
    if space.site.card is None:
        return (own,)
    if own in STATES_32BIT:
        return (own, "adamw_8bit")
    return (own, FUSED) if own == "adamw_8bit" else (own,)


def _leanest(space: SearchSpace) -> dict[str, Any]:
    """The plan that takes least, whatever it costs in time."""
    rows = next(_rows_at_once(space))
    lean = {**rows, "train.checkpointing": _modes(space)[-1], "train.optimizer": _leanest_optimizer(space)}
    away = can_offload(space.shape, changed(space.recipe, lean), space.site.card)
    return {**lean, "train.offload_layers": len(space.shape.layers) - 1} if away else lean


def _leanest_optimizer(space: SearchSpace) -> str:
    return "adamw_8bit" if "adamw_8bit" in _optimizers(space) else space.recipe.train.optimizer


def _least_short(space: SearchSpace, changes: Mapping[str, Any]) -> Candidate:
    """The leanest plan with these changes; where host RAM lacks room for that, the one that lacks least."""
    lean = {**_leanest(space), **changes}
    candidate = space.look(lean)
    if candidate.fits or not candidate.budget.offloaded_layers or candidate.budget.verdict != "fits":
        return candidate
    fewer = (_with_fewest_layers(space, {**lean, "train.checkpointing": mode}) for mode in _modes(space)[1:])
    return min((candidate, *fewer), key=lambda each: each.short_bytes)


def _neighbours(space: SearchSpace, best: Candidate) -> list[Candidate]:
    """The recipe as it is, and plans that differ from the best in one setting."""
    train = best.recipe.train
    rows = list(_rows_at_once(space))
    at = next(index for index, each in enumerate(rows) if each["train.micro_batch"] == train.micro_batch)
    one_off: list[Mapping[str, Any]] = [{"train.checkpointing": mode} for mode in _modes(space)]
    one_off += [*rows[at + 1 : at + 2], *rows[max(0, at - 1) : at]]
    one_off += [{"train.offload_layers": None}, {"train.optimizer": space.recipe.train.optimizer}]
    found: list[Candidate] = []
    for changes in ({}, *({**best.set, **each} for each in one_off)):
        recipe = changed(space.recipe, changes)
        if recipe.train.offload_layers is not None and not can_offload(space.shape, recipe, space.site.card):
            continue
        candidate = space.look(changes)
        if candidate.set not in (best.set, *(each.set for each in found)):
            found.append(candidate)
    return found


def _longest(space: SearchSpace, best: Candidate) -> Candidate | None:
    """The longest rows that fit one at a time with the best plan's other settings. Checkpoints parked in host RAM take
    least of the card, those on the card no host RAM."""
    one = {**best.set, **next(_rows_at_once(space))}
    _, *lean = _modes(space)
    found = [_longest_rows(space, {**one, "train.checkpointing": mode}) for mode in reversed(lean)]
    return max((each for each in found if each), key=lambda each: each.recipe.model.max_seq_length, default=None)


def _longest_rows(
    space: SearchSpace,
    changes: Mapping[str, Any],
    look: Callable[[SearchSpace, Mapping[str, Any]], Candidate] = SearchSpace.look,
) -> Candidate | None:
    """With these changes the longest rows that fit, a multiple of LENGTH_STEP, were all so long; None if none do."""
    full = replace(space, rows=None)

    def rows(steps: int) -> Candidate:
        return look(full, {**changes, "model.max_seq_length": steps * LENGTH_STEP})

    low, high = 0, LONGEST // LENGTH_STEP
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if rows(middle).fits else (low, middle - 1)
    return rows(low) if low else None


def _ways_out(space: SearchSpace) -> Iterator[Rejected]:
    """Changes that would fit, each with its price: 4 bits, shorter rows, a lower rank, another card or model."""
    recipe = space.recipe
    packed = replace(space, recipe=changed(recipe, {"model.quant": "nf4"}))
    can_pack = recipe.model.quant != "nf4" and space.shape.stored_as is None and space.site.card is not None
    can_pack = can_pack and not find_contradictions(packed.recipe)
    if can_pack and (found := _best(packed, packed.look({}))):
        yield _way_out({"model.quant": "nf4", **found.set}, "4-bit base weights: usually hardly visible.")
    if shorter := _longest_rows(space, {}, _least_short):
        length = shorter.recipe.model.max_seq_length
        yield _way_out(shorter.set, f"Rows longer than {length} tokens are cut: their ends are not learned.")
    rank = recipe.lora.r // 2
    while rank >= LOWEST_RANK:
        if (lower := _least_short(space, {"lora.r": rank})).fits and not find_contradictions(lower.recipe):
            yield _way_out(lower.set, f"The adapter can learn less: rank {rank} instead of {recipe.lora.r}.")
            break
        rank //= 2
    for there, said in ((space, "As it is"), (packed, "In 4 bits"))[: 1 + can_pack]:
        if there.site.card and (size_gib := _card_that_would_do(there)):
            yield _way_out({}, f"{said}, an idle card of {size_gib} GiB would do.")
    yield _way_out({}, "A smaller model takes less of everything.")


def _way_out(changes: Mapping[str, Any], costs: str) -> Rejected:
    return Rejected(changes, changes, costs)


def _card_that_would_do(space: SearchSpace) -> int | None:
    """The smallest size of card on which some plan fits."""
    low, high = 0, len(CARDS_GIB)
    while low < high:
        middle = (low + high) // 2
        size_bytes = CARDS_GIB[middle] * GIB
        card = Card(size_bytes, int(size_bytes * CARD_FREE_SHARE))
        there = replace(space, site=replace(space.site, card=card, gpu_name=None))
        fits = _least_short(there, {}).fits or _best(there, there.look({})) is not None
        low, high = (low, middle) if fits else (middle + 1, high)
    return CARDS_GIB[low] if low < len(CARDS_GIB) else None


def _unlike(candidate: Candidate, best: Candidate) -> dict[str, Any]:
    names = dict.fromkeys((*best.set, *candidate.set))
    return {name: value_of(candidate.recipe, name) for name in names
            if value_of(candidate.recipe, name) != value_of(best.recipe, name)}  # fmt: skip


def _reason(own: Candidate, best: Candidate) -> str:
    if not best.set:
        return "The recipe as it is: no other setting that teaches the same is noticeably faster."
    if own.fits:
        gain = best.speed / own.speed
        said = f"{gain - 1:.0%} faster than" if gain < 2 else f"{gain:.0f} times as fast as"
        return f"About {said} the recipe as it is."
    return f"The simplest of the fastest plans that fit; the recipe as it is {_why(own, best)}."


def _why(candidate: Candidate, best: Candidate) -> str:
    """The reason why a plan was not taken."""
    if candidate.budget.refused:
        return "would not be loaded: Unsloth's auto finds no room"
    if short := candidate.forecast.memory_shortage:
        return f"needs {_gib(short.missing_bytes)} more {short.of} to be safe"
    change = candidate.speed / best.speed - 1
    if change < -0.005:
        return f"{-change:.0%} slower"
    more_bytes = candidate.budget.total_bytes - best.budget.total_bytes
    return f"no faster worth the change{f', and takes {_gib(more_bytes)} more' if more_bytes > 0 else ''}"


def _gib(amount_bytes: int) -> str:
    return f"{max(amount_bytes, GIB // 10) / GIB:.1f} GiB"
