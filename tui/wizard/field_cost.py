"""The cost of a field of the form, in memory and in time: against the preset's value, or of the next values."""

from fitune.core.data import Report, eval_fraction, look_rows
from fitune.core.forecast import Amount, Duration
from fitune.core.recipe import Recipe
from fitune.core.tokens import steps_of
from fitune.tui.text import duration, tenths
from fitune.tui.wizard.draft import Draft, base_value, set_field, shown
from fitune.tui.wizard.fields import Field, problem, text_of
from fitune.tui.wizard.forecast_text import DraftForecast, forecast_draft

CHARS_PER_TOKEN = 4
"""English text; a rule of thumb for a first guess."""


def field_cost(draft: Draft, field: Field, forecast: DraftForecast) -> str:
    """The cost of a field: its value against the preset's where it was edited, else what others would save or cost;
    empty where nothing changes."""
    if forecast.known is None or forecast.budget is None or problem(field, shown(draft, field.name)):
        return ""
    if field.name == "train.lr" and shown(draft, field.name) == "auto":
        return f"auto is {text_of(forecast.known.learning_rate.lr)} {forecast.known.learning_rate.why}."
    if field.name in draft.edits:
        base = text_of(base_value(draft, field.name))
        before = forecast_draft(set_field(draft, field.name, base))
        change = _change(before, forecast, draft.report)
        return f"Instead of {base or 'none'}: {change}." if change else ""
    if field.kind in ("text", "list"):
        return ""
    said = []
    for text in _alternatives(field, shown(draft, field.name)):
        other = forecast_draft(set_field(draft, field.name, text))
        if change := _change(forecast, other, draft.report):
            said.append(f"{text}: {change}")
    return f"{'; '.join(said)}." if said else ""


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


def _change(before: DraftForecast, now: DraftForecast, report: Report | None) -> str:
    """`costs 0.8 GiB, 12 min 05 s shorter`; empty where neither memory nor time changes."""
    if before.budget is None or now.budget is None:
        return ""
    more_bytes = now.budget.total_bytes - before.budget.total_bytes
    memory = f"{'costs' if more_bytes > 0 else 'saves'} {tenths(abs(more_bytes))}" if more_bytes else ""
    return ", ".join(part for part in (memory, _time_change(before, now, report)) if part)


def _time_change(before: DraftForecast, now: DraftForecast, report: Report | None) -> str:
    """`12 min 05 s longer`, or without rows `12% slower`; empty if the pace is unknown or changes by under 1 %."""
    took_s, takes_s = _training_s(before, report), _training_s(now, report)
    if not took_s or not takes_s or abs(takes_s / took_s - 1) < 0.01:
        return ""
    if report is None or not report.rows:
        return f"{abs(took_s / takes_s - 1):.0%} {'slower' if takes_s > took_s else 'faster'}"
    return f"{duration(abs(takes_s - took_s))} {'longer' if takes_s > took_s else 'shorter'}"


def _training_s(forecast: DraftForecast, report: Report | None) -> float | None:
    """Seconds that the training takes; without rows, those of one token."""
    if found := time_of(forecast, report):
        return found.total_s
    speed = forecast.pace.tokens_per_s if forecast.pace else None
    return 1 / speed if speed else None


def _alternatives(field: Field, text: str) -> tuple[str, ...]:
    """Values beside this one: half and double of a number, as far as they are allowed; the other choices (three at
    most)."""
    if field.kind == "whole" and text.isdecimal():
        beside = dict.fromkeys((str(int(text) // 2), str(int(text) * 2)))
        return tuple(each for each in beside if each != text and not problem(field, each))
    return tuple(choice for choice in field.choices if choice != text)[:3] if field.kind == "choice" else ()
