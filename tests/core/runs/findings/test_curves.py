"""What the course of the losses tells, and that healthy courses raise no alarm."""

import math
import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from fitune.core.runs import Eval, EventData, Finished, Phase, RunState, Step
from fitune.core.runs.findings import Finding, findings
from tests.core.runs.findings.test_rules import state_of

Course = Callable[[float], float]
"""A loss by the share of the training that is done."""
RATE = 2e-4


def training(
    trained: Course, held_out: Course, steps: int = 200, every: int = 20, noise: float = 0.05, epochs: int = 4
) -> RunState:
    """A training to its end, with looks at the held-out rows, the first before it."""
    dice = random.Random(steps)
    told: list[EventData] = [Phase(name="train", total_steps=steps, epochs=epochs), Eval(step=0, loss=held_out(0))]
    for step in range(1, steps + 1):
        done = step / steps
        loss = trained(done) * (1 + dice.gauss(0, noise))
        told.append(Step(step=step, loss=loss, lr=RATE * (1 - done), epoch=epochs * done, grad_norm=0.5))
        if step % every == 0:
            told.append(Eval(step=step, loss=held_out(done) * (1 + dice.gauss(0, 0.005))))
    told.append(Finished(steps=steps, total_steps=steps))
    return state_of(told)


def falls(start: float, end: float, speed: float = 8) -> Course:
    return lambda done: end + (start - end) * math.exp(-speed * done)


def kinds(state: RunState) -> list[str]:
    return [found.kind for found in findings(state)]


def the(kind: str, state: RunState) -> Finding:
    (found,) = [each for each in findings(state) if each.kind == kind]
    assert all((found.symptom, found.evidence, found.cause, found.remedy))
    return found


@pytest.mark.parametrize("noise", [0.02, 0.15, 0.25])
@pytest.mark.parametrize("steps", [20, 60, 200, 1000])
@pytest.mark.parametrize(
    ("trained", "held_out"),
    [
        (falls(2.3, 0.9), falls(2.3, 0.95)),
        (falls(1.4, 0.75), falls(1.4, 0.82)),
        (falls(5.2, 0.02), falls(5.2, 0.03)),  # an easy task, learnt
        (falls(1.2, 0.5), lambda done: 0.85 + 0.3 * math.exp(-12 * done) + 0.02 * done),  # it no longer gets better
        (falls(2.0, 1.0), falls(1.2, 0.6)),  # the held-out rows are easier, from the start
        (falls(12.5, 5.4), falls(12.5, 6.4)),
    ],
)
def test_healthy_courses_raise_no_alarm(trained: Course, held_out: Course, steps: int, noise: float) -> None:
    assert kinds(training(trained, held_out, steps, max(5, steps // 10), noise)) == []


def test_overfitting_is_told_with_the_step_and_fewer_epochs() -> None:
    found = the("overfitting", training(falls(2, 0.3), lambda done: 1.0 + 2 * (done - 0.3) ** 2))
    assert found.step == 60
    assert "risen from 1.0" in found.evidence
    assert found.set == {"train.epochs": 1}


def test_overfitting_in_the_first_epoch_asks_for_a_lower_rate() -> None:
    state = training(falls(2, 0.3), lambda done: 1.0 + 2 * (done - 0.3) ** 2, epochs=1)
    assert the("overfitting", state).set == {"train.lr": pytest.approx(RATE / 2, rel=0.02)}


def test_a_single_bad_look_is_no_overfitting() -> None:
    state = training(falls(2, 0.7), lambda done: 1.3 if done == 1 else falls(2, 0.8)(done))
    assert kinds(state) == []


def test_rows_known_by_heart_are_told() -> None:
    found = the("memorised", training(falls(2, 0.01), lambda done: 1.0 + 2 * (done - 0.3) ** 2))
    assert "held-out rows 1.9" in found.evidence or "held-out rows 2.0" in found.evidence
    assert found.set == {"train.epochs": 1}


def test_held_out_rows_among_the_training_rows_are_told() -> None:
    """They are seen once more often than the training loss shows."""
    found = the("leak", training(falls(2, 0.8), falls(2, 0.4)))
    assert "held-out" in found.symptom
    assert not found.set


def test_a_training_that_ends_too_early_is_told() -> None:
    steady: Course = lambda done: 3 * math.exp(-done)  # noqa: E731
    assert the("too short", training(steady, steady)).set == {"train.epochs": 8}
    told: list[EventData] = [Phase(name="train", total_steps=200, epochs=4)]
    told += [Step(step=step, loss=steady(step / 200), epoch=step / 200) for step in range(1, 201)]
    told += [Eval(step=step, loss=steady(step / 200)) for step in (150, 175, 200)]
    assert the("too short", state_of(told)).set == {"train.max_steps": 400}


def test_nothing_is_too_short_before_its_end() -> None:
    steady: Course = lambda done: 3 * math.exp(-done)  # noqa: E731
    state = training(steady, steady)
    state.phase = Phase(name="train", total_steps=400, epochs=4)
    assert "too short" not in kinds(state)


def test_noise_is_told_as_such() -> None:
    found = the("noise", training(lambda _: 1.0, falls(1.2, 0.9), noise=0.6))
    assert "train.grad_accum" in found.remedy


def test_steps_after_the_end_of_the_schedule_are_told() -> None:
    told = [Step(step=step, loss=2.3 - step / 300, lr=RATE * max(0, 1 - step / 200)) for step in range(1, 301)]
    found = the("schedule", state_of(told))
    assert "since step 198" in found.evidence
    assert found.set == {"train.max_steps": 300}
    assert "schedule" not in kinds(state_of(told[:240]))


def test_the_losses_of_a_race_are_those_of_several_trainings_and_tell_nothing() -> None:
    overfits = training(falls(1.2, 0.1), lambda done: 0.8 + 1.2 * done)
    assert kinds(overfits)
    assert findings(replace(overfits, job="tune-lr")) == ()
