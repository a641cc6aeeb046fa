"""The box after Ctrl+C while a run lives: leave it running, stop it, or kill it."""

from typing import ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Static

LeaveAnswer = Literal["detach", "stop", "kill", "stay"]


class LeaveScreen(ModalScreen[LeaveAnswer]):
    """Asks how to leave a run. The harmless answer has the focus, and a second Ctrl+C gives it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "answer('stay')", "Back"),
        Binding("up,left", "app.focus_previous", show=False),
        Binding("down,right", "app.focus_next", show=False),
    ]

    def __init__(self, job: str = "train", can_stop: bool = True) -> None:
        """job: the job of the run that lives, cleaned. can_stop: a stop would change something."""
        super().__init__()
        self.answers = [each for each in answers(job) if can_stop or each[0] != "stop"]

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog"):
            yield Static("Leave this run?", markup=False)
            for answer, text in self.answers:
                yield Button(text, id=answer, compact=True)

    def on_mount(self) -> None:
        self.query_one("#detach").focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(next(answer for answer, _ in self.answers if answer == event.button.id))

    def action_answer(self, answer: LeaveAnswer) -> None:
        self.dismiss(answer)

    def ask_quit(self) -> None:
        """A second Ctrl+C."""
        self.dismiss("detach")


def answers(job: str) -> tuple[tuple[LeaveAnswer, str], ...]:
    """(answer, text) of each button: the actions on a job that lives, with their effects."""
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
