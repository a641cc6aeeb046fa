"""The prepare job: render every row as training would, with the tokenizer alone, and write the token statistics."""

import sys
import time
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import orjson

from fitune.core.data import dataset
from fitune.core.errors import Problem
from fitune.core.files import write_atomically
from fitune.core.recipe import Data, Model, Recipe
from fitune.core.runs import EventLog, Finished, Phase, Run, Started
from fitune.core.tokens import Example, Token, TokenStats, lengths
from fitune.core.worker import models
from fitune.core.worker.chats.template import PromptOptions, names_of, read
from fitune.core.worker.chats.time_limit import limit_template
from fitune.core.worker.images.processor import ImageProcessor, load, sees
from fitune.core.worker.memory_use import MemoryMeter
from fitune.core.worker.rows.long_texts import cut_of
from fitune.core.worker.rows.render import (
    RefusedRow,
    ensure_template,
    refuse_unknown_options,
    render,
    text_part,
)
from fitune.core.worker.rows.tokenized import IGNORED, TokenizedRow

LOG_EVERY_S = 0.5
SPREAD_EXAMPLES = 8
"""This many to twice as many examples are kept from all over the source ..."""
LATE_EXAMPLES = 3
"""... and this many of the rows whose answer begins last: a short max_seq_length cuts it off."""
SHOWN_TOKENS = 4096
"""Tokens that are kept of an example, the first."""


def run(run: Run, log: EventLog, memory: MemoryMeter) -> None:
    """Write prepared.json into the run folder, whole or not at all. `memory` is an argument of every job; unused."""
    started_s = time.monotonic()
    recipe = run.recipe()
    log.write(Started(model=recipe.model.id, source=recipe.data.name))
    folder = _fetch(run, recipe.model, log)
    images = _image_processor(folder, recipe)
    tokenizer = text_part(images.processor) if images else load_tokenizer(folder, recipe.model.trust_remote_code)
    limit_template(tokenizer)
    plain = ensure_template(tokenizer)
    options = PromptOptions(recipe.data.thinking, recipe.data.template_options)
    counter = TokenCounter(tokenizer, plain, options, images)
    refuse_unknown_options(tokenizer, counter.options)
    skipped = _count_all(run, recipe, counter, log)
    if skipped is None:
        log.write(Finished(stopped=True, elapsed_s=time.monotonic() - started_s))
        return
    stats = counter.prepared(skipped)
    write_atomically(run.path / lengths.STATS_FILE, orjson.dumps(lengths.to_json(stats)))
    _tell_end(stats, recipe.model.max_seq_length, time.monotonic() - started_s, log)


def _fetch(run: Run, model: Model, log: EventLog) -> Path:
    """The folder of the model's tokenizer, downloaded from the Hub if needed."""
    models_dir = run.path.parent.parent / "models"
    models_dir.mkdir(exist_ok=True)
    folder = models.fetch_tokenizer(model.id, model.revision, model.trust_remote_code, models_dir, log)
    log.write(Phase(name="load", model=model.id))
    return folder


def _image_processor(folder: Path, recipe: Recipe) -> ImageProcessor | None:
    """The model's processor, where it sees and rows hold images: it needs torch, which takes long to load."""
    if not sees(folder) or not dataset.holds_images(recipe.rows):
        return None
    return load(folder, recipe.data.image_pixels, recipe.model.trust_remote_code)


def _count_all(run: Run, recipe: Recipe, counter: "TokenCounter", log: EventLog) -> int | None:
    """Render and count every row, and log the progress. Return the number of skipped rows; None if it was stopped."""
    data = recipe.rows
    log.write(Phase(name="rows", rows=0, tokens=0))
    logged_s, progress = time.monotonic(), [0, 0]
    skipped: list[Problem] = []
    own = dataset.rows(data, None, skipped.append, lambda *now: progress.__setitem__(slice(2), now))
    rows = _with_general(own, data)
    rows = counter.images.measured(rows) if counter.images else rows
    for rendered in render(rows, counter.tokenizer, data.loss_on, counter.options, cut_of(recipe), counter.images):
        counter.take(rendered)
        if time.monotonic() - logged_s > LOG_EVERY_S:
            logged_s = time.monotonic()
            done, total = progress
            log.write(Phase(name="rows", rows=counter.rows, tokens=counter.total, bytes=done, total_bytes=total))
        if run.stop.exists():
            return None
    return len(skipped)


def _with_general(own: Iterable[dict[str, Any]], data: Data) -> Iterator[dict[str, Any]]:
    """The own rows, and behind them the general ones that are mixed in."""
    count = 0
    for count, row in enumerate(own, 1):  # noqa: B007
        yield row
    yield from dataset.general_rows(data, count)


def _tell_end(stats: TokenStats, length: int, elapsed_s: float, log: EventLog) -> None:
    lost = stats.truncation_at(length)
    log.write(
        Finished(
            stopped=False,
            rows=stats.rows,
            tokens=stats.total_tokens,
            trained_tokens=stats.trained_tokens(length),
            longest=stats.longest,
            cut=lost.rows,
            emptied=lost.emptied,
            refused=stats.refused,
            elapsed_s=elapsed_s,
        )
    )


def load_tokenizer(folder: Path, remote_code: bool) -> Any:
    """The tokenizer as training loads it. Without torch, transformers starts in a third of the time."""
    if not remote_code:
        sys.modules.setdefault("torch", None)  # type: ignore[arg-type]  # "not installed", to this process
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, trust_remote_code=remote_code)


class TokenCounter:
    """Counts tokenized rows as they come, and keeps a few as examples."""

    def __init__(
        self,
        tokenizer: Any,
        plain_template: bool,
        options: PromptOptions | None = None,
        images: ImageProcessor | None = None,
    ) -> None:
        self.rows = self.total = self._refused = self._image_rows = self._row_pixels = 0
        self.images = images
        self.tokenizer, self._plain_template, self.options = tokenizer, plain_template, options or PromptOptions()
        self._notes: Counter[str] = Counter()
        self._lengths: Counter[int] = Counter()
        self._blank_lengths: Counter[int] = Counter()
        self._firsts: Counter[int] = Counter()
        self._change_at = array("q", [0])  # rows whose trained tokens begin, less those whose end, at each place
        self._first_refused: RefusedRow | None = None
        self._spread: list[tuple[int, TokenizedRow]] = []
        self._stride = 1
        self._latest: list[tuple[int, TokenizedRow]] = []
        self._longest: tuple[int, TokenizedRow] | None = None

    def take(self, rendered: list[TokenizedRow] | RefusedRow) -> None:
        """Count what one row of the source was rendered to."""
        if isinstance(rendered, RefusedRow):
            self._refused += 1
            self._first_refused = self._first_refused or rendered
        else:
            self._notes.update({note for sample in rendered for note in sample.notes})
            self._image_rows += any(sample.images for sample in rendered)
            if self.images:
                pixels = (sum(map(self.images.pixels_of, sample.images)) for sample in rendered)
                self._row_pixels = max(self._row_pixels, *pixels)
            for sample in rendered:
                self._count(sample)
            self._keep(rendered)
        self.rows += 1

    def _count(self, sample: TokenizedRow) -> None:
        size = len(sample.ids)
        self.total += size
        self._lengths[size] += 1
        if sample.first is None:
            self._blank_lengths[size] += 1
        else:
            self._firsts[sample.needed or sample.first] += 1
        if size >= len(self._change_at):
            self._change_at.extend([0] * (size + 1 - len(self._change_at)))
        for first, end in sample.spans:
            self._change_at[first] += 1
            self._change_at[end] -= 1

    def _keep(self, rows: list[TokenizedRow]) -> None:
        for sample in rows:
            if self._longest is None or len(sample.ids) > len(self._longest[1].ids):
                self._longest = (self.rows, sample)
            if len(self._latest) < LATE_EXAMPLES or _lateness(sample) > _lateness(self._latest[-1][1]):
                self._latest = sorted([*self._latest, (self.rows, sample)], key=lambda kept: -_lateness(kept[1]))
                del self._latest[LATE_EXAMPLES:]
        if self.rows % self._stride == 0:
            self._spread += [(self.rows, sample) for sample in rows[:1]]
        if len(self._spread) > 2 * SPREAD_EXAMPLES:
            self._spread, self._stride = self._spread[::2], self._stride * 2

    def prepared(self, skipped: int) -> TokenStats:
        """The statistics of all counted rows. skipped: rows of the source that were not rendered."""
        longest = [self._longest] if self._longest else []
        kept = {(row, len(sample.ids)): sample for row, sample in (*self._spread, *self._latest, *longest)}
        return TokenStats(
            lengths=dict(self._lengths),
            blank_lengths=dict(self._blank_lengths),
            firsts=dict(self._firsts),
            trained_at=array("q", accumulate(self._change_at[:-1])),
            examples=tuple(example(row, kept[row, size], self.tokenizer, self.images) for row, size in sorted(kept)),
            source_rows=self.rows,
            image_rows=self._image_rows,
            row_pixels=self._row_pixels,
            skipped=skipped,
            refused=self._refused,
            why_refused=self._first_refused.why if self._first_refused else "",
            plain_template=self._plain_template,
            cure=self._first_refused.cure if self._first_refused else "",
            notes=dict(self._notes),
            switch=read(self.tokenizer, self.options).switch,
            templates=names_of(self.tokenizer),
        )


def _lateness(sample: TokenizedRow) -> float:
    """The position at which the answer begins; infinite for a row without one."""
    return float("inf") if sample.first is None else sample.first


def example(row: int, sample: TokenizedRow, tokenizer: Any, images: ImageProcessor | None = None) -> Example:
    """A tokenized row as text, token by token; of an image only the first token has a text, which says its size."""
    from tokenizers.decoders import DecodeStream

    stream, marks = DecodeStream(skip_special_tokens=False), tokenizer.added_tokens_decoder
    tokens = [
        Token(stream.step(tokenizer.backend_tokenizer, token) or "", label != IGNORED, token in marks)
        for token, label in zip(sample.ids[:SHOWN_TOKENS], sample.labels, strict=False)
    ]
    if images and sample.images:
        for first, end, text in images.runs_in(sample.ids[:SHOWN_TOKENS], sample.images):
            tokens[first:end] = [Token(text, False, True), *[Token("", False, False)] * (end - first - 1)]
    return Example(row, len(sample.ids), tuple(tokens))
