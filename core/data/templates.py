"""Small data sets to start from, one for each task, as JSON lines that are read without any setting."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Template:
    """Example rows of a task."""

    about: str
    """A few sentences: what the rows teach, what to write, what to mind."""
    rows: str
    """JSON lines."""


@cache
def templates() -> dict[str, Template]:
    """Every template by the name of its task."""
    text = Path(__file__).with_name("templates.toml").read_text(encoding="utf-8")
    return {name: Template(**found) for name, found in tomllib.loads(text).items()}
