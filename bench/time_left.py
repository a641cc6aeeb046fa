"""The time left that is told after 20 steps, against what passed: recorded trainings are played again, event by event.

usage: python bench/time_left.py RUN/events.jsonl ... [--keep FILE.jsonl]     or: ... FILE.jsonl, as --keep writes it
--keep writes the numbers of each training, without its texts. Trainings of less than 40 steps are left out, those that
were stopped or recovered from a fault, and those of older versions, whose events do not say what comes. A training ends
before its score, which is told apart.
"""

import argparse
import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fitune.core.runs import Event, Finished, Phase, Recovered, Started, Step
from fitune.core.runs.event_log import parse_line
from fitune.tui.watch.progress import SURE_AFTER_STEPS, RunProgress

LEAST_STEPS = 40
AFTER = ("score", "pairs", "probe")
"""Phases that come after a training, in its job."""
Raw = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Replayed:
    """The time left of one training after 20 steps."""

    run: str
    steps: int
    told_s: float
    true_s: float

    @property
    def error(self) -> float:
        """Above 0: more was told than passed."""
        return self.told_s / self.true_s - 1


def replay(run: str, events: Sequence[Event]) -> Replayed | None:
    """The time left after 20 steps of a training's last session; None if it is none of those that count."""
    starts = [index for index, event in enumerate(events) if isinstance(event.data, Started)]
    session = events[starts[-1] :] if starts else events
    steps = [event for event in session if isinstance(event.data, Step)]
    end = next((event for event in session if isinstance(event.data, Finished) and not event.data.stopped), None)
    if len(steps) < LEAST_STEPS or end is None:
        return None
    recovered = any(isinstance(event.data, Recovered) and event.t > steps[0].t for event in session)
    scored = [event.t for event in session if isinstance(event.data, Phase) and event.data.name in AFTER]
    end_t = max(event.t for event in session if event.t < scored[0]) if scored else end.t
    progress, sure = RunProgress(), steps[SURE_AFTER_STEPS - 1]
    for event in session[: session.index(sure) + 1]:
        progress.apply(event)
    told_s, plan = progress.time_left.seconds(), progress.time_left.plan
    if recovered or told_s is None or plan.tokens is None or plan.total_steps != len(steps):
        return None
    return Replayed(run, len(steps), told_s, end_t - sure.t)


def recordings(path: Path) -> Iterator[tuple[str, list[Raw]]]:
    """The trainings in a file, each with its events as they stand there."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    if "events" in lines[0]:
        yield from ((line["run"], line["events"]) for line in lines)
    else:
        yield path.parent.name, [line for line in lines if line["job"] == "train"]


def events_of(raw: Sequence[Raw]) -> list[Event]:
    """The events, as a reader of a run gets them."""
    return [event for each in raw if (event := parse_line(json.dumps(each).encode()))]


def numbers_of(raw: Sequence[Raw]) -> list[Raw]:
    """The events that tell of progress, without their texts."""
    kept = [each for each in raw if each["type"] != "memory"]
    return [
        {**each, "data": {key: value for key, value in each["data"].items()
                          if isinstance(value, int | float) or key == "name"}}
        for each in kept
    ]  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("files", nargs="+", type=Path)
    options.add_argument("--keep", type=Path)
    args = options.parse_args()
    errors = []
    for run, raw in (each for path in args.files for each in recordings(path)):
        if (replayed := replay(run, events_of(raw))) is None:
            continue
        errors.append(abs(replayed.error))
        print(json.dumps({**asdict(replayed), "error": round(replayed.error, 4)}))
        if args.keep:
            with args.keep.open("a") as file:
                file.write(json.dumps({"run": run, "events": numbers_of(raw)}, separators=(",", ":")) + "\n")
    if errors:
        summary = {"runs": len(errors), "median": statistics.median(errors), "worst": max(errors)}
        print(json.dumps({**summary, "within_5_percent": sum(error <= 0.05 for error in errors)}))


if __name__ == "__main__":
    main()
