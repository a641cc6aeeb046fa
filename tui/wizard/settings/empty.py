"""What a setting that is left empty stands for: the value that the training will take."""

from collections.abc import Mapping

from fitune.core import runs
from fitune.core.data import Report
from fitune.core.errors import BadInput
from fitune.core.intervals import steps_between
from fitune.core.recipe import Recipe
from fitune.tui.text import count, steps
from fitune.tui.wizard.draft import Draft, recipe
from fitune.tui.wizard.field_cost import guessed_steps
from fitune.tui.wizard.forecast_text import DraftForecast

FIXED = {
    "model.revision": "the newest",
    "lora.layers": "all layers",
    "data.replay_source": "the model's own answers",
    "data.text_overlap": "long texts are cut off",
    "data.image_folder": "the folder of the data file",
    "train.micro_tokens": "not split",
    "train.checkpoint_skip_layers": "none",
    "train.offload_layers": "none",
    "train.save_minutes": "by steps alone",
    "run.name": "date and model",
    "run.gpu": "most free memory",
    "run.vram_limit_gib": "all that is free",
    "run.max_hours": "no limit",
    "run.stop_at": "no limit",
    "run.pause_above_c": "no limit",
    "run.copy_to": "no copy",
    "deliver.gguf": "none",
    "deliver.push_repo": "no push",
}
"""Of the fields whose meaning does not depend on anything else."""


def meanings(draft: Draft, forecast: DraftForecast) -> Mapping[str, str]:
    """Field name -> what it stands for when empty."""
    try:
        asked = recipe(draft)
    except BadInput:  # told at the fields
        return FIXED
    planned = _steps(asked, draft.report, forecast)
    return {
        **FIXED,
        "run.home": str(runs.home()),
        "train.max_steps": f"{count(planned)}, by epochs" if planned else "by epochs",
        "train.eval_every": steps(steps_between(None, planned)) if planned else "10 in a run",
        "train.save_every": steps(steps_between(None, planned)) if planned else "10 in a run",
    }


def _steps(asked: Recipe, report: Report | None, forecast: DraftForecast) -> int | None:
    """The steps of the training as it stands; None before the rows are read."""
    if forecast.work is not None:
        return forecast.work.packing.steps
    return guessed_steps(report, asked) if report is not None and report.rows else None
