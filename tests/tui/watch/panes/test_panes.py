"""The parts of the watch screen: charts of every number, the log with its search, the recipe."""

from pathlib import Path

import pytest

from fitune.core.machine import GpuSample
from fitune.core.recipe import parse
from fitune.core.runs import Memory, RunState, Step
from fitune.tui.watch.panes.charts import Charts
from fitune.tui.watch.panes.log_view import LogView
from fitune.tui.watch.panes.recipe_text import COLUMNS, recipe_lines
from tests.fake_worker import make_run
from tests.tui.payloads import OBEYED, PAYLOADS
from tests.tui.watch.test_screen import shown, until, watching

RECIPE = {"version": 1, "model": {"id": "a-very-long-owner/a-very-long-name-of-a-model"}, "data": {"source": "x.jsonl"}}


def trained(steps: int) -> RunState:
    """A training of so many steps, with all its numbers."""
    state = RunState()
    for step in range(1, steps + 1):
        state.step = Step(step=step, loss=3 - step / steps, lr=1e-4, grad_norm=1.0, tokens_per_s=100.0)
        for curve, value in ((state.loss, state.step.loss), (state.lr, 1e-4), (state.grad_norm, 1.0)):
            curve.add(step, value)
        state.tokens_per_s.add(step, 100.0)
    state.memory = Memory(peak_device=2**31, predicted=2**31)
    state.memory_bytes.add(steps, 2**31)
    return state


async def test_a_roomy_terminal_shows_every_history_and_the_recipe(tmp_path: Path) -> None:
    recipe = parse(RECIPE, "x").model_dump(mode="json")
    async with watching(make_run(tmp_path, told="ok", recipe=recipe), "OK  finished", (200, 50)) as (app, pilot):
        for words in ("learning rate", "gradient norm", "tokens/s", "memory, GiB", "[train]", "micro_batch", "lr "):
            await until(pilot, lambda words=words: words in shown(app))  # type: ignore[misc]
        assert "card, W" not in shown(app), "there is no card"
        charts = app.screen.query_one(Charts)
        load = GpuSample("GPU-1", 2**34, 2**33, 2**33, 90, 61, 300.0)
        for second in range(9):
            charts.add_sample(second * 2.0, (load,))
        charts.show(trained(20), 20)
        for words in ("card, % busy", "card, °C", "card, W", "second 16"):
            await until(pilot, lambda words=words: words in shown(app))  # type: ignore[misc]
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: "[train]" not in shown(app) and "card, W" not in shown(app))


async def test_z_puts_the_next_chart_in_the_large_place_and_plus_shows_the_newest_steps(tmp_path: Path) -> None:
    async with watching(make_run(tmp_path, told="killed"), "ERROR  killed") as (app, pilot):
        await until(pilot, lambda: "step 300" in shown(app))
        await pilot.press("z")
        await until(pilot, lambda: "learning rate" in shown(app))
        await pilot.press(*["z"] * 4)
        await until(pilot, lambda: "⠤⠤ training" in shown(app))
        await pilot.press("plus", "plus")
        await until(pilot, lambda: "loss, the last 25 %" in shown(app) and "step 44" in shown(app))
        await pilot.press("minus", "minus")
        await until(pilot, lambda: "step 300" in shown(app))


async def test_the_log_scrolls_searches_and_wraps(tmp_path: Path) -> None:
    run = make_run(tmp_path, told="ok")
    lines = [f"line {n}{' needle' if n in (7, 50) else ''}" for n in range(200)]
    (run / "worker.log").write_text("\n".join([*lines, "x" * 100 + "END"]))
    async with watching(run, "OK  finished") as (app, pilot):
        await pilot.press("l")
        await until(pilot, lambda: "line 199" in shown(app) and "xEND" in shown(app))
        assert app.focused is app.screen.query_one(LogView)
        await pilot.press("w")
        await until(pilot, lambda: "xEND" not in shown(app))
        await pilot.press("slash", *"NEEDLE", "enter")
        await until(pilot, lambda: "line 50 needle" in shown(app))
        await pilot.press("n")
        await until(pilot, lambda: "line 7 needle" in shown(app))
        await pilot.press("N")
        await until(pilot, lambda: "line 50 needle" in shown(app))
        await pilot.press("slash", *"nowhere", "enter")
        await until(pilot, lambda: "no line holds nowhere: other words?" in shown(app))
        await pilot.press("escape", "end")
        await until(pilot, lambda: "line 199" in shown(app))
        await pilot.press("l")
        await until(pilot, lambda: "line 199" not in shown(app) and "Finished: 6 steps" in shown(app))


async def test_a_long_line_of_the_log_is_wrapped_between_words(tmp_path: Path) -> None:
    run = make_run(tmp_path, told="ok")
    (run / "worker.log").write_text(" ".join(["seventeen-letters"] * 9))
    async with watching(run, "OK  finished") as (app, pilot):
        await pilot.press("l")
        await until(pilot, lambda: shown(app).count("seventeen-letters") == 9)


async def test_a_log_that_grows_is_followed_until_the_user_scrolls_back(tmp_path: Path) -> None:
    run = make_run(tmp_path, told="ok")
    log = run / "worker.log"
    log.write_text("\n".join(f"line {n}" for n in range(100)) + "\n")
    async with watching(run, "OK  finished") as (app, pilot):
        await pilot.press("l")
        await until(pilot, lambda: "line 99" in shown(app))
        with log.open("a") as file:
            file.write("line 100\n")
        await until(pilot, lambda: "line 100" in shown(app))
        await pilot.press("home")
        await until(pilot, lambda: "line 0\n" in shown(app))
        with log.open("a") as file:
            file.write("line 101\n")
        await pilot.pause(1)
        assert "line 0\n" in shown(app)
        assert "line 101" not in shown(app)


def test_the_recipe_leaves_out_what_has_no_value_and_marks_what_a_resume_changed() -> None:
    text = recipe_lines(parse(RECIPE, "x").model_dump(mode="json"), {"train.lr": 1e-4}).plain
    assert "lr*            1e-4" in text
    assert "* changed at a resume" in text
    assert "max_steps" not in text
    assert ".." in next(line for line in text.splitlines() if line.startswith("id"))
    assert max(map(len, text.splitlines())) <= COLUMNS


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_recipe_from_outside_is_cleaned(payload: str) -> None:
    text = recipe_lines({"model": {"id": payload}, "train": payload, "lora": {"r": {payload: payload}}}, {}).plain
    assert not OBEYED.search(text)
