"""Numbers as people read them: the same on every screen and in every plain line. None is unknown: `n/a`."""

import math
import time

from fitune.core.units import GIB, MIB

_UNITS = (("GiB", GIB), ("MiB", MIB), ("KiB", 1 << 10))
UNKNOWN = "n/a"


def gib(size_bytes: float | None, digits: int = 1) -> str:
    """Bytes as `7.6 GiB`."""
    return UNKNOWN if size_bytes is None else f"{size_bytes / GIB:.{digits}f} GiB"


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
    """A learning rate as people write it: `2e-4`, `1.95e-4`. digits: most of them behind the point."""
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
    except (OSError, OverflowError, ValueError):  # of a file that was tampered with: no year has so many digits
        return UNKNOWN
