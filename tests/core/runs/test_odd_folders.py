"""Run folders as nobody makes them on purpose: each is a sentence or nothing, and never holds up the others."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fitune.core.errors import UserError
from fitune.core.runs import Tail, event_log, keep_touching, lock, take_lock
from fitune.core.runs.run import Run
from tests.events import raw_line
from tests.fake_worker import make_run, wait_until


def test_a_line_without_end_is_read_in_time_and_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "LONGEST_LINE_BYTES", 1 << 20)
    path = tmp_path / "events.jsonl"
    path.write_bytes(raw_line(1, "started") + b"x" * (100 << 20) + b"\n" + raw_line(2, "started"))
    tail, began = Tail(path), time.process_time()
    assert [event.seq for event in tail.read()] == [1, 2]
    assert tail.bad_lines == 1
    assert time.process_time() - began < 5, "each byte is copied a few times, and not with all that came before it"


@pytest.mark.parametrize("odd", [os.mkdir, os.mkfifo])
def test_a_log_that_is_no_file_is_a_sentence(tmp_path: Path, odd: Callable[[Path], None]) -> None:
    odd(tmp_path / "events.jsonl")
    with pytest.raises(UserError, match=r"events\.jsonl can't be read: it is no regular file"):
        list(Tail(tmp_path / "events.jsonl").read())


@pytest.mark.parametrize("odd", [os.mkdir, os.mkfifo])
def test_a_lock_or_run_json_that_is_no_file_is_nobodys(run: Run, odd: Callable[[Path], None]) -> None:
    odd(run.lock)
    assert run.holder_pid() is None
    assert run.lock_note().pid is None
    (run.path / "run.json").unlink()
    odd(run.path / "run.json")
    with pytest.raises(UserError, match=r"run\.json can't be read"):
        run.info()


def test_a_worker_that_looks_at_its_own_lock_keeps_it(run: Run) -> None:
    """A POSIX lock is dropped when any descriptor of its file is closed."""
    code = f"""
from pathlib import Path
from fitune.core.runs import Run, take_lock
run = Run(Path({str(run.path)!r}))
assert take_lock(run.lock, "train") is not None
assert run.lock_note().job == "train" and run.holder_pid() is None
print("looked", flush=True)
input()
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout
        assert worker.stdout.readline() == "looked\n"
        assert run.holder_pid() == worker.pid
        worker.communicate("\n")


@pytest.mark.parametrize("how", ["deleted", "moved", "another in its place"])
def test_a_worker_notices_that_its_folder_is_gone(run: Run, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "TOUCH_EVERY_S", 0.01)
    fd, gone = take_lock(run.lock, "train"), threading.Event()
    assert fd is not None
    threading.Thread(target=keep_touching, args=(fd, run.lock, gone.set), daemon=True).start()
    assert not gone.wait(0.1)
    if how == "deleted":
        run.lock.unlink()
    else:
        run.path.rename(run.path.with_name("moved"))
    if how == "another in its place":
        run.path.mkdir()
        run.lock.touch()
    wait_until(gone.is_set)


@pytest.mark.parametrize(("events", "status"), [(0, "finished"), (99, "killed")])
def test_a_worker_has_spoken_by_the_numbers_of_its_events_and_not_by_the_clock(
    tmp_path: Path, events: int, status: str
) -> None:
    """The clock was set back while it worked: its end is before its start."""
    run = Run(make_run(tmp_path, "run-a", "ok"))
    run.lock.write_text(json.dumps({"pid": 1, "job": "train", "started": time.time() + 1e6, "events": events}))
    assert run.status(run.state()) == status


def test_an_adapter_without_weights_is_none(run: Run) -> None:
    run.adapter.mkdir()
    assert not run.has_adapter()
    (run.adapter / "adapter_model.safetensors").touch()
    assert run.has_adapter()
