"""The rows in tokens: how long they are, what a length cuts, what packing gains, how much work a training is."""

from fitune.core.tokens.findings import findings, is_lossy, wanted_length
from fitune.core.tokens.lengths import FILE, Bin, Example, Prepared, Token
from fitune.core.tokens.packing import Packing, Why, decide
from fitune.core.tokens.workload import Workload, as_decided, lengths_said, workload

__all__ = [
    "FILE",
    "Bin",
    "Example",
    "Packing",
    "Prepared",
    "Token",
    "Why",
    "Workload",
    "as_decided",
    "decide",
    "findings",
    "is_lossy",
    "lengths_said",
    "wanted_length",
    "workload",
]
