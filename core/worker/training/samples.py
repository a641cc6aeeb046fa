"""A few questions that were held out, answered before, during and after the training; it must not notice."""

import sys
import time
import traceback
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from fitune.core.diagnose import diagnose, redact
from fitune.core.errors import UserError
from fitune.core.jobs.chat_messages import Question
from fitune.core.runs import EventLog, Phase, Sample, Warned
from fitune.core.worker.answers import answer, answering, prompt_ids, question
from fitune.core.worker.merging import compare_answers
from fitune.core.worker.stop_tokens import stop_ids

QUESTIONS = 3
ROWS_LOOKED_AT = 64
PROMPT_TOKENS = 512
"""Rows with a longer question are passed over."""
ANSWER_TOKENS = 96
SHARE = 0.02
"""Of the time of a run that its samples may take ..."""
LEAST_S = 10.0
"""... or so long at the start and at the end, where one question is answered however short the run."""


class Asked(NamedTuple):
    """A question, and its tokens."""

    question: Question
    ids: list[int]


class Samples:
    """Asks the questions and tells the answers as `sample` events."""

    def __init__(
        self, questions: list[Asked], tokenizer: Any, base: Path, log: EventLog, unsloth: bool, earlier: list[Sample]
    ) -> None:
        """base: the folder of the base model. earlier: samples of the run's earlier part, if it was resumed."""
        self.questions, self.tokenizer, self.log, self.unsloth = questions, tokenizer, log, unsloth
        self.stops = stop_ids(tokenizer, base)
        self._before = {sample.prompt: sample.before or "" for sample in earlier}
        self._began, self._first_step = time.monotonic(), 0
        self._spent_s = self._last_s = 0.0

    def begin(self, model: Any, step: int) -> None:
        """Before the first step. Only a run that begins anew can ask what the model says untrained."""
        if step == 0 and self.questions:
            self.log.write(Phase(name="sample"))
            self._look(model, step, LEAST_S)
        self._began, self._first_step, self._spent_s = time.monotonic(), step, 0.0

    def during(self, model: Any, step: int, total_steps: int) -> None:
        """At an evaluation, if the run is long enough for it; the last step's look comes with `end`."""
        allowed_s = self._allowed_s(step, total_steps)
        if step < total_steps and allowed_s >= self._last_s:
            self._look(model, step, allowed_s)

    def end(self, model: Any, step: int, total_steps: int) -> None:
        """After the last step, or where the run was stopped."""
        if self.questions:
            self.log.write(Phase(name="sample"))
        self._look(model, step, max(LEAST_S, self._allowed_s(step, total_steps)))

    def _allowed_s(self, step: int, total_steps: int) -> float:
        done = step - self._first_step
        run_s = (time.monotonic() - self._began - self._spent_s) / max(1, done) * (total_steps - self._first_step)
        return SHARE * run_s - self._spent_s

    def _look(self, model: Any, step: int, allowed_s: float) -> None:
        """Ask one question, and more if the time allows. A failure is a warning, after which none is asked any more."""
        began = time.monotonic()
        asked = [each for each in self.questions if step == 0 or each.question.shown in self._before]
        if not asked:
            return
        try:
            with answering(model, self.unsloth):
                for each in asked:
                    left_s = allowed_s - (time.monotonic() - began)
                    if each is asked[0] or left_s > self._last_s:
                        self._ask(model, step, each, left_s)
        except Exception as error:
            print(redact(traceback.format_exc()), file=sys.stderr, flush=True)
            said = f"No more samples are asked during this run: {diagnose(error).message}"
            self.log.write(Warned(kind="sample", message=said))
            self.questions = []
        compare_answers.free()
        self._spent_s += time.monotonic() - began

    def _ask(self, model: Any, step: int, asked: Asked, left_s: float) -> None:
        question, ids = asked
        said = answer(model, self.tokenizer, ids, self.stops, ANSWER_TOKENS, left_s)
        # Whatever it is initialised with, a fresh adapter leaves the model's answers as they were.
        before = self._before.setdefault(question.shown, said.text)
        self._last_s = said.elapsed_s
        self.log.write(
            Sample(
                step=step,
                prompt=question.shown,
                before=before,
                after=said.text if step else None,
                reference=question.reference,
                stops=None if said.ended == "time" else said.ended == "itself",
                tokens=said.tokens,
                elapsed_s=said.elapsed_s,
            )
        )


def questions(rows: Iterable[dict[str, Any]], tokenizer: Any) -> list[Asked]:
    """The first rows that ask different questions, short enough to be asked often."""
    found: dict[str, Asked] = {}
    for row in rows:
        if len(found) == QUESTIONS:
            break
        asked = question(row)
        if asked is None or asked.shown in found:
            continue
        with suppress(UserError):  # the chat template refuses the row: the training left it out, too, and said so
            ids = prompt_ids(asked.asked, asked.tools, tokenizer)
            if len(ids) <= PROMPT_TOKENS:
                found[asked.shown] = Asked(asked, ids)
    return list(found.values())
