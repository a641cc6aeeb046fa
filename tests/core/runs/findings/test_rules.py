"""What the numbers of a training show to be wrong, and that healthy trainings raise no alarm."""

import math
import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from fitune.core.runs import Event, EventData, Memory, RunState, Started, Step, Tail, fold
from fitune.core.runs.findings import findings
from tests.fake_worker import STORIES, made_up

GIB = 1 << 30
Change = Callable[[Step], Step]


def state_of(told: Iterable[EventData], times: Callable[[int], float] = float) -> RunState:
    return fold(Event(number, times(number), "train", data) for number, data in enumerate(told, 1))


def healthy(steps: int, seed: int = 7, noise: float = 0.15, start: float = 2.3, end: float = 0.9) -> list[Step]:
    """A training as many are: a quick fall, then a slow one, with the noise of small batches and borders of epochs."""
    dice = random.Random(seed)
    return [
        Step(
            step=step,
            loss=max(0.01, end + (start - end) * math.exp(-8 * step / steps) + dice.gauss(0, noise * end)),
            lr=2e-4 * min(1, step / 10) * (1 - step / steps),
            grad_norm=0.3 + dice.random(),
            tokens_per_s=9000 * dice.uniform(0.6, 1.2),
        )
        for step in range(1, steps + 1)
    ]


@pytest.mark.parametrize("story", [path.stem for path in sorted(STORIES.glob("*.jsonl"))])
def test_recorded_trainings_raise_no_alarm(story: str) -> None:
    assert findings(fold(Tail(STORIES / f"{story}.jsonl").read())) == ()


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("steps", [5, 60, 300, 5000])
@pytest.mark.parametrize(("start", "end"), [(2.3, 0.9), (1.2, 1.05), (0.8, 0.05), (11.0, 5.0)])
def test_healthy_trainings_raise_no_alarm(seed: int, steps: int, start: float, end: float) -> None:
    assert findings(state_of(healthy(steps, seed, 0.15, start, end))) == ()


@pytest.mark.parametrize("steps", [10, 300, 3000])
def test_the_made_up_training_raises_no_alarm(steps: int) -> None:
    assert findings(state_of(made_up(steps))) == ()


def changed(steps: int, from_step: int, change: Change) -> RunState:
    return state_of(change(each) if each.step >= from_step else each for each in healthy(steps))


@pytest.mark.parametrize(
    ("kind", "state", "said"),
    [
        ("divergence", changed(300, 250, lambda s: replace(s, loss=4.0)), "is 4.00 in the last 20"),
        ("spike", changed(300, 300, lambda s: replace(s, loss=9.0)), "It was 9.00"),
        ("plateau", changed(300, 1, lambda s: replace(s, loss=2.3)), "first 10 steps, and is 2.300 after 299"),
        ("gradient", changed(300, 270, lambda s: replace(s, grad_norm=80.0)), "Its length is 80.0"),
        ("gradient", changed(300, 270, lambda s: replace(s, grad_norm=1e-6)), "1.0e-06"),
        ("pace", changed(300, 270, lambda s: replace(s, tokens_per_s=1000.0)), "takes 1,000"),
    ],
)
def test_what_is_wrong_is_found_with_its_numbers(kind: str, state: RunState, said: str) -> None:
    (found,) = [each for each in findings(state) if each.kind == kind]
    assert said in found.evidence
    assert all((found.symptom, found.cause, found.remedy))
    assert found.symptom in found.text


def test_a_remedy_is_half_of_the_highest_rate() -> None:
    (found,) = findings(changed(300, 250, lambda step: replace(step, loss=4.0)))
    assert found.set == {"train.lr": pytest.approx(1e-4, rel=0.1)}


@pytest.mark.parametrize(("after", "found"), [(1.0, False), (0.15, True), (2.4, True)])
def test_a_jump_at_a_resume_is_found(after: float, found: bool) -> None:
    before = [Step(step=step, loss=1.0) for step in range(1, 31)]
    told: list[EventData] = [*before, Started(resumed_from=25)]
    told += [Step(step=step, loss=after) for step in range(26, 60)]
    assert ("resume" in {each.kind for each in findings(state_of(told))}) == found


def test_memory_that_grows_without_end_is_found_and_a_step_up_is_not() -> None:
    def measured(device: Callable[[int], float]) -> RunState:
        return state_of(Memory(step=step, device=int(device(step) * GIB), predicted=None) for step in range(1, 200, 5))

    assert [each.kind for each in findings(measured(lambda step: 8 + step / 20))] == ["memory"]
    assert findings(measured(lambda step: 8 + 4 * (step > 30))) == ()
    assert findings(measured(lambda step: 8 + 4 * (step > 180))) == ()


@pytest.mark.parametrize(("busy", "kinds"), [(12, ["idle"]), (85, [])])
def test_a_card_that_waits_is_found(busy: int, kinds: list[str]) -> None:
    told = [Memory(step=step, busy_percent=busy, predicted=None) for step in range(1, 40)]
    assert [each.kind for each in findings(state_of(told))] == kinds


@pytest.mark.parametrize(("peak_gib", "high_gib", "is_told"), [(4.6, 3.6, True), (3.5, 3.6, False), (4.6, None, False)])
@pytest.mark.parametrize("on_card", [True, False])
def test_a_peak_above_the_upper_bound_of_the_prediction_is_told(
    on_card: bool, peak_gib: float, high_gib: float | None, is_told: bool
) -> None:
    high = None if high_gib is None else round(high_gib * GIB)
    peak, host = (round(peak_gib * GIB), 64 * GIB) if on_card else (None, round(peak_gib * GIB))
    memory = Memory(predicted=round(2.8 * GIB), predicted_high=high, peak_device=peak, peak_host=host)
    found = findings(state_of([memory]))
    assert [each.kind for each in found] == ["prediction"] * is_told
    if is_told:
        assert found[0].evidence == "4.6 GiB at its peak; the prediction was 2.8 GiB, 3.6 at most."


@pytest.mark.parametrize(
    ("memory", "kind"),
    [
        (Memory(others=10 * GIB, predicted=None), "shared"),
        (Memory(throttled="too hot (hardware)", temperature_c=91, predicted=None), "throttled"),
        (Memory(others=GIB // 4, predicted=None), None),
    ],
)
def test_the_card_is_told(memory: Memory, kind: str | None) -> None:
    assert [each.kind for each in findings(state_of([memory]))] == ([kind] if kind else [])


def test_a_clock_that_was_set_back_is_told() -> None:
    state = state_of(healthy(10), lambda number: 1e9 + number - (7200 if number > 5 else 0))
    (found,) = findings(state)
    assert found.kind == "clock"
    assert "7,199" in found.evidence


def test_findings_of_long_trainings_are_quick(tmp_path: Path) -> None:
    import time

    state = state_of(healthy(20_000))
    began = time.process_time()
    findings(state)
    assert time.process_time() - began < 0.5
