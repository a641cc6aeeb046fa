"""A mark below a model card that tells whether it is still as fitune wrote it: a card that somebody changed is kept."""

import hashlib
import re

_MARK = "\n<!-- fitune wrote this card ("


def sealed(text: str) -> str:
    """The card with its mark."""
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return f"{text}{_MARK}{digest}) and replaces it while nobody changes it -->\n"


def may_be_replaced(card: str) -> bool:
    """Whether nobody would miss it: it is as fitune wrote it, or holds nothing but metadata."""
    text, mark, _ = card.rpartition(_MARK)
    if mark:
        return card == sealed(text)
    return not re.sub(r"\A---\n.*?^---$", "", card, count=1, flags=re.DOTALL | re.MULTILINE).strip()
