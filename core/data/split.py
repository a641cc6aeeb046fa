"""The rows that are held out, to see whether the model learns or only memorises."""

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter

import orjson

from fitune.core.data.images.references import is_embedded
from fitune.core.data.twins import with_a_twin
from fitune.core.data.values import Row
from fitune.core.recipe import Recipe

MIN_ROWS = 20
"""From so many rows on, at least one is held out if any are asked for; with fewer "auto" holds out none."""
AUTO_SHARE, AUTO_ROWS, AUTO_MOST_SHARE, MOST_ROWS = 0.05, 64, 1 / 6, 256
"""Rows held out by data.eval_fraction = "auto": a twentieth, at least 64 (a verdict needs 50) unless that is more than
a sixth, at most 256. Of answers that are rated one by one twice as many: a good and a bad one make a pair."""
LOOK_SHARE, LEAST_LOOK_ROWS = 0.03, 16
"""Held-out rows per optimizer step that an evaluation looks at. A look takes one row after another, and where rows are
short starting the kernels of each costs nearly half of what a whole micro-batch costs: ten looks then take a seventh of
a training whose steps are one micro-batch each, and less of any other. The split of a step changes nothing of it."""
SPARE = 4
"""So many times the rows wanted are looked at, to find enough that have no twin."""


def eval_fraction(recipe: Recipe, rows: int) -> float:
    """The share of `rows` to hold out: what the recipe asks, or by these numbers where it says "auto"."""
    if recipe.data.eval_fraction != "auto":
        return recipe.data.eval_fraction
    if rows < MIN_ROWS:
        return 0.0
    of_a_pair = 2 if recipe.train.objective == "kto" else 1
    wanted = max(AUTO_SHARE * rows, min(AUTO_ROWS * of_a_pair, AUTO_MOST_SHARE * rows))
    return min(wanted, MOST_ROWS) / max(1, rows)


def holds_out(recipe: Recipe, rows: int) -> bool:
    """True if some of `rows` are held out: with a few of them a share comes to none."""
    share = eval_fraction(recipe, rows)
    return share > 0 and (rows >= MIN_ROWS or round(share * rows) > 0)


def look_rows(recipe: Recipe, rows: int) -> int:
    """The number of held-out rows that each evaluation during the training looks at. rows: those to train on."""
    train = recipe.train
    steps = train.max_steps or train.epochs * rows / (train.micro_batch * train.grad_accum)
    return min(MOST_ROWS, max(LEAST_LOOK_ROWS, round(steps * LOOK_SHARE)))


def split(
    rows: Sequence[Row], fraction: float, seed: int, on_trained: Callable[[int], object] | None = None
) -> tuple[list[int], list[int]]:
    """The places (from 0) of the rows to train on and of the rows held out, each in order.

    fraction: of the rows, 0 to 0.5; held out are as near to it as whole groups of equal rows allow, never more.
    Equal rows fall on the same side, and rows that say nearly the same as another are trained on: else the check would
    only ask for what was learned by heart. on_trained: is told how many are for this reason. A row's side depends on
    its content and the seed, hardly on the rows around it: the rows with the lowest hashes are held out, so more data
    moves few rows across. Of an image's path counts what lies below the folder of all images, so that the same data in
    another place is split the same way. Holds 8 bytes of hash a row.
    """
    top = _folder_of_images(rows)
    marks = sorted((_hash(row, seed, top), place) for place, row in enumerate(rows))
    groups = [[place for _, place in group] for _, group in groupby(marks, key=itemgetter(0))]
    wanted = round(fraction * len(marks))
    if fraction > 0 and len(marks) >= MIN_ROWS:
        wanted = max(1, wanted)
    candidates = _first_of(groups, SPARE * wanted)
    near = with_a_twin(rows, [group[0] for group in candidates], same=dict(_twins(groups))) if wanted else set()
    apart = [group for group in candidates if group[0] not in near]
    held = _first_of(apart or groups, wanted)
    if wanted and not held and len(groups) > 1:
        held = [min(apart or groups, key=len)]  # all have twins: the smallest group is the least that can be held out
    if on_trained and apart and (moved := [each for each in _first_of(groups, wanted) if each[0] in near]):
        on_trained(sum(map(len, moved)))
    out = {place for group in held for place in group}
    return [place for place in range(len(marks)) if place not in out], sorted(out)


def _first_of(groups: Sequence[list[int]], count: int) -> list[list[int]]:
    """The first groups that have at most `count` rows together; a larger one is passed over."""
    taken, rows = [], 0
    for group in groups:
        if rows + len(group) <= count:
            taken.append(group)
            rows += len(group)
    return taken


def _twins(groups: Sequence[list[int]]) -> Iterator[tuple[int, int]]:
    """Each row that has equal ones -> the first of them."""
    return ((place, group[0]) for group in groups if len(group) > 1 for place in group)


def _folder_of_images(rows: Sequence[Row]) -> str:
    """The folder that all images of these rows lie in or below; "" where none is a file."""
    found = (image for row in rows for image in row.get("images", ()) if not is_embedded(image))
    folders = {os.path.dirname(image) for image in found}
    return os.path.commonpath(folders) if folders else ""


def _hash(row: Row, seed: int, top: str) -> int:
    import hashlib  # not at the top: estimates need only `eval_fraction`, at once

    if "images" in row:
        images = [image if is_embedded(image) else os.path.relpath(image, top) for image in row["images"]]
        row = row | {"images": images}
    key = orjson.dumps([seed, row], option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS, default=str)
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big")
