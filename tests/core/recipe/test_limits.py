"""When a training stops by the clock."""

import datetime
from collections.abc import Callable
from typing import Any

import pytest

from fitune.core.errors import BadInput
from fitune.core.recipe import Recipe, deadline

ZONE = datetime.timezone(datetime.timedelta(hours=2))
NOW = datetime.datetime(2026, 11, 29, 22, 30, tzinfo=ZONE)


@pytest.mark.parametrize(
    ("run", "trained_s", "at", "says"),
    [
        ({}, 0, None, ""),
        ({"max_hours": 3.0}, 0, "2026-11-30T01:30:00+02:00", "run.max_hours = 3"),
        ({"max_hours": 3.0}, 7200, "2026-11-29T23:30:00+02:00", "run.max_hours = 3"),
        ({"max_hours": 0.5}, 7200, "2026-11-29T22:30:00+02:00", "run.max_hours = 0.5"),
        ({"stop_at": "06:00"}, 0, "2026-11-30T06:00:00+02:00", "run.stop_at = 06:00"),
        ({"stop_at": "23:00"}, 0, "2026-11-29T23:00:00+02:00", "run.stop_at = 23:00"),
        ({"stop_at": "22:30"}, 0, "2026-11-30T22:30:00+02:00", "run.stop_at = 22:30"),
        ({"stop_at": "2027-01-31T06:00"}, 0, "2027-01-31T06:00:00+02:00", "run.stop_at = 2027-01-31T06:00"),
        ({"stop_at": "06:00", "max_hours": 2.0}, 0, "2026-11-30T00:30:00+02:00", "run.max_hours = 2"),
    ],
)
def test_the_first_limit_counts(
    recipe: Callable[..., Recipe], run: dict[str, Any], trained_s: float, at: str | None, says: str
) -> None:
    found = deadline(recipe(run=run).run, NOW, trained_s)
    assert (found and (found[0].isoformat(), found[1])) == (None if at is None else (at, says))


@pytest.mark.parametrize("stop_at", ["6:00", "24:00", "tomorrow", "2027-02-30T06:00", "2027-13-01T06:00", ""])
def test_what_is_no_time_is_refused(recipe: Callable[..., Recipe], stop_at: str) -> None:
    with pytest.raises(BadInput, match=r"run\.stop_at"):
        recipe(run={"stop_at": stop_at})
