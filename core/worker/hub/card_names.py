"""Names in a model card: without paths of this machine, and without active Markdown or HTML."""

import re
from pathlib import Path

NAME_CHARS = 200


def public_name(name: str) -> str:
    """A Hub id unchanged, or the last part of a path on this machine."""
    return name if is_hub_id(name) else Path(name).name


def is_hub_id(name: str) -> bool:
    """True for a model or data set (perhaps with its subset) on the Hub: local paths in a run's recipe are absolute."""
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+(/[\w.-]+)?", name) is not None


def plain(text: str) -> str:
    """The text on one line, as code if it holds characters that are active in Markdown or HTML."""
    return code(text) if set(text) & set("<>&|*_`[]#~\\$!") or not text.isprintable() else text


def code(text: str) -> str:
    """The text as code on one line."""
    shown = "".join(char if char.isprintable() else " " for char in text)[:NAME_CHARS]
    return f"`{shown.replace('`', chr(39))}`"
