"""Rows as token ids: each piece is tokenized by itself, as a model meets the prompt and writes on behind it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fitune.core.worker.chats.rows import Note, Piece, RenderedRow, apart
from fitune.core.worker.chats.template import ChatTemplate

IGNORED = -100
"""The label that the loss ignores."""
Spans = list[tuple[int, int]]
"""Half-open ranges, in order."""


@dataclass(frozen=True, slots=True)
class TokenizedRow:
    """Token ids of one row, and the spans that are trained."""

    ids: list[int]
    spans: Spans
    """Ranges of `ids`, one for each answer. None begins at 0: the first token is predicted from nothing."""
    notes: frozenset[Note] = frozenset()
    images: tuple[str, ...] = ()
    """The images in it, in order."""
    images_end: int = 0
    """Position behind the last image and the words that follow it: a row that is cut before it would lack pixels."""

    @property
    def needed(self) -> int | None:
        """Position that must not be cut off: of the first trained token, or before the end of the images. None: nothing
        is trained anyway."""
        return None if self.first is None else max(self.first, self.images_end - 1)

    @property
    def labels(self) -> list[int]:
        """For each token its id if it is trained, else IGNORED."""
        labels = [IGNORED] * len(self.ids)
        for first, end in self.spans:
            labels[first:end] = self.ids[first:end]
        return labels

    @property
    def first(self) -> int | None:
        """Position of the first trained token; a row truncated at or before it trains nothing. None: nothing is
        trained anyway."""
        return self.spans[0][0] if self.spans else None


def tokenize(rows: Sequence[RenderedRow], template: ChatTemplate) -> Iterator[list[TokenizedRow]]:
    """Each row in tokens. A row of several answers becomes several where the tokens cross the ends of its answers."""
    tokenizer = template.tokenizer
    bare = _with_bos([row.pieces[0].text for row in rows if row.bare], tokenizer)
    chats = [row for row in rows if not row.bare]
    begun = _encoded((text for row in chats for text in (row.pieces[0].text, *_compared(row))), tokenizer)
    continued = _continued((piece.text for row in rows for piece in row.pieces[1:]), tokenizer)
    for row in rows:
        pieces = [(bare if row.bare else begun)[row.pieces[0].text], *(continued[each.text] for each in row.pieces[1:])]
        is_whole = all(begun[text] == _up_to(len(text), row, pieces) for text in _compared(row))
        if is_whole:
            yield [_row(row, pieces, tokenizer.eos_token_id)]
        else:
            yield [made for each in tokenize(apart(row, template), template) for made in each]


def _row(row: RenderedRow, pieces: Sequence[Sequence[int]], eos: int | None) -> TokenizedRow:
    ids: list[int] = []
    spans: Spans = []
    images, images_end = _images_in(row), 0
    for piece, tokens in zip(row.pieces, pieces, strict=True):
        first = max(1, len(ids))
        ids += tokens
        if piece.ends and eos is not None:
            ids.append(eos)
        if piece.trained and len(ids) > first:
            joins = bool(spans) and spans[-1][1] == first
            spans[-1:] = [(spans[-1][0], len(ids))] if joins else [*spans[-1:], (first, len(ids))]
        if any(place is piece for _, place in images):
            images_end = len(ids)
    return TokenizedRow(ids, spans, row.notes, tuple(image for image, _ in images), images_end)


def _images_in(row: RenderedRow) -> list[tuple[str, Piece]]:
    """The images whose text stands in a row, each with its piece."""
    found, rest = [], list(row.images)
    for piece in row.pieces if rest else ():
        at = 0
        while rest and (place := piece.text.find(rest[0].text, at)) >= 0:
            at = place + len(rest[0].text)
            found.append((rest.pop(0).image, piece))
    return found


def _compared(row: RenderedRow) -> list[str]:
    """The prompt of the last answer, whose tokens must be those of the pieces in it: a program tokenizes it whole."""
    return [row.answers[-1].prompt] if len(row.answers) > 1 and not row.pieces[0].trained else []


def _up_to(length: int, row: RenderedRow, pieces: Sequence[Sequence[int]]) -> list[int]:
    """The tokens of the pieces that make the first `length` characters."""
    ids: list[int] = []
    for piece, tokens in zip(row.pieces, pieces, strict=True):
        if length <= 0:
            break
        ids += tokens
        length -= len(piece.text)
    return ids


def _encoded(texts: Iterable[str], tokenizer: Any) -> Mapping[str, list[int]]:
    """The tokens of each text; a chat template writes its own BOS."""
    different = list(dict.fromkeys(texts))
    if not different:
        return {}
    return dict(zip(different, tokenizer(different, add_special_tokens=False, verbose=False)["input_ids"], strict=True))


def _continued(texts: Iterable[str], tokenizer: Any) -> Mapping[str, list[int]]:
    """The tokens of each text behind another: without the space that some tokenizers put before a text (Llama 2)."""
    different = list(dict.fromkeys(texts))
    alone = _encoded(different, tokenizer)
    sample = _encoded(("\n", "a", "\na"), tokenizer)
    line = sample["\n"]
    if sample["\na"] == [*line, *sample["a"]]:
        return alone
    behind_line = _encoded((f"\n{text}" for text in different), tokenizer)
    return {
        text: tokens[len(line) :] if (tokens := behind_line[f"\n{text}"])[: len(line)] == line else alone[text]
        for text in different
    }


def _with_bos(texts: list[str], tokenizer: Any) -> Mapping[str, list[int]]:
    """Tokens of texts without a chat template: with one BOS if the tokenizer adds one, without its EOS."""
    if not texts:
        return {}
    sample = tokenizer("a")["input_ids"]
    begins, ends = sample[0] == tokenizer.bos_token_id, sample[-1] == tokenizer.eos_token_id
    made = {}
    for text, ids in zip(texts, tokenizer(texts, verbose=False)["input_ids"], strict=True):
        has_two_bos = begins and ids[:2] == [tokenizer.bos_token_id] * 2  # the text brought one, too
        made[text] = ids[int(has_two_bos) : -1 if ends else None]
    return made
