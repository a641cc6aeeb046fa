"""The check of `train` before it starts: it must be clear what the rows teach."""

import sys
from pathlib import Path

from fitune.core.data import dataset
from fitune.core.errors import BadInput
from fitune.core.recipe import Recipe
from fitune.tui.data.report_text import finding_line


def with_clear_rows(recipe: Recipe, accept_guess: bool) -> Recipe:
    """The recipe with a mapping of its columns where one was guessed. Prints what is odd about the first rows.

    Raises UserError where they can't be learned, and where it is not clear what they teach and nobody said so.
    """
    if not Path(recipe.data.source).expanduser().exists() and not accept_guess:
        return recipe  # on the Hub: the worker fetches it, and refuses the same
    report = dataset.preview(recipe.data)
    for finding in report.problems:
        print(finding_line(finding), file=sys.stderr)
    if report.sure or not report.candidates:
        if refused := [finding.problem for finding in report.problems if finding.kind == "format"]:
            raise BadInput(refused)
        return recipe
    if not accept_guess:
        raise dataset.unclear(recipe.data.source, report.choices)
    data = recipe.data.model_copy(update={"columns": dict(report.candidates[0]), "format": "auto"})
    return recipe.model_copy(update={"data": data})
