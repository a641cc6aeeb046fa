"""Rows with images for a model that reads text only: told as soon as both are known."""

from dataclasses import replace

from fitune.core.data import Finding, Report
from fitune.core.errors import Problem
from fitune.core.memory import shapes
from fitune.core.recipe import Recipe

KIND = "unseen"
"""The finding's kind."""


def with_model(report: Report, recipe: Recipe) -> Report:
    """The report on rows, for the recipe's model: it stops a training on images that the model can't see. A model whose
    size is not known may see."""
    others = tuple(finding for finding in report.problems if finding.kind != KIND)
    found = unseen_images(recipe) if report.image_rows else None
    stops = (Finding("stop", KIND, report.image_rows, found),) if found else ()
    return replace(report, problems=(*stops, *others))


def unseen_images(recipe: Recipe) -> Problem | None:
    """What is wrong with images for the recipe's model, and the cure; None where it sees, or nobody knows."""
    shape = shapes.find(recipe.model)
    if shape is None or shape.tower:
        return None
    text = f"{shape.name} reads text only, and rows hold images."
    fix = "Choose a model that sees, such as Qwen3-VL or Gemma 3 4B, or take the images out of the rows."
    return Problem("model.id", text, fix)
