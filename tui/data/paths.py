"""Paths as people type and paste them: quoted, escaped, as file://, half typed."""

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit


def as_path(text: str) -> str:
    """The path or name that a text means: without quotes, the backslashes of a shell, and file://.

    A text that names something as it stands is left alone.
    """
    text = text.strip()
    if text.startswith("file://"):
        return unquote(urlsplit(text).path)
    if not text or os.path.lexists(os.path.expanduser(text)):
        return text
    if re.match(r"""['"]|.*\\.""", text):
        try:
            words = shlex.split(text)
        except ValueError:  # a quote that is not closed yet
            return text.strip("'\"")
        return words[0] if len(words) == 1 else text
    return text


def names_below(text: str) -> tuple[str, tuple[str, ...]]:
    """The folder that a half typed path stands in, as typed, and the names there that begin as its end does.

    A name of a folder ends with /. Hidden names only where their dot is typed. Empty where there is no such folder.
    """
    folder, slash, begun = text.rpartition("/")
    try:
        with os.scandir(Path(f"{folder}/" if slash else ".").expanduser()) as listed:  # tells folders without a stat
            names = sorted(each.name + "/" * each.is_dir() for each in listed if each.name.startswith(begun))
    except (OSError, ValueError, RuntimeError):  # the last: a user after ~ whom nobody knows
        return folder + slash, ()
    return folder + slash, tuple(name for name in names if begun.startswith(".") or not name.startswith("."))


def complete_path(text: str) -> str:
    """A path completed as far as it is unambiguous, as a shell's Tab does; the text itself where nothing fits."""
    if text.endswith(("..", "/.")) or text in (".", "~"):
        return f"{text}/" if Path(text).expanduser().is_dir() else text
    folder, names = names_below(text)
    common = _common_start(names)
    return folder + common if len(folder + common) > len(text) else text


def _common_start(names: Sequence[str]) -> str:
    if not names:
        return ""
    first, last = min(names), max(names)
    same = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:same]
