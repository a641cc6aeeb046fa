"""The views of the data step: each draws one thing that was found in the rows."""

import re

from textual.content import Content
from textual.geometry import Size

from fitune.core.data import Report
from fitune.core.recipe import Recipe
from fitune.core.tokens import TokenStats, findings
from fitune.tui.data.report_text import (
    asks,
    better_length,
    check_lines,
    example_head,
    finding_lines,
    is_guess,
    left_out_lines,
    length_line,
    row_lines,
    two_line_readings,
)
from fitune.tui.data.token_text import example_text, histogram_lines, legend
from fitune.tui.text import count, safe
from fitune.tui.widgets.views import with_status_words
from fitune.tui.wizard.draft import Draft, prepared, recipe
from fitune.tui.wizard.forecast_text import known_shape
from fitune.tui.wizard.memory.words import named

KEY = "^l"
"""Cuts rows at a better length."""
BAR = re.compile("[█▏▎▍▌▋▊▉#]+")
VIEWS = ("Check", "Lengths", "Tokens", "Rows")
FEWEST_BARS, MOST_BARS = 6, 24


def draw(view: str, draft: Draft, report: Report, waiting: str, example: int, room: Size, plain: bool) -> Content:
    """One of VIEWS.

    waiting: why the rows are not known in tokens, where they aren't. example: which row is seen token by token.
    plain: ASCII only. Raises BadInput for a draft that is no recipe.
    """
    found = prepared(draft)
    if view == "Rows" and report.preview:
        return safe("\n\n".join("\n".join(row_lines(row)) for row in report.preview), 20_000, True)
    if view == "Check":
        return check(report, found, recipe(draft), waiting, room)
    if found is None:
        return with_status_words(waiting or "Nothing to show yet: see Check.")
    if view == "Lengths":
        return lengths(found, recipe(draft), room, plain)
    return tokens(found, recipe(draft), example, plain)


def check(report: Report, found: TokenStats | None, asked: Recipe, waiting: str, room: Size) -> Content:
    """The lesson of the first rows, then problems and counts; the first row as it is where it teaches nothing yet.

    Where there is no room for three rows, fewer stand there, and not cut.
    """
    shape = known_shape(asked.model.id, asked.model.revision)
    checked = [check_lines(report, found, asked, shape, KEY)] if found else [finding_lines(report), [waiting]]
    first = ["The first row:", *row_lines(report.preview[0])] if report.preview and report.preview[0] else []
    drawn = Content()
    for rows in (3, 2, 1):
        taught = two_line_readings(report, room.width, rows)
        parts = [taught, left_out_lines(report), *checked, [] if taught else first]
        drawn = with_status_words(named("\n\n".join("\n".join(lines) for lines in parts if any(lines)), keys=False))
        if drawn.get_height({}, max(1, room.width)) <= room.height:
            break
    return drawn


def lengths(found: TokenStats, asked: Recipe, room: Size, plain: bool) -> Content:
    """The bars with the cut line, as many as there is room for."""
    better = better_length(found, asked)
    hint = f"\n{KEY} cuts at {count(better)} tokens instead, which leaves nearly all rows whole." if better else ""
    said = with_status_words(f"{length_line(found, asked)}{hint}\n")
    bars = min(MOST_BARS, max(FEWEST_BARS, room.height - said.get_height({}, max(1, room.width)) - 1))
    drawn = histogram_lines(found, asked.model.max_seq_length, room.width - 1, bars, not plain)
    return Content("\n").join([said, *(bar_line(line) for line in drawn)])


def longer(draft: Draft) -> int | None:
    """The length at which hardly anything would be lost, if it is another than the draft's."""
    found = prepared(draft)
    return better_length(found, recipe(draft)) if found else None


def bar_line(line: str) -> Content:
    """A bar in the accent's colour; the cut line as it is."""
    bar = BAR.search(line)
    if bar is None:
        return Content(line)
    return Content(line[: bar.start()]) + Content.styled(bar[0], "$primary") + Content(line[bar.end() :])


def tokens(found: TokenStats, asked: Recipe, number: int, plain: bool) -> Content:
    """One of the example rows, token by token."""
    if not found.examples:
        return Content("No row was rendered.")
    body = example_text(found.examples[number], asked.model.max_seq_length, not plain)
    head = f"{example_head(found, number)}, {'Left and Right' if plain else '← →'} for others\n{legend(not plain)}\n\n"
    return Content.styled(head, "$secondary") + Content.from_rich_text(body)


def why_not_on(draft: Draft, report: Report) -> str:
    """Why these rows can't be trained on as they are, and what to do; empty if they can."""
    found = prepared(draft)
    if is_guess(report) or (asks(report) and not report.can_train):
        return "First say what is meant: Down and Enter choose."
    if not report.can_train:
        return "These rows can't be trained on as they are: see Check."
    if found and any(each.severity == "stop" for each in findings(found, recipe(draft))):
        return "Nothing is left to learn in these rows: see below."
    return ""
