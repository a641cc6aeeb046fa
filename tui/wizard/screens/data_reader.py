"""Reads the rows of a draft in a thread, and has them rendered: each thing that is found is a message to the screen."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from textual.message import Message
from textual.screen import Screen
from textual.worker import Worker, get_current_worker

from fitune.core.data import Report, dataset
from fitune.core.errors import LeftError, UserError
from fitune.core.recipe import Recipe
from fitune.core.runs import Run, RunState
from fitune.core.tokens import TokenStats, workload
from fitune.tui.data.read import read, render
from fitune.tui.data.report_text import asks
from fitune.tui.data.unseen import with_model
from fitune.tui.wizard.draft import Draft, recipe, with_prepared
from fitune.tui.wizard.forecast_text import known_shape

PREVIEW_ROWS = 5
GROUP = "rows"


@dataclass
class Read(Message):
    """The head of the rows, or all of them, were read."""

    report: Report
    whole: bool


@dataclass
class NotRead(Message):
    """They can't be."""

    problem: str


@dataclass
class Reading(Message):
    """So far the reading has come."""

    share: float


@dataclass
class Rendering(Message):
    """So far the prepare job has come."""

    run: Run
    state: RunState


@dataclass
class Rendered(Message):
    """The rows in tokens, as Draft.rendered keeps them."""

    rendered: tuple[tuple[str, ...], TokenStats] | None


@dataclass
class NotRendered(Message):
    """They can't be."""

    problem: str


def read_rows(screen: Screen[Any], draft: Draft) -> None:
    """The head at once, then all rows, then their tokens. Raises BadInput for a draft that is no recipe."""
    _start(screen, partial(_read, screen, draft, recipe(draft)))


def render_rows(screen: Screen[Any], draft: Draft) -> None:
    """The tokens of rows that were read. Raises BadInput as `read_rows`."""
    _start(screen, partial(_render, screen, draft, recipe(draft)))


def _start(screen: Screen[Any], look: Callable[[], None]) -> None:
    screen.run_worker(look, group=GROUP, exclusive=True, thread=True)


def _read(screen: Screen[Any], draft: Draft, asked: Recipe) -> None:
    worker = get_current_worker()
    try:
        _tell(screen, worker, Read(with_model(dataset.preview(asked.rows, PREVIEW_ROWS), asked), whole=False))
        report = read(
            asked.rows, PREVIEW_ROWS, lambda share: screen.post_message(Reading(share)), lambda: worker.is_cancelled
        )
        report = with_model(report, asked)
        _tell(screen, worker, Read(report, whole=True))
    except LeftError:
        return
    except UserError as error:
        _tell(screen, worker, NotRead(str(error)))
    else:
        if report.can_train and not asks(report):  # else it is not known yet what is meant
            _render(screen, draft, asked)


def _render(screen: Screen[Any], draft: Draft, asked: Recipe) -> None:
    worker = get_current_worker()
    if draft.report:
        report = with_model(draft.report, asked)
        if report != draft.report:  # the model is another one than before
            _tell(screen, worker, Read(report, whole=True))
        if not report.can_train:
            return
    try:
        found = render(
            asked, lambda run, state: screen.post_message(Rendering(run, state)), lambda: worker.is_cancelled
        )
        shape = known_shape(asked.model.id, asked.model.revision)
        workload(found, asked, shape)  # what takes a second with a million rows is kept, and asked for at each key
        _tell(screen, worker, Rendered(with_prepared(draft, found).rendered))
    except LeftError:
        return
    except UserError as error:
        _tell(screen, worker, NotRendered(str(error)))


def _tell(screen: Screen[Any], worker: Worker[Any], message: Message) -> None:
    if not worker.is_cancelled:
        screen.post_message(message)
