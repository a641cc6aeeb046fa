"""The forecast of a draft in words, for the panel beside each step: what it needs, or why nothing can be said yet."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Literal

from fitune.core import runs
from fitune.core.errors import BadInput, Problem, UserError
from fitune.core.forecast import (
    CORRECTION,
    Forecast,
    Pace,
    Remedy,
    cards_choices,
    fit,
    forecast,
    remedies,
    resolve,
    site_of,
)
from fitune.core.machine import Machine, planned
from fitune.core.memory import Budget, Shape, config_json, shapes
from fitune.core.tokens import Workload, lengths_note
from fitune.core.units import GIB
from fitune.tui.text import count, gib, rate, tenths
from fitune.tui.wizard.draft import UNCHOSEN, Draft, Plan, origin, prepared, recipe, set_field, shown
from fitune.tui.wizard.fields import all_fields, text_of
from fitune.tui.wizard.memory.words import changes_text

Verdict = Literal["fits", "tight", "over", "unknown"]
WORDS: Mapping[Verdict, str] = {"fits": "OK", "tight": "WARN", "over": "ERROR", "unknown": "?"}
"""Said beside every colour."""
COLOURS: Mapping[Verdict, str] = {"fits": "$success", "tight": "$warning", "over": "$error", "unknown": "$secondary"}


@dataclass(frozen=True, slots=True)
class DraftForecast:
    """The forecast of a draft, or why there is none yet."""

    site: str
    """The card, or this machine: foreign text."""
    known: Forecast | None = None
    unknown_why: str = ""
    needs_shape: bool = False
    """Nothing is wrong, but the model has to be learned first."""
    wrong: Mapping[str, str] = field(default_factory=dict)
    """Field name -> why its value can't be had on this card: foreign text."""

    @property
    def verdict(self) -> Verdict:
        return self.known.verdict if self.known else "unknown"

    @property
    def list_word(self) -> str:
        """The verdict in a list, where what needs more than a machine has is no error."""
        return "over" if self.verdict == "over" else WORDS[self.verdict]

    @property
    def budget(self) -> Budget | None:
        return self.known.budget if self.known else None

    @property
    def pace(self) -> Pace | None:
        return self.known.pace if self.known else None

    @property
    def work(self) -> Workload | None:
        return self.known.work if self.known else None

    @property
    def free_bytes(self) -> int | None:
        """Memory that the run may take; None where it is not known."""
        return self.budget.free_bytes or None if self.budget else None

    @property
    def said(self) -> str:
        """The verdict in words, with what is short."""
        if self.known is None:
            return self.unknown_why or "Nothing can be said yet."
        others = [each.sentence for each in self.known.shortages if each.of in ("host RAM", "disk")]
        return " ".join([self._memory_said, *others])

    @property
    def _memory_said(self) -> str:
        """A sentence on the card's memory (RAM on a processor)."""
        budget = self.budget
        if budget is None or self.free_bytes is None:
            return "It is not known how much memory is free."
        spare_bytes = self.free_bytes - budget.total_bytes
        if budget.refused and spare_bytes >= 0:
            return "Unsloth would not load it: auto finds no room. Give train.offload_layers a number."
        if budget.verdict == "over":
            return f"{tenths(-spare_bytes)} short: won't fit."
        spare = f"{tenths(max(0, spare_bytes))} to spare"
        return f"It may fit: {spare}, with luck." if budget.verdict == "tight" else f"It fits: {spare}."

    @property
    def short(self) -> str:
        """The verdict in three words: `4.4 GiB to spare`."""
        if self.known is None or self.budget is None or self.free_bytes is None:
            return "size unknown"
        spare_bytes = self.free_bytes - self.budget.total_bytes
        if self.budget.refused and spare_bytes >= 0:
            return "auto finds no room"
        if spare_bytes < 0:
            return f"{tenths(-spare_bytes)} short"
        lacking = [each.of for each in self.known.shortages if each.of in ("host RAM", "disk")]
        return f"too little {lacking[0]}" if lacking else f"{tenths(spare_bytes)} to spare"


def forecast_draft(draft: Draft) -> DraftForecast:
    """The forecast of a draft, without slow IO: a model that fitune doesn't ship has to be learned first."""
    machine = planned_machine(draft)
    name = machine.gpus[0].name if draft.card_gib is not None and machine else "this machine"
    try:
        asked = recipe(set_field(draft, "data.source", UNCHOSEN))  # a source that is gone is another step's trouble
    except BadInput as error:
        told = " ".join(_sentence(each) for each in error.problems)
        return DraftForecast(name, unknown_why=f"A setting is wrong: fix it to see the memory. {told}")
    try:
        shape = known_shape(asked.model.id, asked.model.revision)
        if machine is None:
            return DraftForecast(name, unknown_why="Still looking at this machine.")
        resolved = resolve(asked, machine)
        name = resolved.gpu.name if resolved.gpu else "this machine"
        if shape is None:
            why = f"The size of {asked.model.id} is not known yet."
            return DraftForecast(name, unknown_why=why, needs_shape=True)
        site = site_of(resolved, machine, runs.home(asked.run.home))
        return DraftForecast(name, forecast(shape, resolved.recipe, site, prepared(draft)))
    except BadInput as error:  # a contradiction with what this card can do
        wrong = {each.where: f"{each.text} {each.fix}".strip() for each in error.problems if each.where in all_fields()}
        return DraftForecast(name, unknown_why=" ".join(_sentence(each) for each in error.problems), wrong=wrong)
    except UserError as error:
        return DraftForecast(name, unknown_why=error.message)


def _sentence(problem: Problem) -> str:
    """A problem as a sentence that begins with its field's name; a colon stays before a sentence of its own."""
    told = str(problem).removeprefix(": ")
    name, _, rest = told.partition(": ")
    return f"{name} {rest}" if rest[:1].islower() else told


def ways_out(forecast: DraftForecast) -> list[Remedy]:
    """Changes that make it fit, gentlest first; none where it fits."""
    if forecast.known is None or forecast.known.memory_shortage is None or forecast.free_bytes is None:
        return []
    return remedies(forecast.known)


def correction(forecast: DraftForecast) -> str:
    """The correction of the budget by earlier runs: `corrected by +1.3% from 4 runs on this card`; empty if nothing."""
    parts = forecast.budget.parts if forecast.budget else ()
    return next((part.why for part in parts if part.name == CORRECTION), "")


def fitted(draft: Draft, forecast: DraftForecast) -> tuple[Draft, str]:
    """The draft with the fastest plan that fits as edits, and a sentence about it; unchanged where there is none.

    Takes up to a tenth of a second.
    """
    if forecast.known is None:
        return draft, forecast.said
    changes, why = _on_all_cards(draft)
    if not changes:
        found = fit(forecast.known, _base_is_open(draft))
        changes, why = found.plan.set if found.plan else {}, found.reason
    for name, value in changes.items():
        draft = set_field(draft, name, text_of(value))
    taken = f"{changes_text(changes)}: " if changes else ""
    return draft, f"{taken}{why} ({lengths_note(forecast.work)})"


def long_rows_text(draft: Draft) -> str:
    """Whether rows of the draft's length fit: as it is, by a plan that the review will propose, or not at all."""
    forecast = forecast_draft(draft)
    if forecast.known is None:
        return forecast.said
    rows = f"rows of up to {count(forecast.known.recipe.model.max_seq_length)} tokens"
    if forecast.verdict == "fits":
        return f"OK It fits with {rows}."
    found = fit(forecast.known, _base_is_open(draft))
    if found.plan and found.plan.fits:
        return f"OK It fits with {rows} and {changes_text(found.plan.set)}: the review will propose that."
    return f"WARN With {rows}: {forecast.said}"


def with_plan(draft: Draft) -> Draft:
    """The draft with the proposed plan as edits; unchanged where there is none, or where the user has decided already.

    Takes up to some tenths of a second: for a thread.
    """
    forecast = forecast_draft(draft)
    if draft.plan is not None or forecast.known is None or forecast.work is None:
        return draft
    changes, why = _on_all_cards(draft)
    if not changes:
        found = fit(forecast.known, _base_is_open(draft))
        changes, why = found.proposal.set if found.proposal else {}, found.reason
    if not changes or any(origin(draft, name) in ("edited", "answers") for name in changes):
        return draft
    planned = draft
    for name, value in changes.items():
        planned = set_field(planned, name, text_of(value))
    return replace(planned, plan=Plan(draft.edits, f"{changes_text(changes)}: {why}"))


def _on_all_cards(draft: Draft) -> tuple[Mapping[str, object], str]:
    """The changes of the fastest plan on all cards, and why; none where one card is enough, or all there is."""
    machine, asked = planned_machine(draft), recipe(set_field(draft, "data.source", UNCHOSEN))
    if machine is None:
        return {}, ""
    choices = cards_choices(machine, asked, runs.home(asked.run.home), _base_is_open(draft), prepared(draft))
    for choice in choices:
        if choice.proposed and choice.plan and choice.gpus > 1:
            return {"run.gpus": choice.gpus, **choice.plan.set}, choice.why
    return {}, ""


def _base_is_open(draft: Draft) -> bool:
    """The user has not decided in which number format the base is kept."""
    return origin(draft, "model.quant") not in ("edited", "answers")


def without_plan(draft: Draft) -> Draft:
    """The draft as it was before the plan, which is not proposed again."""
    return draft if draft.plan is None else replace(draft, edits=draft.plan.before, plan=Plan(draft.plan.before, ""))


def with_remedy(draft: Draft, remedy: Remedy) -> Draft:
    """The draft with a remedy applied, as edits."""
    for name, value in remedy.set.items():
        draft = set_field(draft, name, text_of(value))
    return draft


def planned_machine(draft: Draft) -> Machine | None:
    """This machine, or another with an empty card of the size that is planned for; None while it is looked at."""
    return draft.machine if draft.card_gib is None else planned(int(draft.card_gib * GIB))


def known_shape(model_id: str, revision: str | None) -> Shape | None:
    """The shape of a model that fitune ships or has learned; None if it must be learned first."""
    if revision is None and (model_id, None) not in _learned and model_id.lower() in config_json.shipped_configs():
        learn(model_id, None)  # kept: each key in the form asks twice
    return _learned.get((model_id, revision))


def wanted_shape(draft: Draft) -> tuple[str, str | None] | None:
    """Model and revision whose size isn't known yet; None if it is, or no model is named."""
    model, revision = shown(draft, "model.id").strip(), shown(draft, "model.revision").strip() or None
    return (model, revision) if model and known_shape(model, revision) is None else None


def learn(model_id: str, revision: str | None) -> None:
    """Find out the shape of a model on disk or on the Hub. Slow: for a thread, which waits for another that does so
    already. Raises UserError."""
    with _learning[model_id, revision]:
        if (model_id, revision) not in _learned:
            _learned[model_id, revision] = shapes.load(model_id, revision)


_learned: dict[tuple[str, str | None], Shape] = {}
_learning: defaultdict[tuple[str, str | None], Lock] = defaultdict(Lock)


def bounds(found: Budget) -> str:
    """The total with its bounds: `7.6 GiB (7.2-7.8)`."""
    low, high = (gib(each).removesuffix(" GiB") for each in (found.low_bytes, found.high_bytes))
    return f"{gib(found.total_bytes)} ({low}-{high})"


def pace_text(found: Pace | None) -> str:
    """A pace by its bounds: `4,800 to 15,000 tokens/s`."""
    if found is None or found.tokens_per_s is None:
        return "unknown for this card"
    return f"{count(found.low_tokens_per_s)} to {rate(found.high_tokens_per_s)}"
