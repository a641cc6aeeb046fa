"""Both models on the same rows, within a time limit: rows that both have answered count, however many they are."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from sacrebleu.metrics.chrf import CHRF

from fitune.core.score import Mark, Metric, RowScore, Side, labels_of, mark, metric_for, scores
from fitune.core.score.answers import visible
from fitune.core.worker.images.look import look_at
from fitune.core.worker.scoring.generate import answers, rows_that_fit
from fitune.core.worker.scoring.losses import exchanged_losses, likeliest, losses
from fitune.core.worker.scoring.rows import ScoredRow
from fitune.core.worker.tuned_model import TunedModel

CPU_ROWS, GPU_ROWS = 16, 256
"""Rows at once within a time limit, which is looked at after each of these; fewer where a card has no room for them."""
MOST_GPU_ROWS = 2048
"""Rows at once without one: a step of writing takes about as long for many answers as for one."""
LONGEST_ANSWER, SPARE_TOKENS = 512, 16
"""Answers end at this length; or earlier, at one and a half times the longest in the data and a few tokens more."""
IMAGE_ROWS = 8
"""Rows at once where they hold images, all of which the tower sees at once."""
MOST_CHOICES = 12
"""With more labels than these the likeliest is not looked for: each costs a pass through the model."""


class Comparison:
    """Scores rows chunk by chunk, each by both models."""

    def __init__(self, tuned: TunedModel, references: Sequence[str], is_text: bool) -> None:
        """references: the answers in the data, of all rows, by which the metric is chosen. is_text: they are plain
        texts, which are scored by their loss alone."""
        self.tuned = tuned
        self.metric: Metric = "text" if is_text else metric_for(references)
        self.labels = labels_of(references) if self.metric == "label" else ()
        self.rows_at_once = GPU_ROWS if torch.cuda.is_available() else CPU_ROWS
        if tuned.images:
            self.rows_at_once = IMAGE_ROWS

    def score(
        self, rows: Sequence[ScoredRow], seconds: float | None, told: Callable[[int, int], None]
    ) -> list[RowScore]:
        """Score rows until the time is over; a first chunk always. seconds: None for no limit. told: called with the
        rows that are done and those that there are."""
        began, done, took_s = time.monotonic(), list[RowScore](), 0.0
        at_once = self.rows_at_once
        if torch.cuda.is_available() and not self.tuned.images:
            tokens = max(len(row.ids) for row in rows) + self._longest_answer(rows)
            most = MOST_GPU_ROWS if seconds is None else GPU_ROWS
            at_once = max(CPU_ROWS, min(most, rows_that_fit(self.tuned.model, tokens)))
        for start in range(0, len(rows), at_once):
            left_s = float("inf") if seconds is None else seconds - (time.monotonic() - began)
            if start and left_s < took_s:
                break
            before = time.monotonic()
            done += self._chunk(rows[start : start + at_once])
            took_s = time.monotonic() - before
            told(len(done), len(rows))
        return done

    def _chunk(self, rows: Sequence[ScoredRow]) -> list[RowScore]:
        with self.tuned.as_base():
            base = self._side(rows)
        return [
            RowScore(
                key=row.key,
                question=row.question,
                reference=row.reference,
                tokens=row.tokens,
                base=before,
                tuned=after,
            )
            for row, before, after in zip(rows, base, self._side(rows), strict=True)
        ]

    def _side(self, rows: Sequence[ScoredRow]) -> list[Side]:
        """The model as it is now, on some rows."""
        model = self.tuned.model
        texts = self._answers(rows)
        row_losses, exchanged = losses(model, rows, self.rows_at_once, self.tuned.images), self._exchanged(rows)
        choices = self._choices(rows)
        return [
            scores.side(self._mark(row, text), text, loss, choice, other)
            for row, text, loss, choice, other in zip(rows, texts, row_losses, choices, exchanged, strict=True)
        ]

    def _exchanged(self, rows: Sequence[ScoredRow]) -> list[float | None]:
        """The loss of each answer below another row's question; none where answers are judged by being right."""
        if self.metric != "text" or any(row.prompt is None for row in rows):
            return [None] * len(rows)
        longest = max(len(row.ids) for row in rows)
        return exchanged_losses(self.tuned.model, rows, self.rows_at_once, longest, self.tuned.images)

    def _mark(self, row: ScoredRow, answer: str) -> Mark:
        """The mark of an answer; how near a free text is tells chrF, the F of character n-grams (Popović 2015)."""
        marked = mark(self.metric, row.reference, answer, self.labels)
        if self.metric != "text":
            return marked
        near = CHRF().sentence_score(visible(answer), [visible(row.reference)]).score / 100
        return replace(marked, near=float(near))

    def _answers(self, rows: Sequence[ScoredRow]) -> list[str]:
        prompts = [row.prompt for row in rows if row.prompt is not None]
        if len(prompts) < len(rows):
            return [""] * len(rows)
        tuned, longest = self.tuned, self._longest_answer(rows)
        look = look_at(tuned.images, [row.images for row in rows])
        return answers(tuned.model, tuned.tokenizer, prompts, tuned.stops, longest, len(prompts), look)

    def _longest_answer(self, rows: Sequence[ScoredRow]) -> int:
        return min(LONGEST_ANSWER, max(row.tokens for row in rows) * 3 // 2 + SPARE_TOKENS)

    def _choices(self, rows: Sequence[ScoredRow]) -> list[str] | list[None]:
        """The likeliest label of each row; none where the answers are no labels."""
        if not 2 <= len(self.labels) <= MOST_CHOICES:
            return [None] * len(rows)
        coded = [self.tuned.tokenizer(label, add_special_tokens=False)["input_ids"] for label in self.labels]
        found = likeliest(self.tuned.model, rows, coded, self.rows_at_once, self.tuned.images)
        return [self.labels[place] for place in found]
