"""Jobs: what each needs before it starts, and the worker that is started on it."""

from fitune.core.jobs.delivering import check_export, check_push, check_repo, export, merge, merged_model, push
from fitune.core.jobs.other_cards import move
from fitune.core.jobs.preparing import prepare
from fitune.core.jobs.racing import go_on, tune_lr
from fitune.core.jobs.scoring import score
from fitune.core.jobs.starting import at_work, refuse_busy_gpu, start, trainings_beside
from fitune.core.jobs.training import Begun, begin, obstacles

__all__ = [
    "Begun",
    "at_work",
    "begin",
    "check_export",
    "check_push",
    "check_repo",
    "export",
    "go_on",
    "merge",
    "merged_model",
    "move",
    "obstacles",
    "prepare",
    "push",
    "refuse_busy_gpu",
    "score",
    "start",
    "trainings_beside",
    "tune_lr",
]
