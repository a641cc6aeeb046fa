"""Forecasts: what a recipe will need and how long it will take on a machine, and which plan would do better."""

from fitune.core.forecast.cards import decisions
from fitune.core.forecast.documents import (
    BudgetDocument,
    PresetDocument,
    budget_document,
    estimate_document,
    fit_document,
)
from fitune.core.forecast.duration import Amount, Duration, amount_of
from fitune.core.forecast.forecast import Forecast, RowLengths, Verdict, forecast, forecast_on
from fitune.core.forecast.history import CORRECTION, Measurement
from fitune.core.forecast.learning_rate import LearningRate, learning_rate
from fitune.core.forecast.pace import Pace
from fitune.core.forecast.plans.candidates import Candidate, Rejected
from fitune.core.forecast.plans.cards_choice import CardsChoice, cards_choices
from fitune.core.forecast.plans.fit import Fit, fit, whole_rows
from fitune.core.forecast.plans.ranking import rank
from fitune.core.forecast.plans.remedies import Remedy, remedies, together
from fitune.core.forecast.plans.search import PLANNED
from fitune.core.forecast.resolve import Resolved, place_of, refuse_stretched, resolve
from fitune.core.forecast.site import Site, card_of, site_of

__all__ = [
    "CORRECTION",
    "PLANNED",
    "Amount",
    "BudgetDocument",
    "Candidate",
    "CardsChoice",
    "Duration",
    "Fit",
    "Forecast",
    "LearningRate",
    "Measurement",
    "Pace",
    "PresetDocument",
    "Rejected",
    "Remedy",
    "Resolved",
    "RowLengths",
    "Site",
    "Verdict",
    "amount_of",
    "budget_document",
    "card_of",
    "cards_choices",
    "decisions",
    "estimate_document",
    "fit",
    "fit_document",
    "forecast",
    "forecast_on",
    "learning_rate",
    "place_of",
    "rank",
    "refuse_stretched",
    "remedies",
    "resolve",
    "site_of",
    "together",
    "whole_rows",
]
