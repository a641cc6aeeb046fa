"""Each screen of the wizard as plain text, at the smallest terminal and at a common one: nothing is missing or cut."""

from collections.abc import Callable

import pytest
from textual.widget import Widget
from textual.widgets import Static

from fitune.tui.wizard import steps
from tests.tui.wizard.wizard_kit import Wizard, settle

SIZES = ((80, 24), (120, 40))
SAID = {
    "start": ("NVIDIA L4", "Disk", "Go on with this fine-tune"),
    "preset": ("8B on 12 GB", "Memory of NVIDIA L4", "redicted"),
    "edit": ("Base model", "Rank", "Optimizer", "Memory of NVIDIA L4", "It fits"),
    "data": ("Rows", "rows.jsonl", "Nothing is wrong with these rows", "it learns to answer"),
    "review": ("Start training", "rows.jsonl", "Predicted"),
}
"""What each screen must say at every size."""
KEYS = {
    "start": ("Choose", "Quit", "Help"),
    "preset": ("Choose", "Quit", "Back", "Help", "Card"),
    "edit": ("Next", "Quit", "Back", "Help", "Reset", "More"),
    "data": ("Next", "Quit", "Back", "Help"),
    "review": ("Quit", "Back", "Help", "Write", "Queue"),
}


def rows_cut(static: Static) -> int:
    """Rows of text that a Static has no room for."""
    columns = static.content_region.width
    return (
        max(0, static.visual.get_height(static.styles.get_rules(), columns) - static.content_region.height)
        if columns
        else 0
    )


def is_scrolled(widget: Widget) -> bool:
    return any(parent.show_vertical_scrollbar for parent in widget.ancestors if isinstance(parent, Widget))


@pytest.mark.parametrize("size", SIZES, ids=["80x24", "120x40"])
@pytest.mark.parametrize("name", SAID)
async def test_a_screen_says_what_it_must_and_cuts_nothing(
    at_step: Callable[..., Wizard], name: str, size: tuple[int, int]
) -> None:
    app = at_step(name, edits={"data.source": "rows.jsonl"})
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        text = app.shown()
        lines = text.splitlines()
        step = steps.named(app.step.NAME)
        assert f"{step.question}  {step.purpose}" in lines[0]
        assert f"{steps.STEPS.index(step) + 1} of {len(steps.STEPS)}" in lines[1]
        assert len(lines) == size[1]
        assert all(len(line) <= size[0] for line in lines)
        assert [word for word in SAID[name] if word not in text] == []
        assert [key for key in KEYS[name] if key not in lines[-1]] == []
        assert lines[-1].split()[0] == "enter"
        assert lines[-1].partition("▏")[0].split()[-4:] == ["?", "Help", "^c", "Quit"]
        assert app.focused is not None
        assert app.screen.region.contains_region(app.focused.region)
        shown = [each for each in app.screen.query(Static) if each.display and each.region and not is_scrolled(each)]
        assert [(each.id, each.classes) for each in shown if rows_cut(each)] == []
