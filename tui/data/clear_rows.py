"""The check of `train` before it starts: it must be clear what the rows teach, and the model must see their images."""

import sys
from pathlib import Path

from fitune.core.data import Report, dataset
from fitune.core.errors import BadInput, UserError
from fitune.core.recipe import Data, Recipe, not_with_images
from fitune.tui.data.report_text import finding_line
from fitune.tui.data.unseen import unseen_images
from fitune.tui.text import wrapped


def with_clear_rows(recipe: Recipe, accept_guess: bool) -> Recipe:
    """The recipe with a mapping of its columns where one was guessed. Prints what is odd about the first rows.

    Raises UserError where they can't be learned, and where it is not clear what they teach and nobody said so.
    """
    data = recipe.rows
    parts = [_clear(part, accept_guess, recipe) for part, _ in data.parts()]
    if general := data.general():
        _check_general(general)
    if not data.sources:
        return recipe.model_copy(update={"data": parts[0]})
    read = zip(data.sources, parts, strict=True)
    sources = tuple(part.model_copy(update={"columns": each.columns, "format": each.format}) for part, each in read)
    return recipe.model_copy(update={"data": data.model_copy(update={"sources": sources})})


def refuse_unseen_images(recipe: Recipe) -> None:
    """Raise BadInput where the first rows hold images and the model reads text only."""
    for part, _ in recipe.rows.parts():
        if _is_here(part):
            _refuse_images(dataset.preview(part), recipe)


def _refuse_images(report: Report, recipe: Recipe) -> None:
    """Raise BadInput where rows hold images and the recipe's model or its settings do nothing with them."""
    if not report.image_rows:
        return
    unseen = unseen_images(recipe)
    if problems := [*not_with_images(recipe), *([unseen] if unseen else [])]:
        raise BadInput(problems)


def _clear(data: Data, accept_guess: bool, recipe: Recipe) -> Data:
    """One source, with a mapping where one was guessed."""
    if not _is_here(data) and not accept_guess:
        return data  # on the Hub: the worker fetches it, and refuses the same
    report = dataset.preview(data)
    for finding in report.problems:
        print(wrapped(finding_line(finding), sys.stderr), file=sys.stderr)
    _refuse_images(report, recipe)
    if report.sure or not report.candidates:
        if refused := [finding.problem for finding in report.problems if finding.kind == "format"]:
            raise BadInput(refused)
        return data
    if not accept_guess:
        raise dataset.unclear(data.source, report.choices)
    return data.model_copy(update={"columns": dict(report.candidates[0]), "format": "auto"})


def _check_general(data: Data) -> None:
    """Raise UserError for general rows that can't be learned, or of which it is not clear what they teach."""
    if not _is_here(data):
        return
    report = dataset.preview(data)
    if not (report.can_train and report.sure):
        hint = "Take rows of question and answer, or chats, under names that fitune knows."
        raise UserError(f"data.replay_source: it is not clear what is to be learned from {data.source}.", hint)


def _is_here(data: Data) -> bool:
    return Path(data.source).expanduser().exists()
