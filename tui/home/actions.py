"""What can be done with a run from the list at home: use, rename, delete."""

from collections.abc import Callable

from textual.app import App

from fitune.core import runs
from fitune.core.errors import UserError
from fitune.core.runs import Run
from fitune.tui.text import clean, size
from fitune.tui.widgets.dialogs import AskDialog, ConfirmDialog

PARTS = {
    "adapter": "its adapter",
    "checkpoints": "its checkpoints",
    "merged": "its merged model",
    "gguf": "its GGUF files",
}


def ask_name(app: App[int], run: Run, done: Callable[[Run], None]) -> None:
    """Ask for another name of a run, and rename it."""
    renamed: list[Run] = []

    def check(text: str) -> None:
        if text.strip() != run.name:
            renamed.append(runs.rename(run, text.strip()))

    def answered(_: str | None) -> None:
        if renamed:
            app.notify(clean(f"{run.name} is now {renamed[0].name}."), markup=False)
            done(renamed[0])

    app.push_screen(AskDialog(f"Another name for {run.name}", run.name, check), answered)


def use(app: App[int], run: Run, watch: Callable[[Run], None]) -> None:
    """Offer what can be made of a run's adapter; what was started is watched."""
    from fitune.tui.deliver.screen import DeliverScreen

    def left(_: None) -> None:
        if run.holder_pid() is not None:  # a merge, export or push
            watch(run)

    app.push_screen(DeliverScreen(run), left)


def ask_delete(app: App[int], run: Run, done: Callable[[], None]) -> None:
    """Say what would be deleted and how large it is; delete it if the user confirms."""
    held = runs.sizes(run)

    def answered(yes: bool | None) -> None:
        if not yes:
            return
        try:
            runs.delete(run)
        except UserError as error:
            app.notify(clean(str(error)), severity="error", markup=False)
        else:
            app.notify(clean(f"{run.name} is deleted: {size(sum(held.values()))} are free again."), markup=False)
        done()

    app.push_screen(ConfirmDialog(question(run, held), "Keep it", "Delete"), answered)


def question(run: Run, held: dict[str, int]) -> str:
    """What is deleted with a run, part by part, and how large all of it is."""
    parts = [f"{PARTS[name]} {size(held[name])}" for name in PARTS if name in held]
    parts.append(f"its record and logs {size(held['rest'])}")
    needed = f"\nRuns that go on from it, and need it: {', '.join(users)}" if (users := runs.built_on(run)) else ""
    return (
        f"Delete the run {run.name} for good?\n\n"
        + "\n".join(f"  {part}" for part in parts)
        + f"\n\nIn all {size(sum(held.values()))} in {run.path}\nWhat was pushed or handed off stays.{needed}"
    )
