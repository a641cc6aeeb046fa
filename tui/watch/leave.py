"""Ctrl+C while a run is alive: leave it running, stop it, or end it at once."""

from typing import ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Static

Leaving = Literal["detach", "stop", "kill", "stay"]


class LeaveScreen(ModalScreen[Leaving]):
    """The harmless answer has the focus, and a second Ctrl+C gives it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "answer('stay')", "Back"),
        Binding("up,left", "app.focus_previous", show=False),
        Binding("down,right", "app.focus_next", show=False),
    ]

    def __init__(self, job: str = "train") -> None:
        """job: of the run that lives, cleaned."""
        super().__init__()
        self.answers = answers(job)

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog"):
            yield Static("Leave this run?", markup=False)
            for answer, text in self.answers:
                yield Button(text, id=answer, compact=True)

    def on_mount(self) -> None:
        self.query_one("#detach").focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(next(answer for answer, _ in self.answers if answer == event.button.id))

    def action_answer(self, answer: Leaving) -> None:
        self.dismiss(answer)

    def ask_quit(self) -> None:
        """A second Ctrl+C."""
        self.dismiss("detach")


def answers(job: str) -> tuple[tuple[Leaving, str], ...]:
    """What can be done with a job that lives, and what comes of it."""
    if job == "train":
        return (
            ("detach", "Detach: the training goes on by itself"),
            ("stop", "Stop after this step, with a checkpoint"),
            ("kill", "Kill at once: what came after the last checkpoint is lost"),
        )
    part = "file" if job == "push" else "part, if one is left"
    return (
        ("detach", f"Detach: the {job} goes on by itself"),
        ("stop", f"Stop before its next {part}; the adapter stays as it is"),
        ("kill", "Kill at once; the adapter stays as it is"),
    )
