"""`fitune queue` as it is typed: what it prints where, and what it refuses."""

import datetime
import json
from dataclasses import replace
from pathlib import Path

import pytest

from fitune.core import queue
from fitune.core.at_end import End
from fitune.core.errors import UserError
from fitune.core.runs import Run
from fitune.tui.commands.queueing.queue import moment
from tests.fake_worker import make_run
from tests.tui.conftest import Fitune
from tests.tui.payloads import OBEYED, PAYLOADS

NOON = datetime.datetime(2026, 11, 30, 12, 0, tzinfo=datetime.timezone(datetime.timedelta(hours=-5)))
pytestmark = pytest.mark.usefixtures("fakes")


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "recipe.toml"
    path.write_text('[model]\nid = "owner/model"\n[data]\nsource = "owner/rows"\n[run]\nname = "mine"\n')
    return str(path)


def test_a_sweep_makes_an_entry_of_each_value(fitune: Fitune, recipe: str) -> None:
    status, out, err = fitune("queue", "add", recipe, "--set", "lora.r=8,16,32")
    assert (status, out) == (0, "mine-r8\nmine-r16\nmine-r32\n")
    assert err == "Added 3; start the queue: fitune queue run\n"
    kept = queue.read().entries
    assert [entry.parsed().lora.r for entry in kept] == [8, 16, 32]
    assert [entry.parsed().run.name for entry in kept] == ["mine-r8", "mine-r16", "mine-r32"]
    status, out, err = fitune("queue")
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [[f"mine-r{r}", "waiting"] for r in (8, 16, 32)]
    assert err == "Nobody runs the queue: fitune queue run\n"


def test_all_problems_of_a_sweep_are_told_once_each(fitune: Fitune, recipe: str) -> None:
    status, out, err = fitune("queue", "add", recipe, "--set", "lora.r=0,8", "--set", "train.seed=1,x")
    assert (status, out) == (2, "")
    assert err.count("--set lora.r: should be greater than or equal to 1, but it is 0.") == 1
    assert err.count("--set train.seed") == 1
    assert queue.read().entries == ()


def test_the_list_says_what_waits_for_what_and_what_failed_why(fitune: Fitune, recipe: str, fitune_home: Path) -> None:
    fitune("queue", "add", recipe, "--set", "run.name=late", "--after", "2190-01-01T22:00", "--when-idle")
    fitune("queue", "add", recipe)
    queue.edit(lambda before: before.with_entry(ended_with("mine", "failed", "It is broken.")))
    status, out, _ = fitune("queue", "list")
    lines = out.splitlines()
    assert status == 0
    assert lines[1].split()[:2] == ["mine", "failed"]
    assert "after 2190-01-01 22:00 and on an idle card" in lines[2]
    assert lines[3] == "mine: It is broken."
    told = json.loads(fitune("queue", "list", "--json")[1])
    assert told["runner_pid"] is None
    assert [(each["name"], each["state"]) for each in told["entries"]] == [("mine", "failed"), ("late", "waiting")]
    assert fitune("queue", "remove", "--ended")[1] == "mine\n"
    assert fitune("queue", "remove", "late")[1] == "late\n"
    assert fitune("queue") == (0, "The queue is empty. Add a recipe: fitune queue add RECIPE\n", "")


def ended_with(name: str, end: End, said: str) -> queue.Entry:
    return replace(queue.find(queue.read(), name), began=1.0, ended=2.0, end=end, said=said)


def test_an_entry_is_moved_and_its_new_place_is_told(fitune: Fitune, recipe: str) -> None:
    fitune("queue", "add", recipe, "--set", "lora.r=8,16,32")
    assert fitune("queue", "move", "r32", "1") == (0, "", "mine-r32 is number 1 of 3 that wait.\n")
    assert [entry.name for entry in queue.read().entries] == ["mine-r32", "mine-r8", "mine-r16"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run"], "Nothing waits in the queue. Add a recipe: fitune queue add RECIPE"),
        (["remove"], "Which entries?"),
        (["remove", "x"], "No entry of the queue matches 'x'. The queue is empty."),
        (["move", "x", "1"], "No entry of the queue matches 'x'. The queue is empty."),
        (["move", "x", "first"], "invalid int value: 'first'"),
        (["add", "RECIPE", "--after", "soon"], "--after soon: is not a time. Write 22:00"),
        (["add", "RECIPE", "--after", "2026-02-30T22:00"], "--after 2026-02-30T22:00: is not a time."),
        (["add", "RECIPE", "--after", "2026-01-30T22:00"], "is in the past."),
        (["add", "no-such.toml"], "no-such.toml can't be read"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(
    fitune: Fitune, recipe: str, arguments: list[str], said: str
) -> None:
    status, out, err = fitune("queue", *[recipe if word == "RECIPE" else word for word in arguments])
    assert (status, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


def test_a_name_that_a_run_has_already_is_refused(fitune: Fitune, recipe: str, fitune_home: Path) -> None:
    make_run(fitune_home, "mine", "ok")
    assert "there is a run named mine already" in fitune("queue", "add", recipe)[2]


def test_a_time_of_the_day_is_the_next_such_in_the_time_of_this_machine() -> None:
    assert moment("22:00", NOON) - NOON.timestamp() == 10 * 3600
    assert moment("11:59", NOON) - NOON.timestamp() == 24 * 3600 - 60
    assert moment("2026-12-01T12:00", NOON) - NOON.timestamp() == 24 * 3600
    with pytest.raises(UserError, match="in the past"):
        moment("2026-11-30T11:00", NOON)


def test_hostile_text_is_shown_and_never_obeyed(fitune: Fitune, recipe: str) -> None:
    nasty = " ".join(PAYLOADS)
    fitune("queue", "add", recipe)
    queue.edit(lambda before: before.with_entry(ended_with("mine", "failed", nasty)))
    for command in (["list"], ["list", "--json"], ["remove", nasty], ["move", nasty, "1"], ["add", nasty]):
        _, out, err = fitune("queue", *command)
        assert not OBEYED.search(out + err), ascii(out + err)
        assert "Traceback" not in err


def test_a_stopped_queue_names_what_goes_on(fitune: Fitune, recipe: str) -> None:
    fitune("queue", "add", recipe)
    status, _, err = fitune("queue", "stop")
    assert (status, err) == (0, "The queue begins nothing more. Go on with it: fitune queue run\n")
    assert not Run(queue.read().entries[0].run.path).path.exists()
