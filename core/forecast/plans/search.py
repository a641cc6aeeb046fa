"""The search: plans for a recipe that keep what is learned, and the one that is fastest, leanest or takes longest rows.

Rows at once, checkpointing, layers in host RAM and the optimizer's precision change neither what is learned nor from
which batches; a base in 16 bits instead of 4 or 8 only makes its weights more exact. Length, rank and fewer bits do
change it: they are named as ways out where nothing fits, never chosen.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from fitune.core.forecast.plans.candidates import Candidate, SearchSpace
from fitune.core.forecast.plans.remedies import STATES_32BIT, can_offload, fewest_layers
from fitune.core.forecast.plans.splits import SPLIT, Split, by_rows, by_tokens
from fitune.core.recipe import changed, find_contradictions

NO_FASTER = 0.05
"""Paces within this share of each other count as one: a guess of pace tells no more apart. Fewer changes are better."""
MEMORY_WORTH = 0.05
"""Of two plans about as fast, with as few changes, one that fills the memory must be faster by this than one that takes
hardly any: with rows of 100 to 8,000 tokens 4 x 2 takes two thirds of what 8 x 1 takes, for 1 % more time."""
UNTIMED = 0.02
"""A split by tokens must be faster by this than one by rows, as none was timed on a card yet."""
FUSED = "adamw_torch_fused"
PLANNED = (
    *SPLIT, "train.checkpointing", "train.checkpoint_skip_layers",
    "train.offload_layers", "train.optimizer", "model.quant",
)  # fmt: skip
"""The fields that a plan may change."""
LENGTH_STEP, LONGEST = 64, 2**20
ROOM = 0.2
"""The share of the free memory that must be left over where a plan keeps the base in 16 bits: it should not be what a
later change of the recipe fails for."""
WORTH_WIDER = 1.1
"""A wider base is taken where it is so many times as fast as the best plan with the recipe's own."""


def best_plan(space: SearchSpace, own: Candidate) -> Candidate | None:
    """Of the plans that fit the fastest; of those about as fast the one that asks least of a person and the machine."""
    found = [each for each in (own, *_candidates(space)) if each.fits]
    same_base = [each for each in found if "model.quant" not in each.set]
    fast_enough = WORTH_WIDER * max((each.speed_once_started for each in same_base), default=0.0)
    if not any(each.speed_once_started >= fast_enough for each in found if "model.quant" in each.set):
        found = same_base
    top = max((each.speed_once_started for each in found), default=0.0)
    close = [each for each in found if each.speed_once_started >= top * (1 - NO_FASTER)]

    def trouble(plan: Candidate) -> tuple[int, bool, float]:
        split = sum(name in plan.set for name in SPLIT)
        changes = len(plan.set) - max(0, split - 1)  # a split of the batch is one change
        slower = 1 - plan.speed_once_started / top
        taken = plan.budget.total_bytes / max(1, plan.budget.free_bytes)
        price = MEMORY_WORTH * taken + UNTIMED * ("train.micro_tokens" in plan.set)
        return changes, plan.budget.offloaded_layers > 0, slower + price

    return min(close, key=trouble, default=None)


def _candidates(space: SearchSpace) -> Iterator[Candidate]:
    """Plans worth a look: for each base, optimizer and checkpointing the numbers of rows that fit, then those that fit
    with layers in host RAM."""
    for base in _bases(space):
        for optimizer in _optimizers(space):
            kept = 0, 0  # so many of the splits need no checkpointing
            for mode in _modes(space):
                common = {**base, **_mode(mode), "train.optimizer": optimizer}
                rows, tokens = (list(_that_fit(space, common, each(space))) for each in (by_rows, by_tokens))
                yield from (*rows, *tokens)
                if mode == "off":
                    kept = len(rows), len(tokens)
                if mode == "unsloth":
                    yield from (_with_most_kept(space, each) for each in (*rows[kept[0] :], *tokens[kept[1] :]))
                if not base:
                    yield from _with_layers_away(space, common, len(rows))


def _that_fit(space: SearchSpace, common: Mapping[str, Any], splits: Iterator[Split]) -> Iterator[Candidate]:
    """The plans with these changes, least at once first, as far as they fit."""
    for split in splits:
        candidate = space.look({**common, **split, "train.offload_layers": None})
        if not _is_safe(candidate):
            return
        yield candidate


def _is_safe(candidate: Candidate) -> bool:
    """It fits, and a wider base leaves ROOM."""
    most_bytes = (1 - ROOM) * candidate.budget.free_bytes
    return candidate.fits and ("model.quant" not in candidate.set or candidate.budget.total_bytes <= most_bytes)


def _with_most_kept(space: SearchSpace, candidate: Candidate) -> Candidate:
    """The same with as many layers as fit whose activations are kept, not recomputed."""

    def kept(layers: int) -> Candidate:
        return space.look({**candidate.set, "train.checkpoint_skip_layers": layers})

    layers, found = len(space.shape.layers), candidate
    low, high = 0, layers - 1
    while low < high:
        middle = (low + high + 1) // 2
        if _is_safe(tried := kept(middle)):
            low, found = middle, tried
        else:
            high = middle - 1
    return found


def _with_layers_away(space: SearchSpace, common: Mapping[str, Any], splits: int) -> Iterator[Candidate]:
    """The plans with these changes beyond the first splits of the batch that fit with layers in host RAM."""
    if not can_offload(space.shape, changed(space.recipe, common), space.site.card):
        return
    for rows in list(by_rows(space))[splits:]:
        candidate = _with_fewest_layers(space, {**common, **rows})
        if not candidate.fits:
            return
        yield candidate


def _bases(space: SearchSpace) -> Iterator[dict[str, str]]:
    """The base in the recipe's number format, and in 16 bits: faster where it fits, as nothing has to be unpacked."""
    yield {}
    wider: dict[str, str] = {"model.quant": "bf16"}
    is_narrow = space.recipe.model.quant != "bf16" and space.shape.stored_as is None and space.site.card is not None
    if space.base_is_open and is_narrow and not find_contradictions(changed(space.recipe, wider)):
        yield wider


def _with_fewest_layers(space: SearchSpace, changes: Mapping[str, Any]) -> Candidate:
    """The fewest layers in host RAM with which the card has room: host RAM may well lack it for more."""

    def away(layers: int) -> Candidate:
        return space.look({**changes, "train.offload_layers": layers})

    return away(fewest_layers(len(space.shape.layers) - 1, lambda layers: away(layers).budget.verdict == "fits"))


def _modes(space: SearchSpace) -> tuple[str, ...]:
    """The ways to keep or recompute activations, the fastest first, which takes most memory."""
    unsloth = space.site.card is not None and space.recipe.train.backend != "trl"
    modes = ("off", "on", "unsloth") if unsloth else ("off", "on")
    return modes[1:] if space.recipe.train.tiled_mlp else modes  # tiles are of a layer that is recomputed


def _mode(mode: str) -> dict[str, Any]:
    """Checkpointing of all layers, or of none."""
    return {"train.checkpointing": mode, "train.checkpoint_skip_layers": None}


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
    rows = next(by_rows(space))
    lean = {**rows, **_mode(_modes(space)[-1]), "train.optimizer": _leanest_optimizer(space)}
    away = can_offload(space.shape, changed(space.recipe, lean), space.site.card)
    return {**lean, "train.offload_layers": len(space.shape.layers) - 1} if away else lean


def _leanest_optimizer(space: SearchSpace) -> str:
    return "adamw_8bit" if "adamw_8bit" in _optimizers(space) else space.recipe.train.optimizer


def least_short(space: SearchSpace, changes: Mapping[str, Any]) -> Candidate:
    """The leanest plan with these changes; where host RAM lacks room for that, the one that lacks least."""
    lean = {**_leanest(space), **changes}
    candidate = space.look(lean)
    if candidate.fits or not candidate.budget.offloaded_layers or candidate.budget.verdict != "fits":
        return candidate
    fewer = (_with_fewest_layers(space, {**lean, **_mode(mode)}) for mode in _modes(space)[1:])
    return min((candidate, *fewer), key=lambda each: each.short_bytes)


def neighbours(space: SearchSpace, best: Candidate) -> list[Candidate]:
    """The recipe as it is, and plans that differ from the best in one setting."""
    train = best.recipe.train
    splits = [*by_rows(space), *by_tokens(space)]
    own = (train.micro_batch, train.grad_accum, train.micro_tokens)
    at = next((index for index, each in enumerate(splits) if tuple(each.values()) == own), len(splits))
    one_off: list[Mapping[str, Any]] = [_mode(mode) for mode in _modes(space)]
    one_off += [*splits[at + 1 : at + 2], *splits[max(0, at - 1) : at]]
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


def longest_plan(space: SearchSpace, best: Candidate) -> Candidate | None:
    """The longest rows that fit one at a time with the best plan's other settings. Checkpoints parked in host RAM take
    least of the card, those on the card no host RAM."""
    one = {**best.set, **next(by_rows(space))}
    lean = [mode for mode in _modes(space) if mode != "off"]
    found = [longest_rows(space, {**one, **_mode(mode)}) for mode in reversed(lean)]
    return max((each for each in found if each), key=lambda each: each.recipe.model.max_seq_length, default=None)


def longest_rows(
    space: SearchSpace,
    changes: Mapping[str, Any],
    look: Callable[[SearchSpace, Mapping[str, Any]], Candidate] = SearchSpace.look,
) -> Candidate | None:
    """With these changes the longest rows that fit, a multiple of LENGTH_STEP, were all so long, and no longer than the
    model was made for; None if none do."""
    full = replace(space, rows=None)

    def rows(steps: int) -> Candidate:
        return look(full, {**changes, "model.max_seq_length": steps * LENGTH_STEP})

    low, high = 0, min(LONGEST, space.shape.made_for or LONGEST) // LENGTH_STEP
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if rows(middle).fits else (low, middle - 1)
    return rows(low) if low else None
