"""The limits of a training in time: run.max_hours and run.stop_at."""

import datetime
import re

from fitune.core.recipe.fields import Run

TIME_OF_DAY = r"([01]\d|2[0-3]):[0-5]\d"
HOUR_S = 3600.0


def deadline(run: Run, now: datetime.datetime, trained_s: float) -> tuple[datetime.datetime, str] | None:
    """The time at which a training stops, and the field that says so; None if there is no limit.

    now: the time of the start, with its zone. trained_s: the seconds that it was trained before, in earlier parts.
    """
    ends = []
    if run.max_hours is not None:
        left_s = max(0.0, run.max_hours * HOUR_S - trained_s)
        ends.append((now + datetime.timedelta(seconds=left_s), f"run.max_hours = {run.max_hours:g}"))
    if run.stop_at is not None:
        ends.append((next_time(run.stop_at, now), f"run.stop_at = {run.stop_at}"))
    return min(ends, default=None)


def next_time(stop_at: str, now: datetime.datetime) -> datetime.datetime:
    """The next such time of day, or the date and time, in the zone of now. stop_at: as in run.stop_at."""
    if not re.fullmatch(TIME_OF_DAY, stop_at):
        return datetime.datetime.fromisoformat(stop_at).replace(tzinfo=now.tzinfo)
    hours, minutes = map(int, stop_at.split(":"))
    at = now.replace(hour=hours, minute=minutes, second=0, microsecond=0)
    return at if at > now else at + datetime.timedelta(days=1)
