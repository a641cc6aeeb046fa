"""The rows of a training: read, split, rendered and cut, with a word on all that is not trained as the data have it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from fitune.core.data import dataset, eval_fraction
from fitune.core.data.split import split
from fitune.core.errors import Problem
from fitune.core.files import write_atomically
from fitune.core.recipe import Recipe
from fitune.core.records import from_json
from fitune.core.runs import EventLog, Run, Warned
from fitune.core.worker.rows import render
from fitune.core.worker.rows.truncate import TruncatedRows, nothing_left_error, truncate
from fitune.core.worker.training.packing import Rows
from fitune.core.worker.training.samples import ROWS_LOOKED_AT


@dataclass(frozen=True, slots=True)
class RowsDigest:
    """The content of rows.json: what the rows were when the run began."""

    rows: int
    """Usable rows of the data set."""
    digest: str
    """BLAKE2b of all of them."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Rows as the trainer takes them, as token ids with labels."""

    train: Rows
    held_out: Rows
    asked: list[dict[str, Any]]
    """Some of those held out, as they were, to be asked."""


def read_rows(run: Run, recipe: Recipe, tokenizer: Any, log: EventLog) -> Reading:
    """All rows of the recipe's data. Raises UserError if nothing is left to train on."""
    tokenizer = render.text_part(tokenizer)
    if render.ensure_template(tokenizer):
        message = (
            "This is a base model without a chat template: rows are written as plain ### User / ### Assistant text."
        )
        log.write(Warned(kind="template", message=message))
    if run.newest_checkpoint() is None:
        dataset.refuse_guess(recipe.data)
    skipped: list[Problem] = []
    rows = list(dataset.rows(recipe.data, on_skip=skipped.append))
    remember(run, rows, log)
    train_places, eval_places = split(rows, eval_fraction(recipe, len(rows)), recipe.train.seed)
    length, loss_on = recipe.model.max_seq_length, recipe.data.loss_on
    kept = truncate((rows[place] for place in train_places), tokenizer, length, loss_on)
    aside = truncate((rows[place] for place in eval_places), tokenizer, length, loss_on)
    _tell_losses(log, skipped, kept, len(train_places))
    if not kept.rows:
        raise nothing_left_error(kept, recipe.data.source)
    if eval_places and not aside.rows:
        message = f"No answer is left in the {len(eval_places)} held-out rows: there is no held-out loss."
        log.write(Warned(kind="eval", message=message))
    return Reading(kept.rows, aside.rows, [rows[place] for place in eval_places[:ROWS_LOOKED_AT]])


def remember(run: Run, rows: Sequence[dict[str, Any]], log: EventLog) -> None:
    """Keep what the rows are; warn on a run that goes on from a checkpoint if they were others when it began."""
    digest = hashlib.blake2b(digest_size=16)
    for row in rows:
        digest.update(repr(row).encode())  # which knows any number, orjson none above 64 bits
    path, now = run.path / "rows.json", RowsDigest(len(rows), digest.hexdigest())
    if run.newest_checkpoint() is None or not path.exists():
        write_atomically(path, orjson.dumps(now))
    elif (began_with := from_json(RowsDigest, orjson.loads(path.read_bytes()))) != now:
        message = (
            f"The data have changed since this run began ({began_with.rows} rows then, {len(rows)} now): it goes on "
            "with those of now. Some that are held out now may have been learnt before, and in this epoch rows may "
            "come twice or not at all. To be exact, train anew."
        )
        log.write(Warned(kind="changed", message=message))


def _tell_losses(log: EventLog, skipped: list[Problem], kept: TruncatedRows, asked: int) -> None:
    """A warning for each kind of row that is not trained as it stands in the data. asked: rows meant for training."""
    if skipped:
        message = f"{len(skipped)} rows were left out; the first: {skipped[0]}"
        log.write(Warned(kind="rows", message=message, count=len(skipped)))
    if len(kept.rows) > asked:
        message = (
            f"{asked} rows became {len(kept.rows)}: the model's chat template shows earlier answers of a chat "
            "otherwise than the model writes them, so each is learnt in a row of its own."
        )
        log.write(Warned(kind="template", message=message, count=len(kept.rows)))
    for kind, count, message in kept.warnings():
        log.write(Warned(kind=kind, message=message, count=count))
