"""The runs of three words in a row: two rows that share most of them say nearly the same."""

import re

from fitune.core.data.values import Row

ALIKE = 0.8
"""Two rows say nearly the same if they share this part of their shingles (the Jaccard index) ..."""
FEWEST_WORDS = 10
"""... and have so many: of fewer words one tells rows apart."""
TEXTS = ("prompt", "completion", "text")
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")
"""A word; in scripts that write no spaces between words, a letter."""


def shingles(row: Row) -> set[str]:
    """Every three words that follow each other in a canonical row, in lower case; system prompts do not count."""
    words = WORD.findall(text_of(row))
    return set(map(" ".join, zip(words, words[1:], words[2:], strict=False)))


def text_of(row: Row) -> str:
    """What is said in a canonical row, in lower case, without system prompts."""
    spoken = [turn["content"] for turn in row.get("messages", ()) if turn["role"] != "system"]
    return " ".join(spoken or [row[name] for name in row if name in TEXTS]).casefold()
