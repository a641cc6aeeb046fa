"""Samples cut to the longest row that the model takes: what is left to train on, and what that cost."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from fitune.core.errors import UserError
from fitune.core.worker.rows.render import Refused, Sample, render


@dataclass(slots=True)
class Cut:
    """Rows as the trainer takes them, and what was lost on the way."""

    length: int
    """model.max_seq_length, in tokens."""
    rows: list[dict[str, list[int]]] = field(default_factory=list)
    """Each {"input_ids": [...], "labels": [...]}, at most `length` long."""
    cut: int = 0
    """Rows that lost their end."""
    lost_answers: int = 0
    """Whole answers behind the cut, in rows that keep another."""
    emptied: list[int] = field(default_factory=list)
    """Tokens of each row left out because its whole answer lay past the cut."""
    blank: int = 0
    """Rows left out because the chat template shows nothing of their answers."""
    refused: list[Refused] = field(default_factory=list)

    def take(self, made: list[Sample] | Refused) -> None:
        """Count what became of a row, and keep what there is to learn in it."""
        if isinstance(made, Refused):
            self.refused.append(made)
            return
        for sample in made:
            if sample.first is None:
                self.blank += 1
            elif sample.first >= self.length:
                self.emptied.append(len(sample.ids))
            else:
                self.cut += len(sample.ids) > self.length
                self.lost_answers += sum(first >= self.length for first, _ in sample.spans)
                ids, labels = sample.ids[: self.length], sample.labels[: self.length]
                self.rows.append({"input_ids": ids, "labels": labels})

    def losses(self) -> Iterator[tuple[str, int, str]]:
        """(kind, how many, a sentence) for each kind of loss."""
        if self.cut:
            answers = f", and {self.lost_answers} whole answers with it" if self.lost_answers else ""
            yield "cut", self.cut, f"{self.cut} rows are longer than {self.length} tokens and lose their end{answers}."
        if self.emptied:
            said = f"{len(self.emptied)} rows were left out: their whole answer lies past {self.length} tokens."
            yield "emptied", len(self.emptied), said
        if self.blank:
            yield (
                "blank",
                self.blank,
                f"{self.blank} rows were left out: the chat template shows none of their answers.",
            )
        if self.refused:
            said = f"{len(self.refused)} rows were left out; of the first, {self.refused[0].why}."
            yield "refused", len(self.refused), said


def cut(rows: Iterable[dict[str, Any]], tokenizer: Any, max_seq_length: int, loss_on: str) -> Cut:
    """Render rows, cut them to length, and count what that cost."""
    out = Cut(max_seq_length)
    for made in render(rows, tokenizer, loss_on):
        out.take(made)
    return out


def nothing_left(found: Cut, source: str) -> UserError:
    """Why no label is left to learn from, and the cure: the length, the template, or what it refuses."""
    if found.emptied:
        why = (
            f"{len(found.emptied)} rows have their whole answer past model.max_seq_length = {found.length}; "
            f"they are {min(found.emptied)} to {max(found.emptied)} tokens long"
        )
        hint = f"Set model.max_seq_length = {-(-max(found.emptied) // 256) * 256}, or shorten the questions."
    elif found.blank:
        why = f"the model's chat template shows none of the answers in {found.blank} rows"
        hint = 'Choose the Instruct version of the model, or set data.loss_on = "all".'
    else:
        why = f"of {len(found.refused)} rows all are refused; of the first, {found.refused[0].why}"
        hint = "Mend the rows, or choose a model whose chat template takes them."
    return UserError(f"{source} leaves nothing to train on: {why}.", hint)
