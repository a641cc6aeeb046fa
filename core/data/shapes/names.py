"""Names of columns, and what they say about the content."""

import re
import tomllib
from functools import cache, lru_cache
from pathlib import Path

NAMES = Path(__file__).with_name("column_names.toml")


@lru_cache(maxsize=4096)
def roles_of(name: str) -> frozenset[str]:
    """The roles that a column of this name plays in the data sets of others: question, answer, label, note ...

    Of a path into an object the last part counts, and where that is only the text of it (`answers.text`) the first.
    """
    first, *_, last = [name, *name.split(".")]
    found = _exactly(last)
    return found | _exactly(first.split(".")[0]) if {"text", "content"} & found else found


def hinted_roles(name: str) -> frozenset[str]:
    """The roles that a single word of a longer name points to: `which_answer_is_right` to answer."""
    return frozenset().union(*(_exactly(word) for word in re.findall(r"\w{3,}", plain(name).replace("_", " "))))


def plain(name: str) -> str:
    """A name in lower case, its words joined by _."""
    return re.sub(r"[\W_]+", "_", name.strip().casefold()).strip("_")


@cache
def _exactly(name: str) -> frozenset[str]:
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())
    return _known().get(plain(name)) or _known().get(plain(spaced)) or frozenset()


@cache
def _known() -> dict[str, frozenset[str]]:
    """Name -> its roles."""
    text = NAMES.read_text(encoding="utf-8")
    roles: dict[str, set[str]] = {}
    for role, names in tomllib.loads(text).items():
        for name in names.split():
            roles.setdefault(name, set()).add(role)
    return {name: frozenset(found) for name, found in roles.items()}
