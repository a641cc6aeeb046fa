"""A report on data as lines: what was found, problems first, then the rows as the model will see them."""

import json
from collections.abc import Mapping
from typing import Any

from core.rows.formats import as_toml
from core.rows.report import Finding, Report
from tui.format import count
from tui.text import clean

TURN_CHARS = 220
MARKS = {"stop": "ERROR", "warn": "WARN"}


def headline(report: Report) -> str:
    """`OK 1,319 rows (question_answer): the columns question and answer.`"""
    about = "" if report.rows_counted else "about "
    mark = "OK" if report.can_train else "ERROR"
    return clean(
        f"{mark} {about}{count(report.rows)} rows of {report.kind}, read as {report.format}: {report.why}", 300
    )


def finding_lines(report: Report) -> list[str]:
    """A line for each problem, those that stop the training first."""
    return [finding_line(finding) for finding in report.problems]


def finding_line(finding: Finding) -> str:
    """`WARN 12 rows repeat an earlier one. ... (rows.jsonl:14)`."""
    said = finding.problem
    where = f" ({said.where})" if said.where else ""
    return clean(f"{MARKS[finding.severity]} {said.text} {said.fix}{where}", 400)


def row_lines(row: Mapping[str, Any]) -> list[str]:
    """A canonical row, a line for each turn."""
    if "messages" in row:
        return [turn(str(each.get("role", "?")), each.get("content")) for each in row["messages"]]
    if "text" in row:
        return [turn("text", row["text"])]
    return [turn("prompt", row.get("prompt")), turn("answer", row.get("completion"))]


def turn(role: str, content: Any) -> str:
    """`assistant: Paris.` in one line."""
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, default=str)
    return clean(f"{role}: {' '.join(text.split())}", TURN_CHARS)


def mapping_lines(report: Report) -> list[str]:
    """The mappings to choose from, as they would stand in a recipe."""
    return [clean(as_toml(candidate)) for candidate in report.candidates]
