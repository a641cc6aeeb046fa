"""The panel of the memory is never cut unseen: where its items have no room with their reasons, they go without."""

from collections.abc import Callable

import pytest

from fitune.tui.wizard.widgets.budget_panel import BudgetPanel
from tests.tui.wizard.wizard_kit import Wizard, settle

At = Callable[..., Wizard]
OVER = {"model.max_seq_length": "65536", "train.micro_batch": "8"}


def last_line(app: Wizard) -> str:
    """The last line of the panel, which is seen."""
    told = str(app.screen.query_one(BudgetPanel).render()).splitlines()[-1].strip()
    assert told in app.shown()
    return told


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (120, 30), (120, 40), (120, 60)])
async def test_the_last_line_is_seen_at_every_size(at_step: At, size: tuple[int, int]) -> None:
    for edits in ({}, OVER):
        app = at_step("edit", edits=edits)
        async with app.run_test(size=size) as pilot:
            await settle(pilot)
            assert "Memory of NVIDIA L4" in app.shown()
            assert last_line(app)


async def test_where_even_the_ways_out_have_no_room_it_says_so(at_step: At) -> None:
    app = at_step("edit", edits=OVER)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert last_line(app) == "More in a larger window."
        await pilot.resize_terminal(80, 40)
        await settle(pilot)
        assert last_line(app).startswith("Disk")


async def test_a_smaller_window_is_told_with_fewer_words(at_step: At) -> None:
    app = at_step("edit")
    async with app.run_test(size=(120, 60)) as pilot:
        await settle(pilot)
        assert "linear weights" in app.shown()
        await pilot.resize_terminal(120, 40)
        await settle(pilot)
        assert "linear weights" not in app.shown()
        assert "layer weights" in app.shown()
