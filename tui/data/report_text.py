"""The data report as lines of text, for the screen and the plain prompts: problems, counts, lengths, rows."""

import json
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from fitune.core.data import Finding, Report, numbered
from fitune.core.data.chats.calls import calls_of
from fitune.core.data.exchange import SHOWN_CHARS, called, halves, said
from fitune.core.data.files.listing import split_of
from fitune.core.data.images.references import is_embedded
from fitune.core.memory import Shape
from fitune.core.recipe import Recipe
from fitune.core.runs import RunState
from fitune.core.tokens import TokenStats, findings, loses_much, suggested_length
from fitune.tui.data.token_text import summary_lines
from fitune.tui.text import clean, count, percent

FILES_SHOWN = 3
ROWS_SAID = 3
TURN_CHARS = 220
INDENT, LEARNS_CHARS = 3, 23
"""Columns before, and letters around, the answer in `it learns to answer "So."`."""
LEARNS_FROM = (
    "It can learn from three kinds of rows:",
    "  good answers              each row has a question and its answer, or a chat",
    "  better and worse answers  each has a question with both; or one answer",
    "                            that is rated good or bad",
    "  just text                 each is a text, which it learns to go on with",
)
"""What rows may show, and what each needs: said before any are read."""
LESSONS = {
    "sft": "Show it good answers, or just text (sft): each row needs one answer",
    "dpo": "Show it better and worse answers (dpo): each row needs both, as these have",
    "kto": "Show it good and bad answers (kto): each needs a rating, as these have",
}
"""What the rows of an objective show."""
MARKS = {"stop": "ERROR", "warn": "WARN"}


def headline(report: Report) -> str:
    """`OK 1,319 rows, question_answer: the columns are named question and answer.`"""
    if report.can_train and report.sure:
        approximately = "" if report.rows_counted else "about "
        return clean(f"OK {approximately}{numbered('{n} row[|s]', report.rows)}, {report.format}: {report.why}", 300)
    if asks(report):
        return clean(f"WARN {_why_unclear(report)}", 300)
    return "ERROR These rows can't be trained on as they are." if report.rows_read else "ERROR There are no rows."


def _why_unclear(report: Report) -> str:
    """The reason why the user has to choose: a stop, a header that is none, else what makes it a close call."""
    told = {finding.kind: finding.problem for finding in report.problems}
    problem = told.get("format") or told.get("header")
    text = problem.text if problem else f"it is not clear what is to be learned: {report.why}"
    return text if text.startswith("fitune") else f"{text[0].upper()}{text[1:]}"


def asks(report: Report) -> bool:
    """True if the user has to choose: what is to be learned from these rows, or from which columns."""
    return bool(report.objectives or report.candidates)


def is_guess(report: Report) -> bool:
    """True if it is not clear what the rows teach, and nobody has said it yet: the training refuses such rows."""
    return any(finding.kind == "unsure" for finding in report.problems)


def choice_head(report: Report) -> str:
    """The question above the choices."""
    if report.objectives:
        return "What do you want to show it? Down and Enter choose."
    if report.format == "vision":
        return "If the text makes sense without them: Down and Enter choose."
    return "What is meant? Down and Enter choose."


def reading_lines(report: Report) -> list[str]:
    """The effect of the first rows: `Asked "Why?" it learns to answer "So."`; empty without usable rows."""
    lines = [said(row, SHOWN_CHARS) for row in report.preview[:ROWS_SAID]] if report.rows else []
    return [clean(f"{line[0].upper()}{line[1:]}") for line in lines]


def finding_lines(
    report: Report, stats: TokenStats | None = None, recipe: Recipe | None = None, hint: str = ""
) -> list[str]:
    """A line for each problem, those that stop the training first; with token statistics also their findings.

    hint: a line behind the rows that are cut.
    """
    all_findings = [*(findings(stats, recipe) if stats and recipe else ()), *report.problems]
    lines = []
    for finding in sorted(all_findings, key=lambda finding: finding.severity != "stop"):
        lines += [finding_line(finding), *([hint] if hint and finding.kind == "cut" else [])]
    return lines


def check_lines(report: Report, stats: TokenStats, recipe: Recipe, shape: Shape | None, key: str = "") -> list[str]:
    """Problems first, then token counts and packing, if the rows can be trained on.

    shape: the model's; None where it is not known. key: the key that sets a better length.
    """
    better = better_length(stats, recipe)
    hint = f"{key} cuts at {count(better)} tokens instead." if key and better else ""
    problems = finding_lines(report, stats, recipe, hint)
    if any(line.startswith(MARKS["stop"]) for line in problems):
        return problems
    summary = (f"{line[0].upper()}{line[1:]}." for line in summary_lines(stats, recipe, shape))
    return [*problems, "", *summary] if problems else ["OK Nothing is wrong with these rows.", *summary]


def length_line(stats: TokenStats, recipe: Recipe) -> str:
    """The lengths of the rows, and the loss by truncation: `95% of the rows have at most 331 tokens, ...`."""
    length = recipe.model.max_seq_length
    truncation = stats.truncation_at(length)
    if not truncation.rows:
        return (
            f"95% of the rows have at most {count(stats.covering(0.95))} tokens, the longest {count(stats.longest)}: "
            "none is cut."
        )
    cut = f"{count(truncation.rows)} of {count(stats.rows)} rows are cut at {count(length)}"
    if not loses_much(stats, length):
        return f"OK {cut}: hardly anything of what is to be learned is lost."
    whole = numbered(", {n} row[|s] lose[s|] the whole answer", truncation.emptied) if truncation.emptied else ""
    lost_share = percent(truncation.trained_tokens, stats.trained_tokens())
    return f"WARN {cut}: {lost_share} of what is to be learned is lost{whole}."


def example_head(stats: TokenStats, number: int) -> str:
    """`Row 332 of 1,319, 553 tokens (example 3 of 12)`."""
    example = stats.examples[number]
    position = f"Row {count(example.row + 1)} of {count(stats.source_rows)}, {count(example.length)} tokens"
    return f"{position} (example {number + 1} of {len(stats.examples)})"


def better_length(stats: TokenStats, recipe: Recipe) -> int | None:
    """A max_seq_length that leaves nearly all rows whole; None if hardly anything is lost."""
    length = recipe.model.max_seq_length
    return suggested_length(stats, length) if loses_much(stats, length) else None


def rendering_line(state: RunState, model: str) -> str:
    """The progress of the prepare job: `Counting tokens: 640 rows, 141,320 tokens, 48 %`."""
    phase = state.phase
    if phase.name == "rows":
        share = f", {percent(phase.bytes or 0, phase.total_bytes)}" if phase.total_bytes else ""
        return f"Counting tokens: {count(phase.rows)} rows, {count(phase.tokens)} tokens{share}"
    doing = "Fetching" if phase.name == "download" else "Loading"
    return clean(f"{doing} the tokenizer of {model.rpartition('/')[2]}")


def finding_line(finding: Finding) -> str:
    """`WARN 12 rows repeat an earlier one. ... (rows.jsonl:14 is the same as rows.jsonl:2.)`."""
    problem, mark = finding.problem, MARKS[finding.severity]
    if problem.where and problem.text[:1].islower():  # the place is the subject: "rows.jsonl: holds no rows."
        return clean(f"{mark} {problem.where}: {problem.text} {problem.fix}", 400)
    first = finding.places[0] if finding.places else problem.where
    where = f" ({first})" if first and problem.where not in f"{problem.text} {problem.fix}" else ""
    return clean(f"{mark} {problem.text} {problem.fix}{where}", 400)


def left_out_lines(report: Report) -> list[str]:
    """`Read: a.jsonl, b.jsonl. Left out: README.md.`; nothing if every file was read."""
    if not report.left_out:
        return []
    splits = sorted({marked for name in report.left_out if (marked := split_of(name))})
    chosen = f" By their names some are the split {', '.join(splits)}: data.split chooses." if splits else ""
    return [f"Read: {_some(report.files)}. Left out: {_some(report.left_out)}.{chosen}"]


def _some(names: Sequence[str]) -> str:
    more = f" and {count(len(names) - FILES_SHOWN)} more" if len(names) > FILES_SHOWN else ""
    return clean(", ".join(names[:FILES_SHOWN])) + more


def row_lines(row: Mapping[str, Any]) -> list[str]:
    """A line for each turn of a canonical row; for each column of another."""
    turns = row.get("messages")
    images = [turn("image", "in the row itself" if is_embedded(each) else each) for each in row.get("images", ())]
    if (
        row.keys() <= {"messages", "tools", "rejected", "label", "images"}
        and isinstance(turns, list)
        and all(isinstance(message, dict) for message in turns)
    ):
        said = [turn(str(message.get("role", "?")), _content(message)) for message in turns]
        return [*images, *said, *_compared(row)]
    if {"prompt", "completion"} <= row.keys() <= {"prompt", "completion", "rejected", "label"}:
        return [turn("prompt", row["prompt"]), turn("answer", row["completion"]), *_compared(row)]
    return [turn(column, value) for column, value in row.items()]


def _compared(row: Mapping[str, Any]) -> list[str]:
    """The worse answer of a canonical row, or whether its answer is good."""
    rejected = row.get("rejected")
    worse = [] if rejected is None else [turn("worse", _content(rejected) if isinstance(rejected, dict) else rejected)]
    return [*worse, *([f"rated: {'good' if row['label'] else 'bad'}"] if "label" in row else [])]


def _content(message: Mapping[str, Any]) -> Any:
    """The content of a message, with the tools that it calls; a row that can't be used may hold anything there."""
    calls = calls_of(message.get("tool_calls"))
    return f"{message.get('content') or ''}{called(calls)}".strip() if calls else message.get("content")


def turn(role: str, content: Any) -> str:
    """`assistant: Paris.` in one line."""
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, default=str)
    return clean(f"{role}: {' '.join(text.split())}", TURN_CHARS)


def two_line_readings(report: Report, width: int, rows: int = ROWS_SAID) -> list[str]:
    """The same for a screen so wide: each in one line where it fits, else what is asked above what is learned."""
    lines = []
    for row in report.preview[:rows] if report.rows else ():
        asked, learned = (clean(half) for half in halves(row, width - INDENT - LEARNS_CHARS))
        if not asked or len(asked) + len(learned) < width:
            lines += [" ".join(filter(None, (asked, learned)))]
        else:
            lines += [asked, f"{' ' * INDENT}{learned}"]
    return [f"{line[0].upper()}{line[1:]}" for line in lines]


def choice_lines(report: Report) -> list[str]:
    """All that can be chosen: another objective, then mappings, `question: Title, answer: Body`, each of the first
    above what it teaches."""
    named = [", ".join(f"{role}: {name}" for role, name in mapping.items()) for mapping in report.candidates]
    taught = [choice.partition("}: ")[2].replace(" it learns ", "\n  it learns ", 1) for choice in report.choices]
    alone = "The better answers alone (sft), as " if "dpo" in report.objectives else ""
    mappings = [
        clean(f"{alone}{name}\n  {lesson}".rstrip(), 400, True)
        for name, lesson in zip_longest(named, taught, fillvalue="")
    ]
    return [*(LESSONS[objective] for objective in report.objectives), *mappings]
