"""Write the rows of a recipe as JSONL files, mapped and split as in the training, for tools other than fitune."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import orjson

from fitune.core.data import dataset, eval_fraction
from fitune.core.data.split import split
from fitune.core.errors import UserError
from fitune.core.recipe import Recipe

TRAIN, EVAL = "train.jsonl", "eval.jsonl"
ROWS, GENERAL = "rows.jsonl", "general.jsonl"
"""All rows in their order, and the general ones that are mixed in: for fitune itself, which splits them the same."""


def write_rows(recipe: Recipe, folder: Path) -> None:
    """Write train.jsonl and eval.jsonl (which may be empty) into a folder. Raises as `core.data.dataset.rows`."""
    rows = list(dataset.rows(recipe.rows))
    train, held_out = split(rows, eval_fraction(recipe, len(rows)), recipe.train.seed)
    _write(folder / TRAIN, chain((rows[index] for index in train), dataset.general_rows(recipe.data, len(rows))))
    _write(folder / EVAL, (rows[index] for index in held_out))


def write_all_rows(recipe: Recipe, folder: Path) -> None:
    """Write rows.jsonl, and general.jsonl if the recipe names general rows. Raises as `core.data.dataset.rows`."""
    _write(folder / ROWS, dataset.rows(recipe.data))
    if general := recipe.data.general():
        _write(folder / GENERAL, dataset.rows(general))


@dataclass(frozen=True, slots=True)
class RowKind:
    """The kind of the rows, for a tool that reads them itself."""

    holds: str
    """The key of a canonical row: "messages", "prompt" (with a completion) or "text"."""
    has_eval: bool
    """True if any row is held out."""


def detect_kind(recipe: Recipe) -> RowKind:
    """Detect the kind from the first rows.

    Raises UserError where they are of several kinds, which only the script reads, and as `core.data.dataset.rows`.
    """
    head = list(dataset.rows(recipe.rows, limit=dataset.HEAD_ROWS))
    kinds = {next(iter(row)) for row in head}
    if len(kinds) > 1:
        raise UserError(
            f"{recipe.data.name} mixes chats and plain pairs of prompt and completion.",
            "Only the script reads both: fitune handoff --to script",
        )
    _, held_out = split(head, eval_fraction(recipe, len(head)), recipe.train.seed)
    return RowKind(kinds.pop(), bool(held_out))


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with open(path, "wb") as file:
        for row in rows:
            if "images" in row:
                hint = "Train with fitune where the images are; its adapter fits the model everywhere."
                raise UserError("The rows hold images, which no hand-off carries over.", hint)
            file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
