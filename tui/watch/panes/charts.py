"""The charts of a run: a large one, of the loss or what was chosen; where there is room small ones, and the recipe."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from textual.app import ComposeResult
from textual.containers import Container, Horizontal, Vertical

from fitune.core.machine import GpuSample
from fitune.core.runs import RunInfo, RunState
from fitune.core.units import GIB
from fitune.tui.watch.panes.recipe_text import recipe_lines
from fitune.tui.widgets.readouts import Readout
from fitune.tui.widgets.step_chart import Points, StepChart

ROOMY_COLUMNS, ROOMY_ROWS, WIDE_COLUMNS = 116, 38, 160
"""From this size on there is room for the history of other numbers than the loss; wide: for four in a row."""
OF_STEPS = {
    "loss": "loss",
    "margin": "margin of rewards",
    "lr": "learning rate",
    "grad-norm": "gradient norm",
    "pace": "tokens/s",
    "memory-used": "memory, GiB",
}
OF_THE_CARD = {"busy": "card, % busy", "heat": "card, °C", "power": "card, W"}
"""The charts over the seconds since the screen was opened: a run does not record its card."""
LARGE_ROWS, SMALL_ROWS = 9, 6
"""Rows that the large chart keeps, and those of a small one."""
SMALL = {name: title for name, title in (OF_STEPS | OF_THE_CARD).items() if name != "loss"}
SPANS = (1.0, 0.5, 0.25, 0.1)
"""The share of the steps up to now that the large chart shows."""
MOST_SAMPLES = 1800


@dataclass(frozen=True, slots=True)
class History:
    """What a chart draws."""

    title: str
    points: Points
    held_out: Points = ()
    unit: str = "step"


class Charts(Horizontal):
    """Draws what it is shown; `z` puts the next chart in the large place, + and - show a part of the steps."""

    state = RunState()
    total_steps: int | None = None

    def __init__(self) -> None:
        super().__init__(id="charts")
        self._card: list[tuple[int, GpuSample]] = []
        self._large, self._span = "loss", 0

    def compose(self) -> ComposeResult:
        with Vertical():
            yield StepChart("chart", "loss")
            with Container(id="small-charts"):
                yield from (StepChart(name, title) for name, title in SMALL.items())
        with Vertical(id="beside"):
            yield Readout("recipe")

    def show_recipe(self, info: RunInfo, changes: Mapping[str, object]) -> None:
        """Show the fields of the recipe beside the charts, where there is room."""
        self.query_one("#recipe", Readout).say(recipe_lines(info.recipe, changes))

    def add_sample(self, seconds: float, samples: Sequence[GpuSample]) -> None:
        """Keep a reading of the first card."""
        if samples:
            self._card = [*self._card[-MOST_SAMPLES:], (round(seconds), samples[0])]

    def show(self, state: RunState, total_steps: int | None) -> None:
        """Draw the numbers of a run up to now."""
        self.state, self.total_steps = state, total_steps
        size, histories = self.app.size, dict(self.histories())
        is_roomy = size.width >= ROOMY_COLUMNS and size.height >= ROOMY_ROWS
        self.set_class(is_roomy, "-roomy")
        self.set_class(size.width >= WIDE_COLUMNS, "-wide")
        self._draw_large(histories[self._large])
        in_a_row = 4 if size.width >= WIDE_COLUMNS else 3
        room = in_a_row * max(0, (self.size.height - LARGE_ROWS) // SMALL_ROWS) if is_roomy else 0
        known = [name for name in SMALL if histories[name].unit == "step" or self._card]
        known = [name for name in known if name != "margin" or histories[name].points]  # where answers are compared
        small = self.query_one("#small-charts")
        small.display = room > 0
        for chart in small.query(StepChart):
            history = histories[str(chart.id)]
            chart.display = chart.id in known[:room]
            if chart.display:
                last = total_steps if history.unit == "step" else None
                chart.show(history.points, (), last, history.title, history.unit)

    def on_resize(self) -> None:
        self.show(self.state, self.total_steps)

    def _draw_large(self, history: History) -> None:
        points, held_out, last = history.points, history.held_out, self.total_steps
        share = SPANS[self._span]
        if share < 1 and points:
            first = points[-1][0] - share * (points[-1][0] - points[0][0])
            points, held_out = ([point for point in each if point[0] >= first] for each in (points, held_out))
            last = None
        title = history.title if share == 1 else f"{history.title}, the last {100 * share:.0f} %"
        self.query_one("#chart", StepChart).show(
            points, held_out, last if history.unit == "step" else None, title, history.unit
        )

    def histories(self) -> Iterator[tuple[str, History]]:
        """Each chart's name and what it draws."""
        state = self.state
        of_steps: dict[str, Points] = {
            "loss": state.loss.points,
            "margin": state.margin.points,
            "lr": state.lr.points,
            "grad-norm": state.grad_norm.points,
            "pace": state.tokens_per_s.points,
            "memory-used": [(step, used / GIB) for step, used in state.memory_bytes.points],
        }
        held_out = {"loss": state.eval_loss.points, "margin": state.eval_margin.points}
        for name, points in of_steps.items():
            yield name, History(OF_STEPS[name], points, held_out.get(name, ()))
        for name, title in OF_THE_CARD.items():
            values = ((seconds, _reading(name, sample)) for seconds, sample in self._card)
            yield name, History(title, [(at, value) for at, value in values if value is not None], (), "second")

    def next_chart(self) -> None:
        """Put the next chart that has something to draw in the large place."""
        known = [name for name, history in self.histories() if history.points or name == "loss"]
        at = known.index(self._large) if self._large in known else -1
        self._large = known[(at + 1) % len(known)]
        self.show(self.state, self.total_steps)

    def zoom(self, step: int) -> None:
        """Show less of the steps (1) or more (-1)."""
        self._span = min(len(SPANS) - 1, max(0, self._span + step))
        self.show(self.state, self.total_steps)


def _reading(name: str, sample: GpuSample) -> float | None:
    match name:
        case "busy":
            return sample.utilisation_percent
        case "heat":
            return sample.temperature_c
    return sample.power_w
