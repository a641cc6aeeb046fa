"""The fastest plan that fits a card, and why not the others: a search over settings which leave the result alone.

Rows at once, checkpointing, layers in host RAM and the optimizer's precision change neither what is learned nor from
which batches. Length, rank and quantization do: they are named as ways out where nothing fits, never chosen.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fitune.core.forecast.candidates import REFUSED, Place, Tried, changed, value_of
from fitune.core.forecast.history import NONE, Experience
from fitune.core.forecast.remedies import STATES_32BIT, can_offload, fewest_layers
from fitune.core.memory import Card, Shape
from fitune.core.memory.plan import GIB
from fitune.core.recipe import Recipe, problems
from fitune.core.tokens import Prepared

NO_FASTER = 0.05
"""Paces within this share of each other count as one: a guess of pace tells no more apart. Fewer changes are better."""
ENOUGH_TOKENS = 65_536
"""More tokens at once gain nothing: the smallest model keeps the fastest card busy with these."""
LENGTH_STEP, LONGEST = 64, 2**20
LOWEST_RANK = 4
CARDS_GIB = (6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 141, 180)
"""Sizes of cards that are sold."""
CARD_FREE_SHARE = 0.95
"""What an idle card of a size has free, about."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A plan that was not taken, and why."""

    set: Mapping[str, Any]
    """Changes of the recipe that make it."""
    unlike: Mapping[str, Any]
    """Where it differs from the plan that was taken, by `group.key`."""
    why: str


@dataclass(frozen=True, slots=True)
class Fit:
    """What the search found."""

    plan: Tried | None
    """The fastest that fits; None if nothing does."""
    reason: str
    rejected: tuple[Rejected, ...]
    longest: Tried | None
    """The plan with one row at once, leanest checkpointing, and rows as long as then fit."""
    ways_out: tuple[Rejected, ...] = ()
    """Where nothing fits: changes of what is learned that would, and the card that would do."""


def fit(
    shape: Shape,
    recipe: Recipe,
    card: Card | None,
    gpu_name: str | None,
    ram_bytes: int | None,
    experience: Experience = NONE,
    rows: Prepared | None = None,
) -> Fit:
    """The fastest plan for a resolved recipe that keeps its length, effective batch and result.

    card: None means the processor, where `ram_bytes` (free host RAM; None is unknown) is the limit. rows: the recipe's
    rows in tokens; None counts them as full length. Raises UserError for a model or modules that can't be trained.
    """
    place = Place(shape, recipe, card, gpu_name, ram_bytes, experience, rows)
    own = place.look({})
    best = _best(place, own)
    if best is None:
        reason = f"Nothing fits: even the leanest plan {_why(_least_short(place, {}), own)}."
        return Fit(None, reason, (Rejected({}, {}, _why(own, own)),), None, tuple(_ways_out(place)))
    rejected = tuple(Rejected(each.set, _unlike(each, best), _why(each, best)) for each in _neighbours(place, best))
    return Fit(best, _reason(own, best), rejected, _longest(place, best))


def _best(place: Place, own: Tried) -> Tried | None:
    """Of the plans that fit the fastest; of those about as fast the one that asks least of a person and the machine."""
    found = [each for each in (own, *_candidates(place)) if each.fits]
    top = max((each.speed for each in found), default=0.0)
    close = [each for each in found if each.speed >= top * (1 - NO_FASTER)]

    def trouble(plan: Tried) -> tuple[int, bool, float, int]:
        changes = len(plan.set) - ("train.grad_accum" in plan.set)  # a split of the batch is one change
        return changes, plan.budget.offloaded_layers > 0, -round(plan.speed / top, 2), plan.budget.total_bytes

    return min(close, key=trouble, default=None)


def _candidates(place: Place) -> Iterator[Tried]:
    """Plans worth a look: for each mode the numbers of rows that fit, then those that fit with layers in host RAM."""
    for mode in _modes(place):
        for optimizer in _optimizers(place):
            common = {"train.checkpointing": mode, "train.optimizer": optimizer}
            rows = list(_rows_at_once(place))
            while rows and (tried := place.look({**common, **rows[0], "train.offload_layers": None})).fits:
                yield tried
                rows.pop(0)
            if not can_offload(place.shape, changed(place.recipe, common), place.card):
                continue
            for each in rows:
                tried = _with_fewest_layers(place, {**common, **each})
                if not tried.fits:
                    break
                yield tried


def _with_fewest_layers(place: Place, changes: Mapping[str, Any]) -> Tried:
    """The fewest layers in host RAM with which the card has room: host RAM may well lack it for more."""

    def away(layers: int) -> Tried:
        return place.look({**changes, "train.offload_layers": layers})

    return away(fewest_layers(len(place.shape.layers) - 1, lambda layers: away(layers).budget.verdict == "fits"))


def _rows_at_once(place: Place) -> Iterator[dict[str, int]]:
    """Each way to split the effective batch, fewest rows at once first, as far as more rows can gain anything."""
    train = place.recipe.train
    batch = train.micro_batch * train.grad_accum
    most = max(1, train.micro_batch, ENOUGH_TOKENS // place.longest)
    for rows in range(1, min(batch, most) + 1):
        if batch % rows == 0:
            yield {"train.micro_batch": rows, "train.grad_accum": batch // rows}


def _modes(place: Place) -> tuple[str, ...]:
    unsloth = place.card is not None and place.recipe.train.backend != "trl"
    return ("off", "on", "unsloth") if unsloth else ("off", "on")


def _optimizers(place: Place) -> tuple[str, ...]:
    """The recipe's own, and one with smaller states; a processor has none."""
    own = place.recipe.train.optimizer
    return (own, "adamw_8bit") if own in STATES_32BIT and place.card else (own,)


def _leanest(place: Place) -> dict[str, Any]:
    """The plan that takes least, whatever it costs in time."""
    rows = next(_rows_at_once(place))
    lean = {**rows, "train.checkpointing": _modes(place)[-1], "train.optimizer": _optimizers(place)[-1]}
    away = can_offload(place.shape, changed(place.recipe, lean), place.card)
    return {**lean, "train.offload_layers": len(place.shape.layers) - 1} if away else lean


def _least_short(place: Place, changes: Mapping[str, Any]) -> Tried:
    """The leanest plan with these changes; where host RAM lacks room for that, the one that lacks least."""
    lean = {**_leanest(place), **changes}
    tried = place.look(lean)
    if tried.fits or not tried.budget.offloaded_layers or tried.budget.verdict != "fits":
        return tried
    fewer = (_with_fewest_layers(place, {**lean, "train.checkpointing": mode}) for mode in _modes(place)[1:])
    return min((tried, *fewer), key=lambda each: each.short_bytes)


def _neighbours(place: Place, best: Tried) -> list[Tried]:
    """The recipe as it is, and plans that differ from the best in one setting."""
    train = best.recipe.train
    rows = list(_rows_at_once(place))
    at = next(index for index, each in enumerate(rows) if each["train.micro_batch"] == train.micro_batch)
    one_off: list[Mapping[str, Any]] = [{"train.checkpointing": mode} for mode in _modes(place)]
    one_off += [*rows[at + 1 : at + 2], *rows[max(0, at - 1) : at]]
    one_off += [{"train.offload_layers": None}, {"train.optimizer": place.recipe.train.optimizer}]
    found: list[Tried] = []
    for changes in ({}, *({**best.set, **each} for each in one_off)):
        recipe = changed(place.recipe, changes)
        if recipe.train.offload_layers is not None and not can_offload(place.shape, recipe, place.card):
            continue
        tried = place.look(changes)
        if tried.set not in (best.set, *(each.set for each in found)):
            found.append(tried)
    return found


def _longest(place: Place, best: Tried) -> Tried | None:
    """The longest rows that fit one at a time with the best plan's other settings. Checkpoints parked in host RAM take
    least of the card, those on the card no host RAM."""
    one = {**best.set, **next(_rows_at_once(place))}
    _, *lean = _modes(place)
    found = [_longest_rows(place, {**one, "train.checkpointing": mode}) for mode in reversed(lean)]
    return max((each for each in found if each), key=lambda each: each.recipe.model.max_seq_length, default=None)


def _longest_rows(
    place: Place, changes: Mapping[str, Any], look: Callable[[Place, Mapping[str, Any]], Tried] = Place.look
) -> Tried | None:
    """With these changes the longest rows that fit, a multiple of LENGTH_STEP, were all so long; None if none do."""
    full = replace(place, rows=None)

    def rows(steps: int) -> Tried:
        return look(full, {**changes, "model.max_seq_length": steps * LENGTH_STEP})

    low, high = 0, LONGEST // LENGTH_STEP
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if rows(middle).fits else (low, middle - 1)
    return rows(low) if low else None


def _ways_out(place: Place) -> Iterator[Rejected]:
    """What would fit, each with its price: 4 bits, shorter rows, a lower rank, another card or model."""
    recipe = place.recipe
    packed = replace(place, recipe=changed(recipe, {"model.quant": "nf4"}))
    can_pack = recipe.model.quant != "nf4" and place.shape.stored_as is None and place.card is not None
    can_pack = can_pack and not problems(packed.recipe)
    if can_pack and (found := _best(packed, packed.look({}))):
        yield _way_out({"model.quant": "nf4", **found.set}, "4-bit base weights: usually hardly visible.")
    if shorter := _longest_rows(place, {}, _least_short):
        length = shorter.recipe.model.max_seq_length
        yield _way_out(shorter.set, f"Rows longer than {length} tokens are cut: their ends are not learned.")
    rank = recipe.lora.r // 2
    while rank >= LOWEST_RANK:
        if (lower := _least_short(place, {"lora.r": rank})).fits and not problems(lower.recipe):
            yield _way_out(lower.set, f"The adapter can learn less: rank {rank} instead of {recipe.lora.r}.")
            break
        rank //= 2
    for there, said in ((place, "As it is"), (packed, "In 4 bits"))[: 1 + can_pack]:
        if there.card and (size_gib := _card_that_would_do(there)):
            yield _way_out({}, f"{said}, an idle card of {size_gib} GiB would do.")
    yield _way_out({}, "A smaller model takes less of everything.")


def _way_out(changes: Mapping[str, Any], costs: str) -> Rejected:
    return Rejected(changes, changes, costs)


def _card_that_would_do(place: Place) -> int | None:
    """The smallest size of card on which some plan fits."""
    low, high = 0, len(CARDS_GIB)
    while low < high:
        middle = (low + high) // 2
        size_bytes = CARDS_GIB[middle] * GIB
        card = Card(size_bytes, int(size_bytes * CARD_FREE_SHARE))
        there = replace(place, card=card, gpu_name=None)
        fits = _least_short(there, {}).fits or _best(there, there.look({})) is not None
        low, high = (low, middle) if fits else (middle + 1, high)
    return CARDS_GIB[low] if low < len(CARDS_GIB) else None


def _unlike(tried: Tried, best: Tried) -> dict[str, Any]:
    names = dict.fromkeys((*best.set, *tried.set))
    return {name: value_of(tried.recipe, name) for name in names
            if value_of(tried.recipe, name) != value_of(best.recipe, name)}  # fmt: skip


def _reason(own: Tried, best: Tried) -> str:
    if not best.set:
        return "The recipe as it is: no other setting that teaches the same is noticeably faster."
    if own.fits:
        gain = best.speed / own.speed
        said = f"{gain - 1:.0%} faster than" if gain < 2 else f"{gain:.0f} times as fast as"
        return f"About {said} the recipe as it is."
    return f"The simplest of the fastest plans that fit; the recipe as it is {_why(own, best)}."


def _why(tried: Tried, best: Tried) -> str:
    """Why a plan was not taken."""
    if tried.short_of == REFUSED:
        return "would not be loaded: Unsloth's auto finds no room"
    if not tried.fits:
        return f"needs {_gib(tried.short_bytes)} more {tried.short_of} to be safe"
    change = tried.speed / best.speed - 1
    if change < -0.005:
        return f"{-change:.0%} slower"
    more_bytes = tried.budget.total_bytes - best.budget.total_bytes
    return f"no faster worth the change{f', and takes {_gib(more_bytes)} more' if more_bytes > 0 else ''}"


def _gib(amount_bytes: int) -> str:
    return f"{max(amount_bytes, GIB // 10) / GIB:.1f} GiB"
