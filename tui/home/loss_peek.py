"""The losses of the run in hand, below the list, where there is room for them."""

from textual import work

from fitune.core.errors import UserError
from fitune.core.runs import Run, RunState
from fitune.tui.home.run_rows import RunRow
from fitune.tui.widgets.step_chart import StepChart

ROOMY_ROWS = 34


class LossPeek(StepChart):
    """A thread reads the run; until then nothing is shown."""

    def __init__(self) -> None:
        super().__init__("peek", "loss")
        self._wanted: tuple[Run, int | None] | None = None

    def on_mount(self) -> None:
        self.display = False

    def look(self, row: RunRow | None) -> None:
        """Draw the losses of this run, unless they are drawn already."""
        wanted = (row.run, row.told.step) if row and self.app.size.height >= ROOMY_ROWS else None
        if wanted == self._wanted:
            return
        same_run = wanted and self._wanted and wanted[0] == self._wanted[0]
        self._wanted = wanted
        self.display = bool(self.display and same_run)
        if wanted:
            self.read(*wanted)

    @work(thread=True, exclusive=True, exit_on_error=False, group="peek")
    def read(self, run: Run, step: int | None) -> None:
        try:
            state = run.state()
        except UserError:  # the row of the list tells it
            return
        self.app.call_from_thread(self.draw, (run, step), state)

    def draw(self, read: tuple[Run, int | None], state: RunState) -> None:
        """Draw what was read, unless another run is in hand by now."""
        if read == self._wanted and state.loss.points:
            self.display = True
            self.show(state.loss.points, state.eval_loss.points, state.total_steps)
