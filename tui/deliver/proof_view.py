"""A proof as lines for a screen: its summary and its table, with coloured status words."""

from textual.content import Content

from fitune.tui.deliver.proof_text import WORDS, ArtifactProof, table

COLOURS = {WORDS[True]: "$success", WORDS[False]: "$error"}


def proof_lines(proof: ArtifactProof, columns: int) -> list[Content]:
    """A proof's summary and its table, after a blank line; the first word of each row is its result."""
    head, *rows = table(proof, columns)
    return [Content(), Content.styled(proof.summary, "bold"), Content.styled(head, "dim"), *map(_check, rows)]


def _check(row: str) -> Content:
    """A line of a table with its status word in colour; a continuation line has none."""
    word = row.split(" ", 1)[0]
    colour = COLOURS.get(word)
    return Content.styled(word, f"bold {colour}") + Content(row[len(word) :]) if colour else Content(row)
