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
ASCII_WORDS = bytes(code if chr(code).isalnum() else ord(" ") for code in range(128)) + bytes(128)
"""What no word of ASCII holds, as a space: twice as quick as WORD, and the same words."""


def shingles(row: Row) -> set[str]:
    """Every three words that follow each other in a canonical row, in lower case; system prompts do not count."""
    return set(runs_of_three(row))


def runs_of_three(row: Row) -> list[str]:
    """The shingles of a row in their order, each as often as it comes: quicker to make."""
    text = text_of(row)
    words = text.encode().translate(ASCII_WORDS).decode().split() if text.isascii() else WORD.findall(text)
    return list(map(" ".join, zip(words, words[1:], words[2:], strict=False)))


def text_of(row: Row) -> str:
    """What is said in a canonical row, in lower case, without system prompts; nothing of a row with images, which may
    ask the same of others."""
    if "images" in row:
        return ""
    spoken = [turn["content"] for turn in row.get("messages", ()) if turn["role"] != "system"]
    return " ".join(spoken or [row[name] for name in row if name in TEXTS]).casefold()
