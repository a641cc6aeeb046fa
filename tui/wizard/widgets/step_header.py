"""Title and list of steps: the user's place in them, by words and marks, not by colour alone."""

from textual.content import Content
from textual.widgets import Static

from fitune.tui.wizard import steps
from fitune.tui.wizard.draft import Draft

MARKS = {"done": "✓", "now": "▸", "to do": "·"}
PLAIN_MARKS = {"done": "x", "now": ">", "to do": "."}


class StepHeader(Static):
    """Two lines at the top of each step."""

    def __init__(self, step: steps.Step, draft: Draft) -> None:
        super().__init__()
        self.step, self.draft = step, draft

    def on_mount(self) -> None:
        self.update(header(self.step, self.draft, self.app.has_class("-plain-glyphs")))

    def leave(self) -> None:
        """Show that the step is over: the next one takes a moment to be drawn."""
        self.update(header(self.step, self.draft, self.app.has_class("-plain-glyphs"), " ..."))


def header(step: steps.Step, draft: Draft, plain_glyphs: bool, waits: str = "") -> Content:
    """The question with the purpose of the step, and below the steps with their marks. waits: a mark behind it."""
    marks = PLAIN_MARKS if plain_glyphs else MARKS
    found = steps.progress(step, draft)
    number = next(at for at, (each, _) in enumerate(found, 1) if each is step)
    trail = [
        Content.styled(f"{marks[state]} {each.title}", "bold $primary" if state == "now" else "$secondary")
        for each, state in found
    ]
    title = Content.styled("fitune", "bold $primary") + Content(f"  {step.question}{waits}")
    title += Content.styled(f"  {step.purpose}", "$secondary")
    place = Content.styled(f"   {number} of {len(found)}", "$secondary")
    return title + Content("\n") + Content("   ").join(trail) + place
