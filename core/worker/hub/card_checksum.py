"""A checksum at the end of a model card, to see if fitune's text is unchanged: a card that a user edited is kept."""

import hashlib
import re

_MARK = "\n<!-- fitune wrote this card ("


def with_checksum(text: str) -> str:
    """The card with its checksum."""
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return f"{text}{_MARK}{digest}) and replaces it while nobody changes it -->\n"


def is_replaceable(card: str) -> bool:
    """True if the card is unchanged from fitune's text, or holds only metadata."""
    text, mark, _ = card.rpartition(_MARK)
    if mark:
        return card == with_checksum(text)
    return not re.sub(r"\A---\n.*?^---$", "", card, count=1, flags=re.DOTALL | re.MULTILINE).strip()
