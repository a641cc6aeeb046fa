"""Data as people have it: files of every common kind read into rows, recognised, checked and split."""

from fitune.core.data.checks.report import Report
from fitune.core.data.checks.sentences import Finding, numbered
from fitune.core.data.split import eval_fraction, holds_out, look_rows
from fitune.core.data.values import Row, Skip, kind_name

__all__ = [
    "Finding", "Report", "Row", "Skip", "eval_fraction", "holds_out", "kind_name", "look_rows", "numbered",
]  # fmt: skip
