"""Recipes: their fields, loading and checking them, and the presets to start from."""

from fitune.core.recipe.changes import changed, changes_between, options, value_of, with_values
from fitune.core.recipe.data_fields import Data
from fitune.core.recipe.fields import Deliver, Lora, Model, Recipe, Run, Train
from fitune.core.recipe.kinds import (
    BEGINS_FILLED,
    COMPARE,
    MOVES_THE_BASE,
    RATE_SHARES,
    RUN_NAME,
    STOP_AT,
    Objective,
    Quant,
)
from fitune.core.recipe.limits import deadline, next_time
from fitune.core.recipe.load import GROUPS, help_of, parse, presets_dir
from fitune.core.recipe.on_resume import changes_on_resume, may_change
from fitune.core.recipe.presets import Preset
from fitune.core.recipe.rules import find_contradictions, not_with_images

__all__ = [
    "BEGINS_FILLED",
    "COMPARE",
    "GROUPS",
    "MOVES_THE_BASE",
    "RATE_SHARES",
    "RUN_NAME",
    "STOP_AT",
    "Data",
    "Deliver",
    "Lora",
    "Model",
    "Objective",
    "Preset",
    "Quant",
    "Recipe",
    "Run",
    "Train",
    "changed",
    "changes_between",
    "changes_on_resume",
    "deadline",
    "find_contradictions",
    "help_of",
    "may_change",
    "next_time",
    "not_with_images",
    "options",
    "parse",
    "presets_dir",
    "value_of",
    "with_values",
]
