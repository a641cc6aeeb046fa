"""Findings: what the events of a run show to be wrong, with the likely cause and what to do. Pure rules, no IO."""

from fitune.core.runs.findings.finding import Finding
from fitune.core.runs.findings.rules import RECENT, findings, is_spike

__all__ = ["RECENT", "Finding", "findings", "is_spike"]
