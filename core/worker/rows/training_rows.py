"""The rows of a training: read, split, rendered and truncated, with a warning for all that is left out or changed."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import orjson

from fitune.core.data import Row, dataset, eval_fraction, numbered
from fitune.core.data.mixed import replayed
from fitune.core.data.split import look_rows, split
from fitune.core.errors import Problem, UserError
from fitune.core.files import read_file, write_atomically
from fitune.core.recipe import Data, Recipe
from fitune.core.records import from_json
from fitune.core.runs import EventLog, Phase, Run, Warned
from fitune.core.tokens import notes_on
from fitune.core.worker.chats.template import PromptOptions, names_of, read
from fitune.core.worker.images.processor import ImageProcessor, of_rows
from fitune.core.worker.rows import render
from fitune.core.worker.rows.long_texts import cut_of
from fitune.core.worker.rows.truncate import LEFT_OUT, TruncatedRows, nothing_left_error, truncate
from fitune.core.worker.scoring.rows import keys_of
from fitune.core.worker.training.packing import Rows

SLOW_IMAGES = (
    "With the unsloth backend rows with images are slow to begin: 8 steps of Mistral 3, Qwen3-VL and Gemma 3 took 2, 3 "
    "and 10 minutes on an H200, most of it to compile for each new length of rows; by trl they took less than one. "
    "The memory may be short as well: the driver booked 8.0 GB for Gemma 3, where 3.6 had been said. For a short "
    'training set train.backend = "trl".'
)
"""bench/results/vision_h200_2026-11-30b.jsonl and vision_h200_2026-12-01.jsonl, for four layers to eight."""


@dataclass(frozen=True, slots=True)
class RowsDigest:
    """The content of rows.json: the rows when the run began."""

    rows: int
    """Usable rows of the data set."""
    digest: str
    """BLAKE2b of all of them."""
    held_out: str = ""
    """BLAKE2b of the places of those held out; empty in a run of an older fitune, which may have held out others."""


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """The rows of a training as token ids with labels."""

    train: Rows
    looked_at: Rows
    """Those held-out rows whose loss is taken at each evaluation."""
    held_out: list[dict[str, Any]]
    """All held-out rows in canonical form."""
    keys: set[str]
    """The digests of the rows to train on."""
    images: ImageProcessor | None = None
    """Where rows hold images."""


def read_rows(
    run: Run,
    recipe: Recipe,
    tokenizer: Any,
    base: Path,
    log: EventLog,
    answer_prompts: Callable[[int], list[Row]],
    look: int | None = None,
) -> TrainingRows:
    """All rows of the recipe's data, with the general ones. Raises UserError if nothing is left to train on.

    base: the folder of the base model. answer_prompts: gives so many rows of the base model's own answers, where these
    are replayed. look: about so many of the held-out rows are looked at; else as many as suit a whole training.
    """
    tokenizer = render.text_part(tokenizer)
    if render.ensure_template(tokenizer):
        message = (
            "This is a base model without a chat template: rows are written as plain ### User / ### Assistant text."
        )
        log.write(Warned(kind="template", message=message))
    options = PromptOptions(recipe.data.thinking, recipe.data.template_options)
    render.refuse_unknown_options(tokenizer, options)
    template = read(tokenizer, options)
    if run.newest_checkpoint() is None:
        dataset.refuse_guess(recipe.rows)
    skipped: list[Problem] = []
    rows = list(dataset.rows(recipe.rows, on_skip=skipped.append))
    images = of_rows(rows, recipe, base)
    if images and recipe.train.backend == "unsloth":
        log.write(Warned(kind="images", message=SLOW_IMAGES))
    moved: list[int] = []
    train_indexes, eval_indexes = split(rows, eval_fraction(recipe, len(rows)), recipe.train.seed, moved.append)
    general = _general_rows(recipe.data, len(rows), answer_prompts, log)
    keep_digest(run, [*rows, *general], eval_indexes, log)
    _warn_of_twins(log, sum(moved))
    length, loss_on, cut = recipe.model.max_seq_length, recipe.data.loss_on, cut_of(recipe)
    own = (rows[index] for index in train_indexes)
    trained = truncate(chain(own, general), tokenizer, length, loss_on, options, cut, images)
    stride = max(1, len(eval_indexes) // (look or look_rows(recipe, len(train_indexes))))
    some = (rows[index] for index in eval_indexes[::stride])
    looked_at = truncate(some, tokenizer, length, loss_on, options, cut, images)
    _warn_of_changes(log, skipped, trained, len(train_indexes) + len(general), recipe.data.text_overlap)
    for note in notes_on(trained.notes, template.switch, names_of(tokenizer), recipe.data):
        log.write(Warned(kind=note.kind, message=f"{note.problem.text} {note.problem.fix}".rstrip(), count=note.count))
    if not trained.rows:
        raise nothing_left_error(trained, recipe.data.name)
    if eval_indexes and not looked_at.rows:
        message = f"No answer is left in the {len(eval_indexes)} held-out rows: there is no held-out loss."
        log.write(Warned(kind="eval", message=message))
    held_out = [rows[index] for index in eval_indexes]
    keys = keys_of(rows[index] for index in train_indexes) if held_out else set()
    return TrainingRows(trained.rows, looked_at.rows, held_out, keys, images)


def _general_rows(data: Data, own: int, answer_prompts: Callable[[int], list[Row]], log: EventLog) -> list[Row]:
    """The general rows beside so many own ones: those of data.replay_source, or the base model's own answers."""
    if not data.replay:
        return []
    wanted = replayed(data.replay, own)
    found = dataset.general_rows(data, own) if data.general() else answer_prompts(wanted)
    log.write(Phase(name="replay", rows=len(found)))
    if found and len(found) < wanted:
        text = f"data.replay asks for {wanted:,} general rows; there are {len(found):,}, which are all trained on."
        log.write(Warned(kind="replay", message=text, count=wanted - len(found)))
    return found


def served_switch(tokenizer: Any, options: PromptOptions) -> str | None:
    """The option of the chat template that is set to false to serve the model as data.thinking = off asks."""
    return read(tokenizer, options).switch if options.thinking == "off" else None


def refuse_absent_tokens(rows: TrainingRows, tokenizer: Any, embedded: int) -> None:
    """Raise UserError for rows with a token that the model has no embedding for: the first step would fail.

    embedded: the number of tokens that it has.
    """
    highest = max(max(row["input_ids"]) for row in (*rows.train, *rows.looked_at))
    if highest >= embedded:
        raise UserError(
            f"The rows have the token {tokenizer.decode([highest])} (number {highest:,}), and the model knows "
            f"{embedded:,} tokens only.",
            "Its tokenizer has more tokens than its embedding: take the files of both from one repository, or a model "
            "whose embedding was resized after tokens were added.",
        )


def keep_digest(run: Run, rows: Sequence[dict[str, Any]], held_out: Sequence[int], log: EventLog) -> None:
    """Write rows.json; in a run that resumes from a checkpoint, warn if the rows have changed since it began."""
    digest = hashlib.blake2b(digest_size=16)
    for row in rows:
        digest.update(repr(row).encode())  # repr takes any number, orjson none above 64 bits
    path, now = run.path / "rows.json", RowsDigest(len(rows), digest.hexdigest(), _digest_of(held_out))
    if run.newest_checkpoint() is None or not path.exists():
        write_atomically(path, orjson.dumps(now))
        return
    try:
        began_with = from_json(RowsDigest, orjson.loads(read_file(path)))
    except (OSError, orjson.JSONDecodeError):
        write_atomically(path, orjson.dumps(now))
        message = "rows.json can't be read: nobody knows if the data have changed since this run began."
        log.write(Warned(kind="changed", message=message))
        return
    if began_with != now:
        message = (
            "The data, or the rows held out, have changed since this run began "
            f"({began_with.rows} rows then, {len(rows)} now): it continues with the rows of now. Some held-out rows "
            "may have been trained on before, and in this epoch a row may come twice or not at all. For an exact "
            "result, start a new run."
        )
        log.write(Warned(kind="changed", message=message))


def _digest_of(places: Sequence[int]) -> str:
    return hashlib.blake2b(repr(list(places)).encode(), digest_size=16).hexdigest()


def _warn_of_twins(log: EventLog, moved: int) -> None:
    """Tell of rows that would be held out, if others did not say nearly the same. moved: how many."""
    if moved:
        text = numbered("{n} row[|s] say[s|] nearly the same as others, and [is|are] trained on, not held out.", moved)
        log.write(Warned(kind="twins", message=text, count=moved))


def _warn_of_changes(
    log: EventLog, skipped: list[Problem], trained: TruncatedRows, before: int, overlap: int | None
) -> None:
    """Write a warning for each kind of row that is not trained as it is in the data. before: rows before rendering.
    overlap: data.text_overlap."""
    if skipped:
        message = f"{numbered(LEFT_OUT, len(skipped))}; the first: {skipped[0]}"
        log.write(Warned(kind="rows", message=message, count=len(skipped)))
    if len(trained.rows) > before and overlap is not None:
        message = (
            f"{before} texts became {len(trained.rows)} rows of at most {trained.length} tokens, of which {overlap} "
            "are read again."
        )
        log.write(Warned(kind="texts", message=message, count=len(trained.rows)))
    elif len(trained.rows) > before:
        message = (
            f"{before} rows became {len(trained.rows)}: the model's chat template shows earlier answers of a chat "
            "in another form than the model has to write them, so each is trained on in a row of its own."
        )
        log.write(Warned(kind="template", message=message, count=len(trained.rows)))
    for kind, count, message in trained.warnings():
        log.write(Warned(kind=kind, message=message, count=count))
