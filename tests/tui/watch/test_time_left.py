"""The time left of trainings that were never made: noisy steps, rows of wildly different lengths, pauses."""

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from statistics import median

import pytest

from bench import time_left
from fitune.core.intervals import checkpoint_s
from fitune.core.runs import Checkpoint, Eval, Event, EventData, Phase, Sample, Started, Step
from fitune.tui.watch.progress import ADAPTER_S, SURE_AFTER_STEPS, RunProgress

RECORDED = sorted((Path(time_left.__file__).parent / "results").glob("time_left_h200_*.jsonl"))


def training(
    seed: int, *, steps: int, fixed_s: float, token_s: float, noise: float, eval_tokens: int = 0, every: int = 20
) -> Iterator[tuple[float, EventData]]:
    """(seconds, event) of a training with rows of 100 to 8,000 tokens, whose first steps compile kernels."""
    dice = random.Random(seed)
    tokens = [sum(int(100 * 80 ** dice.random()) for _ in range(8)) for _ in range(steps)]
    seen = list(accumulate(tokens))
    t = 30.0
    yield 0.0, Started(device="a card")
    yield t - 3, Phase(name="sample")
    evals = every if eval_tokens else None
    plan = Phase(name="train", total_steps=steps, tokens=seen[-1], eval_every=evals, eval_tokens=eval_tokens)
    yield t, replace(plan, save_every=every)
    for step in range(1, steps + 1):
        step_s = (fixed_s + token_s * tokens[step - 1]) * dice.gauss(1, noise) + 12 / step**3
        t += step_s + 0.01
        yield t, Step(step=step, loss=1.0, seen_tokens=seen[step - 1], step_s=step_s)
        if step % every == 0 or step == steps:
            if eval_tokens:
                eval_s = 0.45 * token_s * eval_tokens
                t += eval_s
                yield t, Eval(step=step, loss=1.0, elapsed_s=eval_s)
            t += 0.8
            yield t, Checkpoint(step=step)
    yield t, Phase(name="save")
    yield t + 0.4, Phase(name="sample")
    yield t + 3.4, Sample(step=steps, prompt="", after="")


def errors(seed: int, after: int, **how: float) -> float:
    """The error of the time left after so many steps, as a share of the time that was really left."""
    events = list(training(seed, **how))  # type: ignore[arg-type]
    end, progress = events[-1][0], RunProgress()
    for number, (t, data) in enumerate(events):
        progress.apply(Event(number, t, "train", data))
        if isinstance(data, Step) and data.step == after:
            left = progress.time_left.seconds()
            assert left is not None
            return left / (end - t) - 1
    raise AssertionError("so many steps there are not")


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(
    "kind",
    [
        {"fixed_s": 0.0, "token_s": 1e-4, "noise": 0.06},
        {"fixed_s": 0.3, "token_s": 5e-5, "noise": 0.06},
        {"fixed_s": 2.0, "token_s": 0.0, "noise": 0.06},
        {"fixed_s": 0.1, "token_s": 1e-4, "noise": 0.05, "eval_tokens": 100_000},
        {"fixed_s": 0.0, "token_s": 1e-4, "noise": 0.06, "eval_tokens": 200_000, "every": 8},
    ],
)
@pytest.mark.parametrize("steps", [100, 1000])
def test_after_20_steps_the_time_left_is_right_within_5_percent(seed: int, kind: dict[str, float], steps: int) -> None:
    assert abs(errors(seed, SURE_AFTER_STEPS, steps=steps, **kind)) < 0.05


def test_what_is_due_at_the_newest_step_itself_counts_until_it_is_seen() -> None:
    """An event of a step is written before its evaluation and its checkpoint."""
    progress, t = RunProgress(), 0.0
    plan = Phase(name="train", total_steps=40, tokens=40, eval_every=20, eval_tokens=1, save_every=10)
    events: list[tuple[float, EventData]] = [(0.0, Started()), (t, plan)]
    for step in range(1, 41):
        t += 1
        events.append((t, Step(step=step, loss=1.0, seen_tokens=step, step_s=1.0)))
        for every, seconds, pause in ((20, 4, Eval(step=step, loss=1.0)), (10, 3, Checkpoint(step=step))):
            if step % every == 0:
                t += seconds
                events.append((t, pause))
    told = []
    for number, (at, data) in enumerate(events):
        progress.apply(Event(number, at, "train", data))
        if isinstance(data, Step | Checkpoint) and data.step >= 30:
            told.append((progress.time_left.seconds(), events[-1][0] - at + ADAPTER_S))
    assert [left for left, _ in told] == pytest.approx([true for _, true in told])


@pytest.mark.parametrize(("apart_s", "saves"), [(None, 4), (30.0, 2)])
def test_checkpoints_that_come_by_the_clock_are_counted_by_the_time_that_is_left(
    apart_s: float | None, saves: int
) -> None:
    plan = Phase(name="train", total_steps=60, save_every=10, save_apart_s=apart_s, checkpoint_bytes=500_000_000)
    events: list[EventData] = [Started(), plan, *(Step(step=step, loss=1.0, step_s=1.0) for step in range(1, 22))]
    progress = RunProgress()
    for number, data in enumerate(events):
        progress.apply(Event(number, float(number), "train", data))
    assert progress.time_left.seconds() == pytest.approx(39 + saves * checkpoint_s(500_000_000) + ADAPTER_S)


def test_recorded_trainings_are_told_their_end_after_20_steps() -> None:
    """Most shared their card, its processor or its disk with others, whose coming and going nobody can tell."""
    found = {}
    for run, raw in (each for path in RECORDED for each in time_left.recordings(path)):
        replayed = time_left.replay(run, time_left.events_of(raw))
        assert replayed is not None
        found[run] = abs(replayed.error)
    assert len(found) == 19
    assert found["8b-alone"] < 0.02
    assert median(found.values()) < 0.08
    assert median(found[run] for run in ("8b-default-1", "8b-default-2", "epoch-default-1")) < 0.03


def test_the_look_before_the_first_step_is_an_upper_bound_until_a_later_one_was_seen() -> None:
    """Of an 8B on short rows: 27 rows, one after another, take 0.11 s each; the first time they compile kernels."""
    progress, t = RunProgress(), 40.0
    plan = Phase(name="train", total_steps=900, tokens=900 * 1600, eval_every=90, eval_tokens=27 * 200, save_every=90)
    events: list[tuple[float, EventData]] = [(0.0, Started()), (30.0, plan)]
    events.append((t, Eval(step=0, loss=1.0, rows=27, elapsed_s=8.0)))
    for step in range(1, 31):
        t += 0.24
        events.append((t, Step(step=step, loss=1.0, seen_tokens=1600 * step, step_s=0.24)))
    for number, (at, data) in enumerate(events):
        progress.apply(Event(number, at, "train", data))
    left, true = progress.time_left.seconds(), 870 * 0.24 + 10 * (27 * 0.11 + 0.5)
    assert left == pytest.approx(true, rel=0.05)


def test_the_first_steps_compile_kernels_and_do_not_count() -> None:
    found = [errors(seed, 10, steps=200, fixed_s=0.3, token_s=5e-5, noise=0.05) for seed in range(12)]
    assert max(map(abs, found)) < 0.15


def test_a_run_of_an_older_version_that_tells_no_tokens_is_told_by_its_steps() -> None:
    progress, t = RunProgress(), 0.0
    progress.apply(Event(1, t, "train", Phase(name="train", total_steps=100)))
    for step in range(1, 41):
        t += 60.0 if step <= 3 else 1.0
        progress.apply(Event(step, t, "train", Step(step=step, loss=1.0)))
    assert progress.time_left.seconds() == pytest.approx(60 + ADAPTER_S)
    assert progress.left() == "1 min 00 s left"


def test_an_earlier_session_does_not_count_and_two_steps_are_needed() -> None:
    progress = RunProgress()
    plan = Phase(name="train", total_steps=100)
    events: list[tuple[float, EventData]] = [(0.0, plan), (60.0, Step(step=30, loss=1.0))]
    events += [(61.0, Step(step=31, loss=1.0)), (99.0, Started()), (100.0, plan), (500.0, Step(step=31, loss=1.0))]
    for number, (t, data) in enumerate(events):
        progress.apply(Event(number, t, "train", data))
    assert progress.left() == ""
    progress.apply(Event(9, 502.0, "train", Step(step=32, loss=1.0)))
    assert progress.left() == "about 2 min 16 s left"


def test_each_training_of_a_race_has_its_own_time_left() -> None:
    progress, t, number = RunProgress(), 100.0, 0
    for _ in range(3):
        t += 5
        for data in (Phase(name="race"), Phase(name="train", total_steps=12, tokens=1200)):
            progress.apply(Event(number, t, "tune-lr", data))
        for step in range(1, 13):
            t += 2.0
            progress.apply(Event(number, t, "tune-lr", Step(step=step, loss=1.0, seen_tokens=100 * step, step_s=2.0)))
            if 2 <= step < 12:
                assert progress.time_left.seconds() == pytest.approx(2.0 * (12 - step) + ADAPTER_S)
