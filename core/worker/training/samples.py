"""Samples: held-out questions, answered before, during and after the training without disturbing it."""

import sys
import time
import traceback
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from fitune.core.data.images.chats import images_before_answer
from fitune.core.diagnose import diagnose, redact
from fitune.core.errors import UserError
from fitune.core.jobs.messages.chat import Question
from fitune.core.runs import EventLog, Phase, Sample, Warned
from fitune.core.worker.answers import answer, answering, prompt_ids, question, row_prompt_ids
from fitune.core.worker.chats.stop_tokens import stop_ids
from fitune.core.worker.chats.template import PromptOptions
from fitune.core.worker.images.look import Look, look_at
from fitune.core.worker.images.processor import ImageProcessor
from fitune.core.worker.merging import compare_answers

QUESTIONS = 3
CANDIDATE_ROWS = 64
PROMPT_TOKENS = 512
"""Rows with a longer question are skipped ..."""
IMAGE_PROMPT_TOKENS = 2048
"""... and where it shows images, those longer than this."""
ANSWER_TOKENS = 96
TIME_SHARE = 0.02
"""The share of a run's time that its samples may take."""
LEAST_S = 10.0
"""Seconds that they may take at the start and at the end of a run however short; one question is always answered."""


class SampleQuestion(NamedTuple):
    """A question, its tokens, and the look at its images."""

    question: Question
    ids: list[int]
    look: Look | None = None


class Samples:
    """Asks the questions and writes the answers as `sample` events."""

    def __init__(
        self,
        questions: list[SampleQuestion],
        tokenizer: Any,
        base: Path,
        options: PromptOptions,
        log: EventLog,
        unsloth: bool,
        earlier: list[Sample],
    ) -> None:
        """base: the folder of the base model. earlier: samples of the run's earlier part, if it was resumed."""
        self.questions, self.tokenizer, self.log, self.unsloth = questions, tokenizer, log, unsloth
        self.stops = stop_ids(tokenizer, base, options)
        self._before = {sample.prompt: sample.before or "" for sample in earlier}
        self._began, self._first_step = time.monotonic(), 0
        self._spent_s = self._last_s = 0.0

    def begin(self, model: Any, step: int) -> None:
        """Ask before the first step. A resumed run does not: its model is trained already."""
        if step == 0 and self.questions:
            self.log.write(Phase(name="sample"))
            self._ask_all(model, step, LEAST_S)
        self._began, self._first_step, self._spent_s = time.monotonic(), step, 0.0

    def during(self, model: Any, step: int, total_steps: int) -> None:
        """Ask at an evaluation, if the run is long enough; after the last step `end` asks."""
        allowed_s = self._allowed_s(step, total_steps)
        if step < total_steps and allowed_s >= self._last_s:
            self._ask_all(model, step, allowed_s)

    def end(self, model: Any, step: int, total_steps: int) -> None:
        """Ask after the last step, or at the step where the run was stopped."""
        if self.questions:
            self.log.write(Phase(name="sample"))
        self._ask_all(model, step, max(LEAST_S, self._allowed_s(step, total_steps)))

    def _allowed_s(self, step: int, total_steps: int) -> float:
        done = step - self._first_step
        run_s = (time.monotonic() - self._began - self._spent_s) / max(1, done) * (total_steps - self._first_step)
        return TIME_SHARE * run_s - self._spent_s

    def _ask_all(self, model: Any, step: int, allowed_s: float) -> None:
        """Ask one question, and more if the time allows. A failure is a warning, and no more questions are asked."""
        began = time.monotonic()
        asked = [item for item in self.questions if step == 0 or item.question.shown in self._before]
        if not asked:
            return
        try:
            with answering(model, self.unsloth):
                for item in asked:
                    left_s = allowed_s - (time.monotonic() - began)
                    if item is asked[0] or left_s > self._last_s:
                        self._ask(model, step, item, left_s)
        except Exception as error:
            print(redact(traceback.format_exc()), file=sys.stderr, flush=True)
            message = f"No more samples are asked during this run: {diagnose(error).message}"
            self.log.write(Warned(kind="sample", message=message))
            self.questions = []
        compare_answers.free()
        self._spent_s += time.monotonic() - began

    def _ask(self, model: Any, step: int, asked: SampleQuestion, left_s: float) -> None:
        question, ids, look = asked
        answered = answer(model, self.tokenizer, ids, self.stops, ANSWER_TOKENS, left_s, look)
        # However it is initialised, a fresh adapter does not change the model's answers.
        before = self._before.setdefault(question.shown, answered.text)
        self._last_s = answered.elapsed_s
        self.log.write(
            Sample(
                step=step,
                prompt=question.shown,
                before=before,
                after=answered.text if step else None,
                reference=question.reference,
                stops=None if answered.ended == "time" else answered.ended == "itself",
                tokens=answered.tokens,
                elapsed_s=answered.elapsed_s,
            )
        )


def questions(
    rows: Iterable[dict[str, Any]],
    tokenizer: Any,
    options: PromptOptions | None = None,
    images: ImageProcessor | None = None,
) -> list[SampleQuestion]:
    """The first different questions in the rows that have at most PROMPT_TOKENS tokens, or with images
    IMAGE_PROMPT_TOKENS. images: of a model that sees."""
    chosen: dict[str, SampleQuestion] = {}
    for row in rows:
        if len(chosen) == QUESTIONS:
            break
        asked = question(row)
        if asked is None or asked.shown in chosen:
            continue
        with suppress(UserError):  # the chat template refuses the row: the training skips it, too, with a warning
            ids = (
                prompt_ids(asked.asked, asked.tools, tokenizer)
                if "text" in row
                else row_prompt_ids(row, tokenizer, options, images)
            )
            if len(ids) <= (IMAGE_PROMPT_TOKENS if "images" in row else PROMPT_TOKENS):
                seen = images_before_answer(row)
                chosen[asked.shown] = SampleQuestion(asked, ids, look_at(images, [seen]))
    return list(chosen.values())
