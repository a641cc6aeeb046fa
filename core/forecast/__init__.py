"""What a recipe will need and how long it will take on a machine, and what would fit better."""

from fitune.core.forecast.candidates import Tried, ram_lack
from fitune.core.forecast.history import CORRECTION, NONE, Experience, Lesson
from fitune.core.forecast.pace import Pace, estimate_pace
from fitune.core.forecast.remedies import Remedy, remedies
from fitune.core.forecast.resolve import Resolved, card_of, resolve
from fitune.core.forecast.search import Fit, Rejected, fit

__all__ = [
    "CORRECTION",
    "NONE",
    "Experience",
    "Fit",
    "Lesson",
    "Pace",
    "Rejected",
    "Remedy",
    "Resolved",
    "Tried",
    "card_of",
    "estimate_pace",
    "fit",
    "ram_lack",
    "remedies",
    "resolve",
]
