"""Format numbers, dates, tables and wrapped text, the same on every screen and in plain lines. None is `n/a`."""

import math
import shutil
import sys
import textwrap
import time
from collections.abc import Container, Sequence
from typing import TextIO

from fitune.core.units import GIB, MIB

_UNITS = (("GiB", GIB), ("MiB", MIB), ("KiB", 1 << 10))
UNKNOWN = "n/a"
NARROWEST = 20


def gib(size_bytes: float | None, digits: int = 1) -> str:
    """Bytes as `7.6 GiB`."""
    return UNKNOWN if size_bytes is None else f"{size_bytes / GIB:.{digits}f} GiB"


def tenths(size_bytes: float | None) -> str:
    """Bytes as `7.6 GiB`, too few for that as `<0.1 GiB`: a forecast knows no more."""
    return "<0.1 GiB" if size_bytes is not None and 0 < size_bytes < GIB / 20 else gib(size_bytes)


def size(size_bytes: float | None) -> str:
    """Bytes in the unit that suits them: `98.2 MiB`, `512 B`."""
    if size_bytes is None:
        return UNKNOWN
    for unit, unit_bytes in _UNITS:
        if abs(size_bytes) >= unit_bytes:
            return f"{size_bytes / unit_bytes:.1f} {unit}"
    return f"{size_bytes:.0f} B"


def duration(seconds: float | None) -> str:
    """Seconds in the two largest units: `12 s`, `4 min 05 s`, `3 h 20 min`, `2 d 4 h`."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def count(number: float | None) -> str:
    """A whole number with thousands marked: `1,319`."""
    return UNKNOWN if number is None else f"{number:,.0f}"


def steps(number: float | None) -> str:
    """A number of steps with its word: `1 step`, `1,000 steps`."""
    return f"{count(number)} step{'' if number == 1 else 's'}"


def rate(per_s: float | None) -> str:
    """A speed: `9,600 tokens/s`; small ones keep a digit."""
    if per_s is None or not math.isfinite(per_s):
        return UNKNOWN
    return f"{per_s:,.0f} tokens/s" if per_s >= 10 else f"{per_s:.1f} tokens/s"


def number(value: float | None, digits: int = 3) -> str:
    """A measurement such as a loss: fixed digits in the usual range, else an exponent; NaN and inf in words."""
    if value is None:
        return UNKNOWN
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value == 0 or 10**-digits <= abs(value) < 100_000:
        return f"{value:.{digits}f}"
    return exponent(value)


def exponent(value: float | None, digits: int = 2) -> str:
    """A learning rate: `2e-4`, `1.95e-4`. digits: the maximum after the decimal point."""
    if value is None or not math.isfinite(value):
        return UNKNOWN if value is None else number(value)
    if value == 0:
        return "0"
    mantissa, _, power = f"{value:.{digits}e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(power)}"


def percent(part: float | None, whole: float | None) -> str:
    """A share as `42 %`."""
    return UNKNOWN if part is None or not whole else f"{100 * part / whole:.0f} %"


def clock(utc_s: float | None) -> str:
    """A moment in local time: `2026-11-22 14:05`."""
    try:
        return UNKNOWN if utc_s is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(utc_s))
    except (OSError, OverflowError, ValueError):  # a damaged file: no year has so many digits
        return UNKNOWN


def fitted(text: str, columns: int) -> str:
    """The text in so many columns at most: a long one without its middle, as runs of one day and model differ at the
    end of their names."""
    if len(text) <= columns:
        return text
    kept = columns // 3
    return f"{text[: columns - kept - 2]}..{text[-kept:]}"


def hanging(start: str, text: str) -> str:
    """`text` after `start`: wrapped to the terminal's width with a hanging indent, or one line without a terminal."""
    if not sys.stdout.isatty():
        return start + text
    columns = max(shutil.get_terminal_size().columns, len(start) + NARROWEST)
    lines = textwrap.wrap(text, columns - len(start), break_on_hyphens=False, break_long_words=False)
    return start + ("\n" + " " * len(start)).join(lines)


def wrapped(text: str, stream: TextIO) -> str:
    """Text whose long lines are broken between words at the terminal's width, each under its own indent; unchanged
    where the stream is no terminal."""
    if not stream.isatty():
        return text
    columns = shutil.get_terminal_size().columns - 1
    return "\n".join(part for line in text.split("\n") for part in _broken(line, columns))


def _broken(line: str, columns: int) -> list[str]:
    if len(line) <= columns:
        return [line]
    indent = " " * (len(line) - len(line.lstrip()))
    return textwrap.wrap(
        line,
        columns,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
        replace_whitespace=False,
    )


def table(rows: Sequence[Sequence[str]], numbers: Container[int] = ()) -> str:
    """Rows as lines of columns, `numbers` right-aligned. If the terminal is too narrow, the first column gets a line of
    its own above the others."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    width_needed = sum(widths) + 2 * (len(widths) - 1)
    too_wide = sys.stdout.isatty() and width_needed > shutil.get_terminal_size().columns
    lines = []
    for row in rows:
        first, *others = (
            text.rjust(width) if index in numbers else text.ljust(width)
            for index, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        lines += [first, "  ".join(["", *others])] if too_wide else ["  ".join([first, *others])]
    return "\n".join(line.rstrip() for line in lines)
