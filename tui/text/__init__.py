"""Text for a terminal, without widgets: foreign text made safe, numbers with units, tables, help."""

from fitune.tui.text.clean import as_ascii_json, clean, encodable, log_line, safe, shows_unicode
from fitune.tui.text.columns import hanging, table
from fitune.tui.text.format import UNKNOWN, clock, count, duration, exponent, gib, number, percent, rate, size

__all__ = [
    "UNKNOWN",
    "as_ascii_json",
    "clean",
    "clock",
    "count",
    "duration",
    "encodable",
    "exponent",
    "gib",
    "hanging",
    "log_line",
    "number",
    "percent",
    "rate",
    "safe",
    "shows_unicode",
    "size",
    "table",
]
