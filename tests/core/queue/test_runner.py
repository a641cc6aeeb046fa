"""The process of the queue, with fake workers: what begins when, and what is noted of each end."""

import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest

from fitune.core import jobs, queue, runs
from fitune.core.at_end import Notice, OnEnd
from fitune.core.errors import BadInput, UserError
from fitune.core.files import write_atomically
from fitune.core.machine import Machine, host
from fitune.core.queue import Addition, Entry, Queue, runner
from fitune.core.queue.runner import Runner
from fitune.core.recipe import Recipe, parse
from fitune.core.runs import spawn
from tests.fake_worker import stand_in, wait_until

Add = Callable[..., Entry]
HOW = Addition(source="recipe.toml")


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets the story of the fake workers that start from now on."""

    def tells(*story: str) -> None:
        monkeypatch.setattr(spawn, "_command", stand_in(*story))

    return tells


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, fitune_home: Path, worker: Callable[..., None]) -> Iterator[None]:
    """A machine without a card, workers that end soon, and a queue that looks often."""
    worker("steps:3", "--rate", "200")
    monkeypatch.setattr(spawn, "_lingering_user_manager", lambda: False)
    monkeypatch.setattr("fitune.core.jobs.training.foresee", lambda *_: None)
    monkeypatch.setattr(host, "detect", lambda runs_dir=None: Machine())
    monkeypatch.setattr(runner, "POLL_S", 0.01)
    monkeypatch.setattr(runner, "LOOK_S", 0.02)
    yield
    for run in runs.all_runs(fitune_home):
        run.kill()


def recipe(name: str | None = None, **groups: dict[str, Any]) -> Recipe:
    run = {"name": name} if name else {}
    return parse({"model": {"id": "a/b"}, "data": {"source": "c/d"}, "run": run, **groups}, "test")


def go_on() -> None:
    queue.edit(lambda before: replace(before, go_on=True))


def ends() -> dict[str, str]:
    return {entry.name: entry.state() for entry in queue.read().entries}


def test_entries_are_trained_in_their_order_and_one_at_a_time() -> None:
    queue.add([recipe(name) for name in ("a", "b", "c")], HOW)
    queue.move("c", 1)
    go_on()
    Runner().work()
    assert ends() == {"c": "finished", "a": "finished", "b": "finished"}
    done = queue.read().entries
    spans = [(entry.began or 0.0, entry.ended or 0.0) for entry in done]
    assert [entry.name for entry in done] == ["c", "a", "b"]
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    assert done[0].said == "3 of 3 steps, held-out loss 0.98."
    assert not queue.read().go_on


def test_a_failure_is_told_and_the_next_one_begins(worker: Callable[..., None]) -> None:
    queue.add([recipe("bad"), recipe("good")], HOW)
    go_on()
    worker("oom")
    at_work = Runner()
    at_work.begin_next()
    wait_until(lambda: queue.read().entries[0].run.holder_pid() is None)
    worker("steps:3", "--rate", "200")
    at_work.work()
    assert ends() == {"bad": "failed", "good": "finished"}
    assert "ran out" in queue.read().entries[0].said or "memory" in queue.read().entries[0].said


def test_an_entry_that_cannot_begin_is_told_in_its_place(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"question": "a", "answer": "b"}\n')
    queue.add([recipe("lost", data={"source": str(rows)}), recipe("good")], HOW)
    rows.unlink()
    go_on()
    Runner().work()
    assert ends() == {"lost": "refused", "good": "finished"}
    assert "rows.jsonl does not exist" in queue.read().entries[0].said


def test_a_fault_of_our_own_in_one_entry_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    queue.add([recipe("odd"), recipe("good")], HOW)
    begin = jobs.begin

    def faulty(recipe: Recipe, **options: Any) -> Any:
        if recipe.run.name == "odd":
            raise ZeroDivisionError("of ours")
        return begin(recipe, **options)

    monkeypatch.setattr(jobs, "begin", faulty)
    go_on()
    Runner().work()
    assert ends() == {"odd": "refused", "good": "finished"}
    assert "ZeroDivisionError" in queue.read().entries[0].said


def test_what_may_not_begin_yet_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    queue.add([recipe("late")], replace(HOW, after=time.time() + 3600))
    queue.add([recipe("idle")], replace(HOW, when_idle=True))
    queue.add([recipe("now")], HOW)
    monkeypatch.setattr(os, "getloadavg", lambda: (64.0, 0.0, 0.0))
    go_on()
    at_work = Runner()
    at_work.begin_next()
    assert ends() == {"late": "waiting", "idle": "waiting", "now": "at work"}


def test_a_training_that_stands_outside_the_queue_is_waited_for(worker: Callable[..., None]) -> None:
    worker("steps:3000", "--rate", "50")
    outside = jobs.begin(recipe("outside")).run
    queue.add([recipe("inside")], HOW)
    go_on()
    at_work = Runner()
    at_work.begin_next()
    assert ends() == {"inside": "waiting"}
    outside.kill()
    outside.wait_for_end()
    worker("steps:3", "--rate", "200")
    at_work.work()
    assert ends() == {"inside": "finished"}


def test_a_run_that_its_user_stops_has_ended_while_the_queue_looks(worker: Callable[..., None]) -> None:
    worker("steps:3000", "--rate", "50")
    queue.add([recipe("a")], HOW)
    go_on()
    at_work = Runner()
    at_work.begin_next()
    (run,) = runs.all_runs(runs.home())
    at_work.follow(queue.read().entries[0])
    run.request_stop()
    wait_until(lambda: run.holder_pid() is None)
    at_work.work()
    assert ends() == {"a": "stopped"}


@pytest.mark.parametrize("end", ["stop", "kill", "kill as asked"])
def test_what_was_interrupted_while_nobody_looked_goes_on(worker: Callable[..., None], end: str) -> None:
    worker("steps:3000", "--rate", "50")
    queue.add([recipe("a")], HOW)
    go_on()
    Runner().begin_next()
    (run,) = runs.all_runs(runs.home())
    if end == "stop":
        run.request_stop()
    elif end == "kill":
        os.kill(run.holder_pid() or 0, 9)
    else:
        run.kill()
    wait_until(lambda: run.holder_pid() is None)
    assert ends() == {"a": "interrupted"}
    worker("steps:3", "--rate", "200")
    Runner().work()
    assert ends() == {"a": "killed" if end == "kill as asked" else "finished"}


def test_one_that_was_removed_or_whose_queue_was_stopped_does_not_begin() -> None:
    queue.add([recipe("a"), recipe("b")], HOW)
    go_on()
    (a, b), taken = queue.read().entries, set[str]()
    queue.remove(["a"])
    at_work = Runner()
    at_work.begin(a, Machine(), taken)
    queue.stop()
    at_work.begin(b, Machine(), taken)
    at_work.begin_next()
    assert ends() == {"b": "waiting"}
    assert runs.all_runs(runs.home()) == []


@pytest.mark.parametrize(
    ("held", "end"),
    [([], "finished"), (["run.json.7-7.part"], "finished"), (["events.jsonl", "checkpoints"], "failed")],
)
def test_a_run_folder_that_was_made_in_part_is_made_anew_and_no_other(held: list[str], end: str) -> None:
    (entry,) = queue.add([recipe("a")], HOW)
    queue.edit(lambda before: replace(before, go_on=True, entries=(replace(entry, began=1.0),)))
    entry.run.path.mkdir(parents=True)
    for name in held:
        (entry.run.path / name).touch()
    Runner().work()
    assert ends() == {"a": end}
    assert end == "finished" or all((entry.run.path / name).exists() for name in held)


# --- adding and changing ---------------------------------------------------------------------------------------------


def test_all_problems_of_all_recipes_are_told_at_once_and_none_is_added() -> None:
    bad = recipe("a", data={"source": "./gone.jsonl"}, train={"report_to": "mlflow"})
    with pytest.raises(BadInput) as caught:
        queue.add([recipe("b"), bad, recipe("b")], HOW)
    told = [str(each) for each in caught.value.problems]
    assert any(each.startswith("a: train.report_to: the package mlflow") for each in told), told
    assert any("gone.jsonl does not exist" in each for each in told)
    assert any("the queue has an entry b already" in each for each in told)
    assert queue.read() == Queue()


def test_a_recipe_is_kept_as_it_was_with_paths_that_hold_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text('{"question": "a", "answer": "b"}\n')
    (entry,) = queue.add([recipe(data={"source": "rows.jsonl"}, run={"copy_to": "copies"})], HOW)
    kept = entry.parsed()
    assert kept.data.source == str(tmp_path / "rows.jsonl")
    assert kept.run.copy_to == str(tmp_path / "copies")
    assert kept.run.name == entry.name
    assert entry.name.startswith(time.strftime("%Y-%m-%d"))
    assert (queue.folder().stat().st_mode | (queue.folder() / "queue.json").stat().st_mode) & 0o077 == 0


def test_what_waits_is_moved_and_removed_and_what_works_is_not(worker: Callable[..., None]) -> None:
    worker("steps:3000", "--rate", "50")
    queue.add([recipe(name) for name in ("aa", "ab", "ac")], HOW)
    go_on()
    Runner().begin_next()
    with pytest.raises(UserError, match=r"aa is at work\. Stop it first: fitune stop aa"):
        queue.remove(["ab", "aa"])
    with pytest.raises(UserError, match="does not wait any more: it is at work"):
        queue.move("aa", 1)
    with pytest.raises(UserError, match="3 entries match 'a'"):
        queue.move("a", 1)
    with pytest.raises(UserError, match="0 is no place"):
        queue.move("ab", 0)
    queue.move("ab", 99)
    assert list(ends()) == ["aa", "ac", "ab"]
    queue.move("ab", 1)
    assert list(ends()) == ["aa", "ab", "ac"]
    assert [each.name for each in queue.remove(["ab", "ac"])] == ["ab", "ac"]
    assert list(ends()) == ["aa"]


@pytest.mark.parametrize("damage", ["", "{", "[1]", "nan"])
def test_a_damaged_file_is_told_with_what_to_do(damage: str) -> None:
    queue.add([recipe("a")], HOW)
    (queue.folder() / "queue.json").write_text(damage)
    with pytest.raises(UserError, match="Remove it to begin with an empty queue"):
        queue.read()


@pytest.mark.parametrize("name", [{}, {"name": 7}, {"name": ""}, {"name": ".."}, {"name": "a/b"}])
def test_an_entry_without_a_name_is_told_and_no_folder_is_taken_for_its_run(name: dict[str, Any]) -> None:
    precious = runs.create(recipe("precious"), runs.home())
    queue.add([recipe("a")], HOW)
    told = orjson.loads((queue.folder() / "queue.json").read_bytes())
    told["entries"][0].pop("name")
    told["entries"][0] |= {"began": 1.0, **name}
    (queue.folder() / "queue.json").write_bytes(orjson.dumps(told))
    with pytest.raises(UserError, match="entry 1 has no name that a run may have"):
        Runner().look(queue.read())
    assert precious.path.is_dir()


def test_a_file_of_another_version_is_read_with_patience() -> None:
    (entry,) = queue.add([recipe("a")], HOW)
    path = queue.folder() / "queue.json"
    told = orjson.loads(path.read_bytes())
    told["entries"][0] |= {"colour": "blue", "after": "soon"}
    path.write_bytes(orjson.dumps(told | {"version": 2, "later": True}))
    assert queue.read().entries == (entry,)


def test_each_end_and_that_of_all_is_told(tmp_path: Path) -> None:
    out = tmp_path / "out"
    queue.add([recipe("a"), recipe("b")], HOW)
    on_end = OnEnd(command=f'echo "$FITUNE_RUN: $FITUNE_STATUS: $FITUNE_MESSAGE" >> {out}')
    queue.edit(lambda before: replace(before, go_on=True, on_end=on_end))
    Runner().work()
    wait_until(lambda: out.exists() and len(out.read_text().splitlines()) == 3)
    assert sorted(out.read_text().splitlines()) == [
        "a: finished: 3 of 3 steps, held-out loss 0.98.",
        "b: finished: 3 of 3 steps, held-out loss 0.98.",
        "the queue: done: All of the queue has ended: 2 finished.",
    ]
    assert queue.read().on_end is None


def test_a_queue_that_is_started_again_while_an_end_is_told_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.add([recipe("a")], HOW)
    told: list[str] = []

    def slow(_: OnEnd, notice: Notice) -> None:
        if notice.name == "the queue" and notice.name not in told:
            told.append(notice.name)
            queue.add([recipe("b")], HOW)
            queue.edit(lambda before: replace(before, go_on=True))
            wait_until(lambda: queue.read().entries[-1].ended is not None)
        told.append(notice.name)

    monkeypatch.setattr(runner, "tell", slow)
    queue.edit(lambda before: replace(before, go_on=True, on_end=OnEnd(command="true")))
    Runner().work()
    assert [entry.end for entry in queue.read().entries] == ["finished", "finished"]


STARTED_AS_IT_ENDS = """
from dataclasses import replace
from fitune.core import queue
from fitune.core.queue import runner

class Looked(runner.Runner):
    looks = 0
    def work(self):
        self.looks += 1
        if self.looks < 3:  # `start` of another process, which finds this one at work
            queue.edit(lambda before: replace(before, go_on=True))
        else:
            assert queue.read().go_on
            queue.stop()

runner.Runner = Looked
print(runner.main())
print(queue.runner_pid())
"""


def test_a_queue_that_is_started_as_its_process_ends_is_run() -> None:
    queue.add([recipe("a")], HOW)
    done = subprocess.run([sys.executable, "-c", STARTED_AS_IT_ENDS], capture_output=True, text=True, check=True)
    assert (done.stdout.split(), done.stderr) == (["0", "None"], "")
    assert queue.runner_pid() is None
    assert not queue.read().go_on


def test_a_run_whose_folder_goes_away_is_not_begun_again(worker: Callable[..., None]) -> None:
    worker("steps:3000", "--rate", "50")
    queue.add([recipe("a")], HOW)
    go_on()
    at_work = Runner()
    at_work.begin_next()
    (run,) = runs.all_runs(runs.home())
    at_work.follow(queue.read().entries[0])
    run.kill()
    run.wait_for_end()
    shutil.rmtree(run.path)
    at_work.work()
    assert ends() == {"a": "killed"}
    assert queue.read().entries[0].said == "Its folder was moved or deleted while it was at work."


def test_the_queue_waits_for_a_file_that_can_be_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    queue.add([recipe("a")], HOW)
    go_on()
    failed = list[Path]()

    def full(path: Path, content: bytes) -> None:
        if len(failed) < 5:
            failed.append(path)
            raise OSError(errno.ENOSPC, "No space left on device")
        write_atomically(path, content)

    monkeypatch.setattr("fitune.core.queue.entries.write_atomically", full)
    Runner().work()
    assert len(failed) == 5
    assert ends() == {"a": "finished"}
