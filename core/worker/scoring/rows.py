"""The rows to score: a question and the answer in the data, in tokens as in the training."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fitune.core.data.images.chats import images_before_answer
from fitune.core.score import scores
from fitune.core.worker.answers import question
from fitune.core.worker.chats.template import PromptOptions
from fitune.core.worker.images.processor import ImageProcessor
from fitune.core.worker.rows.render import RefusedRow, render


@dataclass(frozen=True, slots=True)
class ScoredRow:
    """A row to score."""

    key: str
    """The digest by which rows are found again, in other runs and among the training rows."""
    question: str
    reference: str
    """The answer in the data, as the model would write it; the whole of a plain text."""
    prompt: list[int] | None
    """The tokens before the answer; None for a plain text, which nobody asks for."""
    ids: list[int]
    """All tokens up to the end of the answer."""
    first: int
    """The position in `ids` of the first token of the answer; at least 1."""
    images: tuple[str, ...] = ()
    """The images before the answer."""

    @property
    def tokens(self) -> int:
        """The tokens of the answer."""
        return len(self.ids) - self.first


def scored_rows(
    rows: Iterable[dict[str, Any]],
    tokenizer: Any,
    max_seq_length: int,
    options: PromptOptions | None = None,
    images: ImageProcessor | None = None,
) -> list[ScoredRow]:
    """The rows that can be scored: those with an answer that ends within max_seq_length tokens.

    Of a chat the first answer is scored. tokenizer: with a chat template. options: of the run's recipe. images:
    of a model that sees.
    """
    chosen = [(row, asked) for row in map(to_first_answer, rows) if row and (asked := question(row))]
    rendered = render((row for row, _ in chosen), tokenizer, "answers", options, images=images)
    found = []
    for (row, asked), tokenized in zip(chosen, rendered, strict=True):
        if isinstance(tokenized, RefusedRow) or not tokenized[-1].spans:
            continue
        first, end = tokenized[-1].spans[-1]
        if end > max_seq_length:
            continue
        ids, is_text = tokenized[-1].ids[:end], "text" in row
        reference = str(tokenizer.decode(ids[first:], skip_special_tokens=True)).strip()
        prompt = None if is_text else ids[:first]
        shown = str(row["messages"][-2].get("content") or "") if "messages" in row else asked.shown
        found.append(ScoredRow(scores.key_of(row), shown, reference, prompt, ids, first, tokenized[-1].images))
    return found


def keys_of(rows: Iterable[dict[str, Any]]) -> set[str]:
    """The digests of rows."""
    return {scores.key_of(cut) for row in rows if (cut := to_first_answer(row))}


def to_first_answer(row: dict[str, Any]) -> dict[str, Any] | None:
    """A chat up to its first answer, which is trained on; other rows as they are. None for a chat without one.

    Where answers are compared it is the whole chat with the better answer, and None for an answer that is rated bad.
    """
    if "rejected" in row or "label" in row:
        better = {key: value for key, value in row.items() if key not in ("rejected", "label")}
        return better if row.get("label", True) else None
    if "messages" not in row:
        return row
    turns = row["messages"]
    first = next((place for place, turn in enumerate(turns) if turn["role"] == "assistant"), None)
    if first is None or turns[first].get("train") is False:
        return None
    asked = row | {"messages": turns[: first + 1]}
    return asked | {"images": images_before_answer(row)} if "images" in row else asked
