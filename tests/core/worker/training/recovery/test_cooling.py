"""A card that is too hot waits between two steps."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fitune.core.runs import EventLog, Recovered, Warned
from fitune.core.runs.run import Run
from tests.events import data_of


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that a pause has slept."""
    slept: list[float] = []
    monkeypatch.setattr("fitune.core.worker.training.recovery.cooling.time.sleep", slept.append)
    return slept


def steps(tmp_path: Path, degrees: list[int | None], count: int) -> None:
    """Take steps of a run that pauses above 80 degrees. degrees: what the card says at each look."""
    from fitune.core.worker.training.recovery.cooling import Cooling

    looks: Iterator[int | None] = iter(degrees)
    memory: Any = SimpleNamespace(temperature_c=lambda: next(looks))
    cooling = Cooling(Run(tmp_path), EventLog(tmp_path / "events.jsonl", "train"), memory, 80)
    for step in range(1, count + 1):
        cooling.on_step_end(None, SimpleNamespace(global_step=step), None)
    assert next(looks, "none left") == "none left"


def test_it_waits_until_it_is_cooler_by_10_degrees_and_tells_it_once(tmp_path: Path, waits: list[float]) -> None:
    steps(tmp_path, [80, 84, 82, 71, 70, 85, 70], 3)
    assert waits == [2.0, 2.0]
    (told,) = data_of(tmp_path / "events.jsonl", Warned)
    assert "84 °C after step 2: the training pauses until it has 70 °C" in told.message
    (back,) = data_of(tmp_path / "events.jsonl", Recovered)
    assert back.message.startswith("The card has cooled down after ")


def test_a_stop_ends_the_pause(tmp_path: Path, waits: list[float]) -> None:
    (tmp_path / "stop").touch()
    steps(tmp_path, [90, 90], 1)
    assert waits == []


@pytest.mark.parametrize("degrees", [None, 80])
def test_a_card_that_is_cool_or_says_nothing_goes_on(tmp_path: Path, waits: list[float], degrees: int | None) -> None:
    steps(tmp_path, [degrees], 1)
    assert waits == []
    assert not data_of(tmp_path / "events.jsonl", Warned)
