"""What comes after training: merge and push from the screen and from the command line, and how their ends are told."""

import json
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import OptionList

from core import launch
from core.errors import UserError
from core.events import EventLog, Tail
from core.runs import Run
from tests.fake_worker import make_run
from tests.tui.test_watch import shown, until, watching
from tui.screens import deliver
from tui.screens.deliver import DeliverScreen
from tui.screens.watch import WatchScreen
from tui.story import Story, ending, line
from tui.ways import WAYS
from tui.widgets.ask import Ask
from tui.widgets.confirm import Confirm

MERGED = {"bytes": 3 << 30, "elapsed_s": 130.0, "files": 4}
PUSHED = {"repo": "ada/sums", "private": True, "files": 4, "bytes": 5 << 20, "elapsed_s": 9.0, "url": "https://hub/x"}
FAILED = {"kind": "auth", "message": "The token may not write there.", "hint": "hf auth login"}


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A run whose training is over, with an adapter."""
    run = make_run(tmp_path, told="ok")
    (run / "adapter").mkdir()
    (run / "checkpoints" / "checkpoint-6").mkdir(parents=True)
    return run


def tell(run: Path, job: str, *story: tuple[str, dict[str, Any]]) -> None:
    log = EventLog(run / "events.jsonl", job)
    for kind, data in story:
        log.write(kind, **data)  # type: ignore[arg-type]


async def choose(app: Any, pilot: Any, title: str) -> None:
    """Open the deliver screen and press Enter on a way."""
    await pilot.press("c")
    await until(pilot, lambda: isinstance(app.screen, DeliverScreen) and "needs" in shown(app))
    app.screen.query_one(OptionList).highlighted = [way.title for way in WAYS].index(title)
    await pilot.press("enter")


@pytest.mark.parametrize(
    ("job", "story", "words", "then"),
    [
        ("merge", [("finished", MERGED)], "Merged: one model of 3.0 GiB in 2 min 10 s, checked.", "It is in "),
        ("push", [("finished", PUSHED)], "Pushed: 4 files, 5.0 MiB in 9 s, to ada/sums (private).", "https://hub/x"),
        ("push", [("finished", PUSHED | {"private": False})], "to ada/sums (PUBLIC)", "https://hub/x"),
        ("push", [("failed", FAILED)], "The push failed: The token may not write there.", "hf auth login"),
        ("merge", [("finished", {"stopped": True})], "was stopped as asked; nothing was changed", "fitune merge"),
        ("merge", [("phase", {"name": "write"})], "killed while writing the merged model", "fitune merge"),
    ],
)
def test_every_end_of_a_delivery_is_told_in_words(
    trained: Path, job: str, story: list[tuple[str, dict[str, Any]]], words: str, then: str
) -> None:
    tell(trained, job, ("started", {}), *story)
    run = Run(trained)
    state = run.state()
    end = ending(run, run.status(state), state)
    assert words in end.sentence
    assert then in end.next
    assert "step" not in end.sentence


def test_an_upload_is_announced_with_its_numbers(trained: Path) -> None:
    data = {"name": "upload", "files": 4, "bytes": 5 << 20, "repo": "ada/sums\x1b[2J"}
    tell(trained, "push", ("phase", data))
    *_, event = Tail(trained / "events.jsonl").read()
    assert line(event, Story()).startswith("uploading: 4 files, 5.0 MiB, to ada/sums")
    assert "\x1b" not in line(event, Story())


async def test_a_failed_merge_is_shown_as_the_merges_and_the_training_is_not_offered_again(trained: Path) -> None:
    tell(trained, "merge", ("started", {"device": "cpu"}), ("failed", FAILED))
    async with watching(trained, "ERROR  merge failed") as (app, pilot):
        await until(pilot, lambda: "Use it" in shown(app))
        assert "The merge failed: The token" in shown(app)
        assert "step 6 of 6" not in shown(app)
        assert "Resume" not in shown(app)


async def test_merge_starts_its_job_and_goes_back_to_watch_it(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    monkeypatch.setattr(launch, "start", lambda run, job, share_gpu=False: begun.append(job))
    async with watching(trained, "Use it") as (app, pilot):
        await choose(app, pilot, "Merge")
        await until(pilot, lambda: isinstance(app.screen, WatchScreen))
    assert begun == ["merge"]


@pytest.mark.parametrize(("seen_by", "words"), [("private", "only you can see it"), ("public", "PUBLIC: everyone")])
async def test_push_repeats_name_and_visibility_before_it_starts(
    trained: Path, monkeypatch: pytest.MonkeyPatch, seen_by: str, words: str
) -> None:
    begun: list[str] = []
    monkeypatch.setattr(launch, "start", lambda run, job, share_gpu=False: begun.append(job))
    monkeypatch.setattr(deliver, "hub_user", lambda: "ada")
    async with watching(trained, "Use it") as (app, pilot):
        await choose(app, pilot, "Push")
        await until(pilot, lambda: isinstance(app.screen, Ask) and f"ada/{trained.name}-model" in shown(app))
        await pilot.press("enter")
        await until(pilot, lambda: "Who may see" in shown(app))
        assert "private" in shown(app)
        await pilot.press("ctrl+u", *seen_by, "enter")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        assert f"ada/{trained.name}-model" in shown(app)
        assert words in shown(app)
        await pilot.press("enter")  # the safe answer has the focus
        await until(pilot, lambda: isinstance(app.screen, DeliverScreen))
        assert not begun
        assert not (trained / "push.json").exists()

        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        await pilot.press("enter")
        await until(pilot, lambda: "Who may see" in shown(app))
        await pilot.press("ctrl+u", *seen_by, "enter")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("right", "enter")
        await until(pilot, lambda: isinstance(app.screen, WatchScreen))
    assert begun == ["push"]
    wanted = {"repo": f"ada/{trained.name}-model", "private": seen_by == "private", "what": "adapter"}
    assert json.loads((trained / "push.json").read_text()) == wanted


async def test_push_without_a_token_says_how_to_log_in(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise UserError("There is no token for the Hub.", "In a shell: hf auth login")

    monkeypatch.setattr(deliver, "hub_user", nobody)
    async with watching(trained, "Use it") as (app, pilot):
        await choose(app, pilot, "Push")
        await until(pilot, lambda: "hf auth login" in shown(app))
        assert isinstance(app.screen, DeliverScreen)
