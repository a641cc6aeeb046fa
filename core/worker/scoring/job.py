"""`fitune score`, and the score at the end of a training: verdict as an event, each row in a file."""

import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from fitune.core.data import dataset, eval_fraction, numbered
from fitune.core.data.split import split
from fitune.core.data.twins import with_a_twin
from fitune.core.deliver import ScoreRequest, requests
from fitune.core.diagnose import diagnose, redact
from fitune.core.errors import UserError
from fitune.core.recipe import MOVES_THE_BASE, Recipe
from fitune.core.records import from_json, to_json
from fitune.core.runs import EventLog, Finished, Forgot, Phase, Preferred, Run, Score, Started, Warned
from fitune.core.score import PairScore, Scores, preference, scores
from fitune.core.score.probe import forgetting
from fitune.core.worker import models, tuned_model
from fitune.core.worker.answers import answering
from fitune.core.worker.chats.template import PromptOptions
from fitune.core.worker.device import compute_dtype
from fitune.core.worker.images.processor import of_rows
from fitune.core.worker.memory_use import MemoryMeter
from fitune.core.worker.rows import render
from fitune.core.worker.scoring import pairs
from fitune.core.worker.scoring.compare import Comparison
from fitune.core.worker.scoring.probe import probe, shipped
from fitune.core.worker.scoring.rows import keys_of, scored_rows, to_first_answer
from fitune.core.worker.tuned_model import TunedModel

TIME_SHARE, LEAST_S = 0.1, 20.0
"""The share of a training's time that its score may take, and the seconds that it may take of a short one."""
PROBE_SHARE = 0.3
"""The part of that time for general questions. Where answers are compared, their likelihoods may take as long again as
all of it: they are what was learnt, and a pair takes a fraction of the time of an answer that is written."""
Rows = Sequence[dict[str, Any]]
Judged = tuple[preference.Preference, tuple[PairScore, ...]]
"""The verdict on pairs, and the pairs."""


def run(run: Run, log: EventLog, memory: MemoryMeter) -> None:
    """The job: load the model, score it as score.json asks. `memory` is an argument of every job; unused."""
    began = time.monotonic()
    request, recipe = requests.read(ScoreRequest, run.path / "score.json"), run.recipe()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    log.write(Started(backend="peft", dtype=compute_dtype(), device=device))
    log.write(Phase(name="data", source=request.data or recipe.data.source))
    rows, trained_keys = rows_of(run, recipe, request, log)
    source = models.of_run(run, log)
    log.write(Phase(name="load", model=source.name))
    tuned = replace(tuned_model.load(recipe, source, run.adapter), images=of_rows(rows, recipe, source.path))
    prefers = prefer(run, recipe, tuned, rows, trained_keys, None, log, request)
    judged = with_preference(run, score(run, recipe, tuned, rows, trained_keys, None, log, request), prefers)
    if request.data is None or run.state().forgot is None:  # which is the same whatever rows are scored
        ask_probe(run, recipe, tuned, judged, None, log)
    log.write(Finished(elapsed_s=time.monotonic() - began))


def after_training(
    run: Run,
    recipe: Recipe,
    tuned: TunedModel | None,
    rows: Rows,
    trained_keys: set[str],
    trained_s: float,
    log: EventLog,
) -> None:
    """Score the model that was just trained, as train.score says. A failure is a warning: the training is done.

    tuned: None where the model is split over several cards. trained_s: seconds that the training took.
    """
    if recipe.train.score == "off" or not rows:
        return
    if tuned is None or recipe.lora.init in MOVES_THE_BASE or recipe.lora.bias != "none":
        message = f"The base model is not in memory as it was, so the score comes apart: fitune score {run.name}"
        log.write(Warned(kind="score", message=message))
        return
    seconds = max(LEAST_S, TIME_SHARE * trained_s)
    takes_all = recipe.train.score == "all"
    rows_s, probe_s = (None, seconds) if takes_all else ((1 - PROBE_SHARE) * seconds, PROBE_SHARE * seconds)
    try:
        with answering(tuned.model, recipe.train.backend == "unsloth"):
            pairs_s = None if takes_all else seconds
            prefers = prefer(run, recipe, tuned, rows, trained_keys, pairs_s, log, ScoreRequest())
            judged = score(run, recipe, tuned, rows, trained_keys, rows_s, log, ScoreRequest())
            judged = with_preference(run, judged, prefers)
            ask_probe(run, recipe, tuned, judged, probe_s, log)
    except Exception as error:
        print(redact(traceback.format_exc()), file=sys.stderr, flush=True)
        message = f"It could not be scored: {diagnose(error).message} Again: fitune score {run.name}"
        log.write(Warned(kind="score", message=message))


def prefer(
    run: Run,
    recipe: Recipe,
    tuned: TunedModel,
    rows: Rows,
    trained_keys: set[str],
    seconds: float | None,
    log: EventLog,
    request: ScoreRequest,
) -> Judged | None:
    """Give both answers of each held-out pair a likelihood by both models, and write the verdict as an event; None
    where rows hold single answers. seconds: stop after them."""
    compared = [row for row in rows if "rejected" in row or "label" in row]
    fresh = [row for row in compared if not keys_of([row]) & trained_keys]
    if not fresh:
        return None
    began = time.monotonic()
    tokenizer = render.text_part(tuned.tokenizer)
    render.ensure_template(tokenizer)
    options = PromptOptions(recipe.data.thinking, recipe.data.template_options)
    found = pairs.pairs_of(fresh, tokenizer, recipe.model.max_seq_length, options)
    if not found:
        return None
    log.write(Phase(name="pairs", scored=0, to_score=len(found)))
    told = pairs.compare(
        tuned, found, seconds, lambda done, of: log.write(Phase(name="pairs", scored=done, to_score=of))
    )
    judged = preference.judge(told, len(found) - len(told))
    elapsed_s = time.monotonic() - began
    log.write(from_json(Preferred, {**to_json(judged), "source": request.data, "elapsed_s": elapsed_s}))
    return judged, tuple(told)


def with_preference(run: Run, judged: Scores, preferred: Judged | None) -> Scores:
    """The scores with the verdict on pairs, kept in their file; as they are without any."""
    if preferred:
        verdict, told = preferred
        judged = replace(judged, preference=verdict, pairs=told)
        scores.write(run.path, judged)
    return judged


def score(
    run: Run,
    recipe: Recipe,
    tuned: TunedModel,
    rows: Rows,
    trained_keys: set[str],
    seconds: float | None,
    log: EventLog,
    request: ScoreRequest,
) -> Scores:
    """Score rows by both models, write their file, then the verdict as an event.

    seconds: stop taking further rows after them. Raises UserError if no row is left to score.
    """
    began = time.monotonic()
    tokenizer = render.text_part(tuned.tokenizer)
    render.ensure_template(tokenizer)
    options = PromptOptions(recipe.data.thinking, recipe.data.template_options)
    found = scored_rows(rows, tokenizer, recipe.model.max_seq_length, options, tuned.images)
    # By their digests they stand in an order that is nobody's choice, and the same in every run on these rows.
    fresh = sorted({row.key: row for row in found if row.key not in trained_keys}.values(), key=lambda row: row.key)
    leaked = sum(row.key in trained_keys for row in found)
    where = request.data or "the held-out rows"
    if request.data and (lost := sum(to_first_answer(row) is not None for row in rows) - len(found)):
        length = recipe.model.max_seq_length
        text = (
            f"{lost:,} of {len(rows):,} rows can't be scored: they have no answer that ends within {length:,} tokens."
        )
        log.write(Warned(kind="score", message=text, count=lost))
    if not fresh:
        why = f"all {leaked} are among the training rows, too" if leaked else "none has an answer within the length"
        hint = f"Give other rows: fitune score {run.name} --data FILE"
        raise UserError(f"There is nothing to score in {where}: {why}.", hint)
    fresh = fresh[: request.rows]
    log.write(Phase(name="score", scored=0, to_score=len(fresh)))
    comparison = Comparison(tuned, [row.reference for row in fresh], all(row.prompt is None for row in fresh))
    scored = comparison.score(fresh, seconds, lambda done, of: log.write(Phase(name="score", scored=done, to_score=of)))
    elapsed_s = time.monotonic() - began
    judged = scores.judge(
        comparison.metric, scored, comparison.labels, leaked, request.data, elapsed_s, len(fresh) - len(scored)
    )
    scores.write(run.path, judged)
    log.write(from_json(Score, {**to_json(judged.verdict), "source": request.data, "elapsed_s": elapsed_s}))
    return judged


def ask_probe(
    run: Run, recipe: Recipe, tuned: TunedModel, judged: Scores, seconds: float | None, log: EventLog
) -> None:
    """Ask both models general questions, add their answers to the scores, and write what was forgotten as an event.

    seconds: stop asking after them. A model that is trained on plain text answers no questions, and is asked none.
    """
    if not any(row.base.answer or row.tuned.answer for row in judged.rows):
        return
    began, chosen = time.monotonic(), shipped()
    log.write(Phase(name="probe", scored=0, to_score=len(chosen)))
    options = PromptOptions(recipe.data.thinking, recipe.data.template_options)
    asked = replace(tuned, tokenizer=render.text_part(tuned.tokenizer))

    def tell(done: int) -> None:
        log.write(Phase(name="probe", scored=done, to_score=len(chosen)))

    answers = probe(asked, chosen, options, seconds, tell)
    found = forgetting(answers)
    scores.write(run.path, replace(judged, forgetting=found, probe=tuple(answers)))
    log.write(from_json(Forgot, {**to_json(found), "elapsed_s": time.monotonic() - began}))


def rows_of(run: Run, recipe: Recipe, request: ScoreRequest, log: EventLog) -> tuple[Rows, set[str]]:
    """The rows to score, and the digests of those that were trained on; a warning tells how many of another
    file say nearly the same as one of these. Raises UserError if none are held out, or a run of an older version held
    out others."""
    rows = list(dataset.rows(recipe.rows))
    trained, held_out = split(rows, eval_fraction(recipe, len(rows)), recipe.train.seed)
    keys = keys_of(rows[place] for place in trained)
    if request.data is not None:
        others = list(dataset.rows(recipe.rows.in_place(request.data)))
        new = [row for row in others if not keys_of([row]) & keys]
        known = [rows[place] for place in trained]
        if near := with_a_twin([*new, *known], range(len(new)), {}, range(len(new), len(new) + len(known))):
            message = (
                f"{numbered('{n} row[ says|s say]', len(near))} nearly the same as a row that was trained on: on rows "
                "that are new to it the score may be lower."
            )
            log.write(Warned(kind="score", message=message, count=len(near)))
        return others, keys
    hint = f"Give rows that were not trained on: fitune score {run.name} --data FILE"
    if not held_out:
        raise UserError("No rows were held out of this training.", hint)
    return [rows[place] for place in held_out], keys
