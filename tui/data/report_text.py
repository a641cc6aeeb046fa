"""What was found in the rows as lines, for screen and prompts: problems first, then counts, lengths, rows."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fitune.core.data import Finding, Report, numbered
from fitune.core.recipe import Recipe
from fitune.core.runs import RunState
from fitune.core.tokens import TokenStats, findings, loses_much, suggested_length
from fitune.tui.data.token_text import summary_lines
from fitune.tui.text import clean, count, percent

FILES_SHOWN = 3
TURN_CHARS = 220
MARKS = {"stop": "ERROR", "warn": "WARN"}


def headline(report: Report) -> str:
    """`OK 1,319 rows, question_answer: the columns are named question and answer.`"""
    if report.can_train:
        about = "" if report.rows_counted else "about "
        return clean(f"OK {about}{numbered('{n} row[|s]', report.rows)}, {report.format}: {report.why}", 300)
    if report.candidates:
        return "WARN There are rows, but it is not clear what shall be learned from them."
    return "ERROR These rows can't be trained on as they are." if report.rows_read else "ERROR There are no rows."


def finding_lines(report: Report, found: TokenStats | None = None, asked: Recipe | None = None) -> list[str]:
    """A line for each problem, those that stop the training first; with the rows in tokens, of these too."""
    said = [*(findings(found, asked) if found and asked else ()), *report.problems]
    return [finding_line(finding) for finding in sorted(said, key=lambda each: each.severity != "stop")]


def check_lines(report: Report, found: TokenStats, asked: Recipe, key: str = "") -> list[str]:
    """Problems first, then how many tokens there are and what is made of them, if anything can be.

    key: what cuts rows at a better length.
    """
    problems = finding_lines(report, found, asked)
    better = better_length(found, asked)
    hints = [f"{key} cuts at {count(better)} tokens instead."] if key and better else []
    if any(line.startswith(MARKS["stop"]) for line in problems):
        return [*problems, *hints]
    summary = (f"{line[0].upper()}{line[1:]}." for line in summary_lines(found, asked))
    return [*(problems or ["OK Nothing is wrong with these rows."]), *hints, "", *summary]


def length_line(found: TokenStats, asked: Recipe) -> str:
    """How long the rows are, and what the cut costs: `95% of the rows have at most 331 tokens, the longest 553.`"""
    length = asked.model.max_seq_length
    lost = found.truncation_at(length)
    if not lost.rows:
        return (
            f"95% of the rows have at most {count(found.covering(0.95))} tokens, the longest {count(found.longest)}: "
            "none is cut."
        )
    cut = f"{count(lost.rows)} of {count(found.rows)} rows are cut at {count(length)}"
    if not loses_much(found, length):
        return f"OK {cut}: hardly anything of what is to be learned is lost."
    whole = numbered(", {n} row[|s] lose[s|] the whole answer", lost.emptied) if lost.emptied else ""
    lost_share = percent(lost.trained_tokens, found.trained_tokens())
    return f"WARN {cut}: {lost_share} of what is to be learned is lost{whole}."


def example_head(found: TokenStats, number: int) -> str:
    """`Row 332 of 1,319, 553 tokens (example 3 of 12)`."""
    example = found.examples[number]
    place = f"Row {count(example.row + 1)} of {count(found.source_rows)}, {count(example.length)} tokens"
    return f"{place} (example {number + 1} of {len(found.examples)})"


def better_length(found: TokenStats, asked: Recipe) -> int | None:
    """A max_seq_length that leaves nearly all rows whole; None where hardly anything is lost."""
    length = asked.model.max_seq_length
    return suggested_length(found, length) if loses_much(found, length) else None


def rendering_line(state: RunState, model: str) -> str:
    """How far the prepare job is: `Counting tokens: 640 rows, 141,320 tokens, 48 %`."""
    phase = state.phase
    if phase.name == "rows":
        share = f", {percent(phase.bytes or 0, phase.total_bytes)}" if phase.total_bytes else ""
        return f"Counting tokens: {count(phase.rows)} rows, {count(phase.tokens)} tokens{share}"
    doing = "Fetching" if phase.name == "download" else "Loading"
    return clean(f"{doing} the tokenizer of {model.rpartition('/')[2]}")


def finding_line(finding: Finding) -> str:
    """`WARN 12 rows repeat an earlier one. ... (rows.jsonl:14 is the same as rows.jsonl:2.)`."""
    said, mark = finding.problem, MARKS[finding.severity]
    if said.where and said.text[:1].islower():  # the place is the subject: "rows.jsonl: holds no rows."
        return clean(f"{mark} {said.where}: {said.text} {said.fix}", 400)
    first = finding.places[0] if finding.places else said.where
    where = f" ({first})" if first and said.where not in f"{said.text} {said.fix}" else ""
    return clean(f"{mark} {said.text} {said.fix}{where}", 400)


def left_out_lines(report: Report) -> list[str]:
    """`Read: a.jsonl, b.jsonl. Left out: README.md.`; nothing where every file was read."""
    return [f"Read: {_some(report.files)}. Left out: {_some(report.left_out)}."] if report.left_out else []


def _some(names: Sequence[str]) -> str:
    more = f" and {count(len(names) - FILES_SHOWN)} more" if len(names) > FILES_SHOWN else ""
    return clean(", ".join(names[:FILES_SHOWN])) + more


def row_lines(row: Mapping[str, Any]) -> list[str]:
    """A line for each turn of a canonical row; for each column of another."""
    if row.keys() <= {"messages", "tools"}:
        return [turn(str(each.get("role", "?")), each.get("content")) for each in row["messages"]]
    if row.keys() == {"prompt", "completion"}:
        return [turn("prompt", row["prompt"]), turn("answer", row["completion"])]
    return [turn(column, value) for column, value in row.items()]


def turn(role: str, content: Any) -> str:
    """`assistant: Paris.` in one line."""
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, default=str)
    return clean(f"{role}: {' '.join(text.split())}", TURN_CHARS)


def mapping_lines(report: Report) -> list[str]:
    """The mappings to choose from: `question: Title, answer: Body`."""
    return [clean(", ".join(f"{role}: {name}" for role, name in each.items())) for each in report.candidates]
