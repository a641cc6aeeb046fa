"""Truncate tokenized rows to model.max_seq_length, and count what is lost."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fitune.core.data import numbered
from fitune.core.errors import UserError
from fitune.core.worker.chats.template import PromptOptions
from fitune.core.worker.images.processor import ImageProcessor
from fitune.core.worker.rows.render import Cut, RefusedRow, render
from fitune.core.worker.rows.tokenized import IGNORED, TokenizedRow

ALBUM = "album"
"""The column with the places of a row's images in the album. Of one called images TRL and Unsloth would make pixels in
their own ways."""
NOT_COMPARED: Mapping[str, Any] = {}
LEFT_OUT = "{n} row[ was|s were] left out"
"""Filled in by `numbered`."""


@dataclass(slots=True)
class TruncatedRows:
    """Rows for the trainer, and the losses from truncating and leaving out."""

    length: int
    """model.max_seq_length, in tokens."""
    images: ImageProcessor | None = None
    """Of a model that sees, where the rows hold images."""
    rows: list[dict[str, list[int]]] = field(default_factory=list)
    """Each {"input_ids": [...], "labels": [...]}, at most `length` long; with the worse answer in `rejected_ids`, and
    whether the answer is good as 1 or 0 in `rating`, where answers are compared; with the places of its images in the
    album in `album`, where rows hold images."""
    cut: int = 0
    """Rows that lost their end."""
    lost_answers: int = 0
    """Whole answers that were cut off, in rows that keep another answer."""
    emptied: list[int] = field(default_factory=list)
    """Tokens of each row left out because its whole answer was cut off."""
    blank: int = 0
    """Rows left out because the chat template shows nothing of their answers."""
    refused: list[RefusedRow] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    """Kind of note -> rows of the source that have it."""

    def take(self, rendered: list[TokenizedRow] | RefusedRow, row: Mapping[str, Any] = NOT_COMPARED) -> None:
        """Count a row, and keep it if it has tokens to train. row: in canonical form, where answers are compared."""
        if isinstance(rendered, RefusedRow):
            self.refused.append(rendered)
            return
        self.notes.update({note for sample in rendered for note in sample.notes})
        if "rejected" in row or "label" in row:
            self._take_compared(rendered, row)
            return
        for sample in rendered:
            if sample.first is None:
                self.blank += 1
            elif sample.needed is not None and sample.needed >= self.length:
                self.emptied.append(len(sample.ids))
            else:
                self.cut += len(sample.ids) > self.length
                self.lost_answers += sum(first >= self.length for first, _ in sample.spans)
                ids, labels = sample.ids[: self.length], sample.labels[: self.length]
                made = {"input_ids": ids, "labels": labels}
                if self.images:
                    made[ALBUM] = [self.images.place_of(image) for image in sample.images]
                self.rows.append(made)

    def _take_compared(self, rendered: list[TokenizedRow], row: Mapping[str, Any]) -> None:
        """Keep a row whose answers all have tokens to compare, each up to its end."""
        firsts = {tuple(sample.ids[: sample.first]) for sample in rendered}
        if any(sample.first is None for sample in rendered):
            self.blank += 1
        elif len(firsts) > 1:
            why = "its two answers need different prompts: only one of them is thought about first"
            self.refused.append(RefusedRow(why, "Write both with thoughts, or both without."))
        elif any(sample.spans[-1][0] >= self.length for sample in rendered):
            self.emptied.append(max(len(sample.ids) for sample in rendered))
        else:
            ends = [min(sample.spans[-1][1], self.length) for sample in rendered]
            self.cut += any(sample.spans[-1][1] > self.length for sample in rendered)
            made = {"input_ids": rendered[0].ids[: ends[0]], "labels": rendered[0].labels[: ends[0]]}
            if "rejected" in row:
                made["rejected_ids"] = rendered[1].ids[: ends[1]]
            else:
                made["rating"] = [int(row["label"])]
            self.rows.append(made)

    def warnings(self) -> Iterator[tuple[str, int, str]]:
        """(kind, number of rows, a sentence) for each kind of loss."""
        if self.cut:
            answers = f", and {self.lost_answers} whole answers with it" if self.lost_answers else ""
            sentence = f"{{n}} row[ is|s are] longer than {self.length} tokens and lose[s its| their] end{answers}."
            yield "cut", self.cut, numbered(sentence, self.cut)
        if self.emptied:
            sentence = f"{LEFT_OUT}: [its|their] whole answer lies past {self.length} tokens."
            yield "emptied", len(self.emptied), numbered(sentence, len(self.emptied))
        if self.blank:
            sentence = f"{LEFT_OUT}: the chat template shows none of [its|their] answers."
            yield "blank", self.blank, numbered(sentence, self.blank)
        if self.refused:
            first = self.refused[0]
            left_out = numbered(LEFT_OUT, len(self.refused))
            yield "refused", len(self.refused), f"{left_out}; of the first, {first.why}. {first.cure}".rstrip()


def truncate(
    rows: Iterable[dict[str, Any]],
    tokenizer: Any,
    max_seq_length: int,
    loss_on: str,
    options: PromptOptions | None = None,
    cut: Cut | None = None,
    images: ImageProcessor | None = None,
) -> TruncatedRows:
    """Render rows, truncate them, and count the losses."""
    truncated, given = TruncatedRows(max_seq_length, images), list(images.measured(rows) if images else rows)
    for row, rendered in zip(given, render(given, tokenizer, loss_on, options, cut, images), strict=True):
        truncated.take(rendered, row)
    return truncated


def first_of(row: Mapping[str, Sequence[int]]) -> int:
    """The place of the first token of the answer in a row of TruncatedRows; that of a worse answer is the same."""
    return next(place for place, label in enumerate(row["labels"]) if label != IGNORED)


def nothing_left_error(truncated: TruncatedRows, source: str) -> UserError:
    """The error for rows without any token to train, with its fix: the length, the chat template, or the rows."""
    if truncated.emptied:
        why = (
            f"{len(truncated.emptied)} rows have their whole answer past model.max_seq_length = {truncated.length}; "
            f"they are {min(truncated.emptied)} to {max(truncated.emptied)} tokens long"
        )
        hint = f"Set model.max_seq_length = {-(-max(truncated.emptied) // 256) * 256}, or shorten the questions."
    elif truncated.blank:
        why = f"the model's chat template shows none of the answers in {truncated.blank} rows"
        hint = 'Choose the Instruct version of the model, or set data.loss_on = "all".'
    else:
        why = f"of {len(truncated.refused)} rows all are refused; of the first, {truncated.refused[0].why}"
        hint = truncated.refused[0].cure or "Fix the rows, or choose a model whose chat template takes them."
    return UserError(f"{source} leaves nothing to train on: {why}.", hint)
