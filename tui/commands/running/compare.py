"""`fitune runs compare A B`: what was set differently, and what came of it."""

import argparse
import json
from collections.abc import Callable
from statistics import mean, median
from typing import Any

from fitune.core import runs
from fitune.core.errors import ExitCode
from fitune.core.recipe import Recipe
from fitune.core.runs import Run, Tail
from fitune.tui.text import UNKNOWN, as_ascii_json, clean, count, duration, gib, number, rate, table
from fitune.tui.watch.ending import value

RESULTS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "status": ("status", str),
    "steps": ("steps", count),
    "train_loss": ("training loss, last tenth", number),
    "eval_loss": ("held-out loss, last", number),
    "seen_tokens": ("tokens seen", count),
    "elapsed_s": ("time", duration),
    "peak_bytes": ("memory at the peak", gib),
    "tokens_per_s": ("pace, median", rate),
}
"""What is shown of a run's training, under which name, and how."""


def run(args: argparse.Namespace) -> int:
    """Print both side by side, or with --json {"runs", "settings", "results"}. Exit status 0."""
    home = runs.home()
    pair = [runs.find(home, each) for each in args.runs]
    settings = differences(pair[0].recipe(), pair[1].recipe())
    results = [result(each) for each in pair]
    if args.json:
        names = [each.name for each in pair]
        by_name = {key: [each[key] for each in results] for key in RESULTS}
        print(as_ascii_json({"runs": names, "settings": settings, "results": by_name}))
        return ExitCode.DONE
    rows = [("", pair[0].name, pair[1].name)]
    rows += [(key, said(one), said(other)) for key, (one, other) in settings.items()]
    rows += [("settings", "the same", "")] if not settings else []
    rows += [(label, show(results[0][key]), show(results[1][key])) for key, (label, show) in RESULTS.items()]
    print(table([[clean(text, 60) for text in row] for row in rows]))
    return ExitCode.DONE


def differences(one: Recipe, other: Recipe) -> dict[str, list[Any]]:
    """The settings that differ, as `group.key` with both values; a run's name is no setting."""
    first, second = one.model_dump(mode="json"), other.model_dump(mode="json")
    found: dict[str, list[Any]] = {}
    for group, fields in first.items():
        if isinstance(fields, dict):
            keys = [key for key in fields if fields[key] != second[group][key] and (group, key) != ("run", "name")]
            found |= {f"{group}.{key}": [fields[key], second[group][key]] for key in keys}
    return found


def result(run: Run) -> dict[str, Any]:
    """How a run's training went, in plain numbers by the keys of RESULTS; None is unknown."""
    (status, _), state = run.look(), run.state()
    ended = state.ends["train"].data if "train" in state.ends else {}
    losses = [loss for _, loss in state.loss.points]
    paces = [value(event.data, "tokens_per_s") for event in Tail(run.events).catch_up() if event.type == "step"]
    known = [pace for pace in paces if pace is not None]
    return {
        "status": status,
        "steps": value(state.step, "step"),
        "train_loss": mean(losses[-max(1, len(losses) // 10) :]) if losses else None,
        "eval_loss": state.eval_loss.points[-1][1] if state.eval_loss.points else None,
        "seen_tokens": value(state.step, "seen_tokens"),
        "elapsed_s": value(ended, "elapsed_s"),
        "peak_bytes": value(state.memory, "peak_device") or value(state.memory, "peak_host"),
        "tokens_per_s": median(known) if known else None,
    }


def said(setting: Any) -> str:
    """A setting as a recipe has it."""
    return UNKNOWN if setting is None else setting if isinstance(setting, str) else json.dumps(setting)
