"""The cost of a field of the form, in memory and in time: against the preset's value, or of the next values."""

from fitune.core.data import Report, eval_fraction, look_rows
from fitune.core.forecast import Amount, Duration
from fitune.core.recipe import Recipe
from fitune.core.tokens import steps_of
from fitune.tui.text import duration, size
from fitune.tui.wizard.draft import Draft, base_value, set_field, shown
from fitune.tui.wizard.fields import Field, problem, text_of
from fitune.tui.wizard.forecast_text import DraftForecast, forecast_draft

CHARS_PER_TOKEN = 4
"""English text; a rule of thumb for a first guess."""


def field_cost(draft: Draft, field: Field, forecast: DraftForecast) -> str:
    """The cost of a field: its value against the preset's where it was edited, else that of the next value."""
    if forecast.budget is None or problem(field, shown(draft, field.name)):
        return ""
    if field.name in draft.edits:
        base = text_of(base_value(draft, field.name))
        before = forecast_draft(set_field(draft, field.name, base))
        return f"Instead of {base or 'nothing'}: {_change(before, forecast, draft.report)}." if before.budget else ""
    if field.kind in ("text", "list"):
        return ""
    said = []
    for text in _alternatives(field, shown(draft, field.name)):
        other = forecast_draft(set_field(draft, field.name, text))
        if other.budget is not None and other.budget.total_bytes != forecast.budget.total_bytes:
            said.append(f"{text}: {_change(forecast, other, draft.report)}")
    return f"Would cost: {'; '.join(said)}." if said else ""


def time_of(forecast: DraftForecast, report: Report | None) -> Duration | None:
    """The time of the whole training: by the true lengths of its rows, else as if all were as long as the first ones;
    None if these aren't known either, or the pace is not."""
    if forecast.known is None or forecast.work is not None:
        return forecast.known.duration if forecast.known else None
    amount = _guessed_amount(report, forecast.known.recipe) if report else None
    return forecast.known.duration_of(amount) if amount else None


def guessed_steps(report: Report, asked: Recipe) -> int:
    """The steps of a training on rows that were read but not counted in tokens, none of them packed."""
    trained = report.rows - round(report.rows * eval_fraction(asked, report.rows))
    return max(1, steps_of(asked, trained))


def _guessed_amount(report: Report, asked: Recipe) -> Amount | None:
    if not report.rows or not report.preview:
        return None
    chars = sum(len(str(value)) for row in report.preview for value in row.values())
    row_tokens = min(asked.model.max_seq_length, chars / len(report.preview) / CHARS_PER_TOKEN)
    batch = asked.train.micro_batch * asked.train.grad_accum
    held_out = eval_fraction(asked, report.rows)
    steps = guessed_steps(report, asked)
    source_tokens = report.rows * row_tokens
    looked_at = min(held_out * report.rows, look_rows(asked, round(report.rows * (1 - held_out))))
    return Amount(steps, steps * batch * row_tokens, source_tokens, looked_at, looked_at * row_tokens)


def signed(size_bytes: int) -> str:
    """A change of memory: `+84.0 MiB`, `no memory`."""
    return "no memory" if not size_bytes else f"{'+' if size_bytes > 0 else '-'}{size(abs(size_bytes))}"


def _change(before: DraftForecast, now: DraftForecast, report: Report | None) -> str:
    if before.budget is None or now.budget is None:
        return ""
    return signed(now.budget.total_bytes - before.budget.total_bytes) + _time_change(before, now, report)


def _time_change(before: DraftForecast, now: DraftForecast, report: Report | None) -> str:
    """`, 12 min 05 s longer`, or without rows `, 12 % slower`; empty if the pace is unknown or changes by under 1 %."""
    took_s, takes_s = _training_s(before, report), _training_s(now, report)
    if not took_s or not takes_s or abs(takes_s / took_s - 1) < 0.01:
        return ""
    if report is None or not report.rows:
        return f", {abs(took_s / takes_s - 1):.0%} {'slower' if takes_s > took_s else 'faster'}"
    return f", {duration(abs(takes_s - took_s))} {'longer' if takes_s > took_s else 'shorter'}"


def _training_s(forecast: DraftForecast, report: Report | None) -> float | None:
    """Seconds that the training takes; without rows, those of one token."""
    if found := time_of(forecast, report):
        return found.total_s
    speed = forecast.pace.tokens_per_s if forecast.pace else None
    return 1 / speed if speed else None


def _alternatives(field: Field, text: str) -> tuple[str, ...]:
    """Values beside this one: the double of a number, the other choices (three at most)."""
    if field.kind == "whole" and text.isdecimal():
        return (str(int(text) * 2),)
    return tuple(choice for choice in field.choices if choice != text)[:3] if field.kind == "choice" else ()
