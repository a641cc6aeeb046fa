"""Token counts of the rows: lengths, truncation, packing, and the workload of a training."""

from fitune.core.tokens.findings import findings, loses_much, suggested_length
from fitune.core.tokens.lengths import STATS_FILE, Example, HistogramBin, Token, TokenStats, Truncation
from fitune.core.tokens.micro_batch import largest_micro_batch, rows_within, split_rows
from fitune.core.tokens.notes import notes_on
from fitune.core.tokens.packing import Packing, PackingReason, decide_packing, packing_note, steps_of
from fitune.core.tokens.workload import Workload, lengths_note, with_packing_decided, workload

__all__ = [
    "STATS_FILE",
    "Example",
    "HistogramBin",
    "Packing",
    "PackingReason",
    "Token",
    "TokenStats",
    "Truncation",
    "Workload",
    "decide_packing",
    "findings",
    "largest_micro_batch",
    "lengths_note",
    "loses_much",
    "notes_on",
    "packing_note",
    "rows_within",
    "split_rows",
    "steps_of",
    "suggested_length",
    "with_packing_decided",
    "workload",
]
