"""The forecast time of a training in words."""

from typing import TYPE_CHECKING

from fitune.tui.text.format import duration

if TYPE_CHECKING:  # `fitune --help` needs no forecast
    from fitune.core.forecast import Duration


def training_time(found: "Duration") -> str:
    """A time with its bounds and parts: `about 2 min 10 s, from 1 min 30 s to 4 min 00 s: 40 s to start, ...`."""
    parts = f"{duration(found.start_s)} to start, {duration(found.steps_s)} of steps, "
    parts += f"{duration(found.pauses_s)} of checks and saving"
    return f"about {duration(found.total_s)}, from {duration(found.low_s)} to {duration(found.high_s)}: {parts}"
