"""Long plain texts in several rows: each begins with the end of the one before, and only the last has an end mark."""

from collections.abc import Iterator
from dataclasses import dataclass

from fitune.core.recipe import Recipe
from fitune.core.worker.rows.render import Cut
from fitune.core.worker.rows.tokenized import TokenizedRow


@dataclass(frozen=True, slots=True)
class Window:
    """How a long text is cut, in tokens."""

    length: int
    overlap: int
    """Tokens at the beginning of a row that were the end of the one before: read, and not learned again."""

    def cut(self, row: TokenizedRow) -> Iterator[TokenizedRow]:
        """The rows of a tokenized text; itself where it is short enough."""
        yield TokenizedRow(row.ids[: self.length], _within(row, 0, 0, self.length), row.notes)
        done = self.length
        while done < len(row.ids):
            begin, end = done - self.overlap, done - self.overlap + self.length
            yield TokenizedRow(row.ids[begin:end], _within(row, begin, done, end), row.notes)
            done = end


def cut_of(recipe: Recipe) -> Cut | None:
    """How a recipe cuts long texts; None where they lose their end."""
    overlap = recipe.data.text_overlap
    return None if overlap is None else Window(recipe.model.max_seq_length, overlap).cut


def _within(row: TokenizedRow, begin: int, done: int, end: int) -> list[tuple[int, int]]:
    """The trained spans from `done` to `end`, counted from `begin`. A row's first token is predicted from nothing."""
    spans = ((max(first, done, begin + 1) - begin, min(last, end) - begin) for first, last in row.spans)
    return [(first, last) for first, last in spans if first < last]
