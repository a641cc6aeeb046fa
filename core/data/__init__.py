"""Data as people have it: files of every common kind read into rows, recognised, checked and split."""

from fitune.core.data.checks.report import Report
from fitune.core.data.checks.sentences import Finding, numbered
from fitune.core.data.split import MIN_ROWS, eval_fraction, look_rows
from fitune.core.data.values import Row, Skip, kind_name

__all__ = ["MIN_ROWS", "Finding", "Report", "Row", "Skip", "eval_fraction", "kind_name", "look_rows", "numbered"]
