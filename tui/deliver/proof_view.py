"""A proof as lines for a screen: its summary and its table, with the words in colour."""

from textual.content import Content

from fitune.tui.deliver.proof_text import WORDS, NamedProof, table

COLOURS = {WORDS[True]: "$success", WORDS[False]: "$error"}


def proof_lines(proof: NamedProof, columns: int) -> list[Content]:
    """A proof's summary and its table, after a blank line; a word at the beginning of each row says how it went."""
    head, *rows = table(proof, columns)
    return [Content(), Content.styled(proof.summary, "bold"), Content.styled(head, "dim"), *map(_check, rows)]


def _check(row: str) -> Content:
    """A line of a table with its word in colour; one that goes on has none."""
    word = row.split(" ", 1)[0]
    colour = COLOURS.get(word)
    return Content.styled(word, f"bold {colour}") + Content(row[len(word) :]) if colour else Content(row)
