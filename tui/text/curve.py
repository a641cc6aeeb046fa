"""A curve in one line of text: a bar for each stretch of values."""

from collections.abc import Sequence
from statistics import fmean

BARS = "▁▂▃▄▅▆▇█"
ASCII_BARS = "_.-=+*#@"


def curve(values: Sequence[float], lowest: float, highest: float, width: int = 16, unicode: bool = True) -> str:
    """Values as at most `width` bars between two bounds; the bars of several curves compare if their bounds are the
    same. unicode: the terminal shows it."""
    bars = BARS if unicode else ASCII_BARS
    cells = min(width, len(values))
    stretches = [values[cell * len(values) // cells : (cell + 1) * len(values) // cells] for cell in range(cells)]
    span = (highest - lowest) or 1.0
    heights = [round((fmean(each) - lowest) / span * (len(bars) - 1)) for each in stretches]
    return "".join(bars[min(len(bars) - 1, max(0, height))] for height in heights)
