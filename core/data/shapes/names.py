"""Names of columns, and what they say about the content."""

import re
import tomllib
import unicodedata
from functools import cache, lru_cache
from pathlib import Path

NAMES = Path(__file__).with_name("column_names.toml")
COMPOUND_LETTERS = 5
"""A shorter known name within a longer word says nothing."""
IN_COMPOUNDS = {"question", "answer", "chosen", "rejected"}
"""Roles that a part of a word may tell."""


@lru_cache(maxsize=4096)
def roles_of(name: str) -> frozenset[str]:
    """The roles that a column of this name plays in the data sets of others: question, answer, label, note ...

    Of a path into an object the last part counts, and where that is only the text of it (`answers.text`) the first. A
    source or a type among notes (`meta.source`) is a note, too.
    """
    first, *_, last = [name, *name.split(".")]
    found, outer = _exactly(last), _exactly(first.split(".")[0])
    if "." in name and outer == {"note"} and "note" in found:
        return outer
    return found | outer if {"text", "content"} & found else found


@lru_cache(maxsize=4096)
def hinted_roles(name: str) -> frozenset[str]:
    """The roles that a word of a longer name points to: `which_answer_is_right` to answer, `Antworttext` too."""
    found: set[str] = set()
    for word in words_of_name(name):
        found |= (_exactly(word) if len(word) > 1 else set()) or _in_compound(word)
    return frozenset(found)


def words_of_name(name: str) -> frozenset[str]:
    """The words of a name in lower case: of `modelAnswer` model and answer."""
    return frozenset(plain(_spaced(name)).split("_"))


def _in_compound(word: str) -> frozenset[str]:
    """The roles of the known names within a word: at its beginning or end; anywhere where no spaces are written."""
    known = [
        name
        for name in _known()
        if name in word and (not _has_spaces(name) or (len(name) >= COMPOUND_LETTERS and _is_at_an_end(name, word)))
    ]
    longest = [name for name in known if not any(name != other and name in other for other in known)]
    return frozenset().union(*(_known()[name] for name in longest)) & IN_COMPOUNDS


def _is_at_an_end(name: str, word: str) -> bool:
    return word.startswith(name) or word.endswith(name)


def _has_spaces(name: str) -> bool:
    """True if the script of this name writes spaces between words, as Chinese and Japanese do not."""
    return name < "\u2e80"


def plain(name: str) -> str:
    """A name in lower case, its words joined by _. Marks on letters stay, such as the vowels of Hindi."""
    letters = unicodedata.normalize("NFC", name.strip().casefold())
    kept = (each if each.isalnum() or unicodedata.category(each)[0] == "M" else "_" for each in letters)
    return re.sub(r"_+", "_", "".join(kept)).strip("_")


def snake(name: str) -> str:
    """A name as Python would write it: `author_id` for `AuthorID`."""
    return plain(_spaced(name))


def _spaced(name: str) -> str:
    """`userPrompt` as `user_Prompt`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())


def _without_marks(name: str) -> str:
    """A name without what stands above or below its letters."""
    return "".join(each for each in unicodedata.normalize("NFD", name) if not unicodedata.combining(each))


@cache
def _exactly(name: str) -> frozenset[str]:
    return _known().get(plain(name)) or _known().get(plain(_spaced(name))) or frozenset()


@cache
def _known() -> dict[str, frozenset[str]]:
    """Name -> its roles. Names in Latin letters are known without the marks on these, too: `intrebare`."""
    text = NAMES.read_text(encoding="utf-8")
    roles: dict[str, set[str]] = {}
    for role, names in tomllib.loads(text).items():
        for name in names.split():
            roles.setdefault(name, set()).add(role)
    for name, found in list(roles.items()):
        if (bare := _without_marks(name)).isascii() and len(bare) >= COMPOUND_LETTERS:
            roles.setdefault(bare, found)
    return {name: frozenset(found) for name, found in roles.items()}


def is_a_text(name: str) -> bool:
    """True if this is rather a text, or a number, than the name of a column: a first row where names are missing."""
    return len(name) > 100 or len(name.split()) > 4 or name.endswith(("?", ".", "!")) or name.isdecimal()
