"""Text for a terminal, without widgets: cleaning of foreign text, numbers with units, tables, help pages."""

from fitune.tui.text.budget_items import BudgetItem, items, totals
from fitune.tui.text.clean import as_ascii_json, clean, encodable, log_line, safe, shows_unicode
from fitune.tui.text.curve import curve
from fitune.tui.text.format import (
    UNKNOWN,
    clock,
    count,
    duration,
    exponent,
    fitted,
    gib,
    hanging,
    number,
    percent,
    rate,
    size,
    steps,
    table,
    tenths,
    wrapped,
)
from fitune.tui.text.training_time import training_time

__all__ = [
    "UNKNOWN",
    "BudgetItem",
    "as_ascii_json",
    "clean",
    "clock",
    "count",
    "curve",
    "duration",
    "encodable",
    "exponent",
    "fitted",
    "gib",
    "hanging",
    "items",
    "log_line",
    "number",
    "percent",
    "rate",
    "safe",
    "shows_unicode",
    "size",
    "steps",
    "table",
    "tenths",
    "totals",
    "training_time",
    "wrapped",
]
