"""Runs side by side: the settings that differ, and what came of each: for `fitune runs compare` and its screen."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import mean, median
from typing import Any

from fitune.core.recipe import Recipe
from fitune.core.runs import Finished, Run, Status, Step, Tail
from fitune.core.score import Verdict, name_of, scores, sentence
from fitune.tui.text import UNKNOWN, clean, count, duration, gib, number, rate, table


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a run's training. null is unknown."""

    status: Status
    """As in `fitune runs --json`."""
    steps: int | None
    """Optimizer steps so far."""
    train_loss: float | None
    """Mean of the last tenth of the steps' losses, in nats a token."""
    eval_loss: float | None
    """The newest loss of the held-out rows, in nats a token."""
    delivered_loss: float | None
    """The same after the step whose adapter is delivered."""
    seen_tokens: int | None
    """Tokens trained on."""
    elapsed_s: float | None
    """Seconds that the training took, without pauses."""
    peak_bytes: int | None
    """The most memory that was measured: of the GPU, else of the RAM."""
    tokens_per_s: float | None
    """Tokens trained on a second: the median over the steps."""
    verdict: str | None
    """The verdict on its own held-out rows, against its base model: better, no different, worse or can't tell."""
    score: float | None
    """The tuned model by the metric of that verdict: the share of right answers, or for free text the loss."""


RESULTS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "status": ("status", str),
    "steps": ("steps", count),
    "train_loss": ("training loss, last tenth", number),
    "eval_loss": ("held-out loss, last", number),
    "delivered_loss": ("held-out loss, delivered", number),
    "seen_tokens": ("tokens seen", count),
    "elapsed_s": ("time", duration),
    "peak_bytes": ("memory at the peak", gib),
    "tokens_per_s": ("pace, median", rate),
    "verdict": ("against its base", lambda word: word or UNKNOWN),
    "score": ("score of the tuned model", number),
}
"""The shown fields of Result, each with its label and its format."""
COLUMNS = {
    "status": "STATUS",
    "verdict": "VERDICT",
    "delivered_loss": "HELD-OUT LOSS",
    "elapsed_s": "TIME",
    "peak_bytes": "MEMORY",
}
"""Those in a line of many runs, each with its heading."""
MOST_SETTINGS, SETTING_COLUMNS = 5, 20
"""Settings in such a line, and the most of a value."""


@dataclass(frozen=True, slots=True)
class ComparisonDocument:
    """The answer of `fitune runs compare --json`."""

    runs: tuple[str, ...]
    """The names of the runs."""
    settings: dict[str, list[Any]]
    """The settings that differ, by `group.key`, with the value of each run."""
    results: dict[str, tuple[Any, ...]]
    """The fields of Result, with the value of each run."""
    paired: Verdict | None
    """The second run's tuned model against the first one's, on held-out rows of both; `base` is the first. null
    where they share none, or were scored by another metric, and for more than two runs."""
    paired_elsewhere: dict[str, Verdict]
    """The same on each file or data set that both were scored on, by its name."""


def compared(runs: Sequence[Run]) -> ComparisonDocument:
    """The runs' different settings and results. Raises UserError if one of them can't be read."""
    results = [result(run) for run in runs]
    by_name = {key: tuple(getattr(each, key) for each in results) for key in RESULTS}
    verdict, others = paired(*runs) if len(runs) == 2 else (None, {})
    settings = differences([run.recipe() for run in runs])
    return ComparisonDocument(tuple(run.name for run in runs), settings, by_name, verdict, others)


def as_table(document: ComparisonDocument, columns: int = 60) -> str:
    """The comparison as lines, cleaned: two runs side by side, more below each other.

    columns: the most of a name or value. Of a long one the end is shown.
    """
    return _below_each_other(document) if len(document.runs) > 2 else _side_by_side(document, columns)


def _below_each_other(document: ComparisonDocument) -> str:
    """A line for each run: its values of the first settings that differ, and what came of it."""
    shown = list(document.settings)[:MOST_SETTINGS]
    labels = ["RUN", *(clean(key.partition(".")[2]) for key in shown), *COLUMNS.values()]
    rows = [labels]
    for at, name in enumerate(document.runs):
        settings = [_end_of(clean(setting_text(document.settings[key][at])), SETTING_COLUMNS) for key in shown]
        rows.append([clean(name), *settings, *(clean(RESULTS[key][1](document.results[key][at])) for key in COLUMNS)])
    text = table(rows)
    if hidden := list(document.settings)[MOST_SETTINGS:]:
        text += f"\n\nThese differ, too: {clean(', '.join(hidden), 500)}"
    if not document.settings:
        text += "\n\nAll of them have the same settings."
    return f"{text}\n\nWhether one is surely better than another: fitune runs compare, with these two alone."


def _side_by_side(document: ComparisonDocument, columns: int) -> str:
    rows: list[tuple[str, ...]] = [("", *document.runs)]
    rows += [(key, setting_text(one), setting_text(other)) for key, (one, other) in document.settings.items()]
    rows += [("settings", "the same", "")] if not document.settings else []
    rows += [(label, *map(show, document.results[key])) for key, (label, show) in RESULTS.items()]
    text = table([[clean(label), *(_end_of(clean(each), columns) for each in values)] for label, *values in rows])
    return f"{text}\n\n{_which_is_better(document, [clean(name) for name in document.runs])}"


def _end_of(text: str, columns: int) -> str:
    """The end of a text in which the beginning is what many share, as of a run's name or a path."""
    return text if len(text) <= columns else f"..{text[2 - columns :]}"


def _which_is_better(document: ComparisonDocument, names: list[str]) -> str:
    """The second run against the first one on the same rows, or what it would take to compare them."""
    own = [sentence(document.paired, names[0])] if document.paired else []
    others = [sentence(verdict, names[0], name) for name, verdict in document.paired_elsewhere.items()]
    if own or others:
        return "\n\n".join(f"{names[1]} against {names[0]}, on the same rows: {clean(told)}" for told in own + others)
    unscored = [name for name, word in zip(names, document.results["verdict"], strict=True) if word is None]
    why = f"{' and '.join(unscored)} not scored" if unscored else "not scored on the same rows by the same metric"
    commands = " and ".join(f"fitune score {name} --data FILE" for name in names)
    return f"Which is better is not known: {why}. Score both on the same rows: {commands}"


def paired(one: Run, other: Run) -> tuple[Verdict | None, dict[str, Verdict]]:
    """The second run's tuned model against that of the first: on held-out rows of both, and on other rows that both
    were scored on, by the names of their files."""
    first, second = scores.read(one.path), scores.read(other.path)
    own = scores.compared(first, second) if first and second else None
    found = dict[str, Verdict]()
    for before, after in product(scores.elsewhere(one.path), scores.elsewhere(other.path)):
        name = name_of(str(after.source))
        if name not in found and name == name_of(str(before.source)) and (told := scores.compared(before, after)):
            found[name] = told
    return own, found


def differences(recipes: Sequence[Recipe]) -> dict[str, list[Any]]:
    """The settings that differ, as `group.key` with the value of each recipe; a run's name is no setting."""
    first, *others = (recipe.model_dump(mode="json") for recipe in recipes)
    changes: dict[str, list[Any]] = {}
    for group, fields in first.items():
        for key in fields if isinstance(fields, dict) else ():
            values = [fields[key], *(other[group][key] for other in others)]
            if any(value != values[0] for value in values) and (group, key) != ("run", "name"):
                changes[f"{group}.{key}"] = values
    return changes


def result(run: Run) -> Result:
    """The result of a run's training."""
    (status, _), state = run.current(), run.state()
    end, step, memory = state.ends.get("train"), state.step, state.memory
    losses = [loss for _, loss in state.loss.points]
    steps = (event.data for event in Tail(run.events).catch_up())
    paces = [
        step_event.tokens_per_s
        for step_event in steps
        if isinstance(step_event, Step) and step_event.tokens_per_s is not None
    ]
    return Result(
        status=status,
        steps=step.step if step else None,
        train_loss=mean(losses[-max(1, len(losses) // 10) :]) if losses else None,
        eval_loss=state.eval_loss.points[-1][1] if state.eval_loss.points else None,
        delivered_loss=end.eval_loss if isinstance(end, Finished) else None,
        seen_tokens=step.seen_tokens if step else None,
        elapsed_s=end.elapsed_s if isinstance(end, Finished) else None,
        peak_bytes=(memory.peak_device or memory.peak_host) if memory else None,
        tokens_per_s=median(paces) if paces else None,
        verdict=state.word,
        score=state.score.tuned if state.score else None,
    )


def setting_text(setting: Any) -> str:
    """A setting as a recipe has it."""
    return UNKNOWN if setting is None else setting if isinstance(setting, str) else json.dumps(setting)
