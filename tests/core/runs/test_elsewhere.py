"""Workers whose lock does not reach here: of a copied folder, and behind a network disk."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from fitune.core.errors import UserError
from fitune.core.files import on_network_disk
from fitune.core.runs import Run, lock
from tests.fake_worker import make_run, wait_until

# Holds the lock as a worker does, until a line comes: "end" is an end by itself.
WORKER = """
import os, sys
from pathlib import Path
from fitune.core import runs
path = Path(sys.argv[1]) / "lock"
fd = runs.take_lock(path, "train")
if sys.stdin.readline() == "end\\n":
    runs.note_end(fd, path)
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(make_run(tmp_path, "run-a", told="killed"))


@pytest.fixture
def worker(run: Run) -> Iterator["subprocess.Popen[str]"]:
    run.lock.unlink()
    process = subprocess.Popen([sys.executable, "-c", WORKER, str(run.path)], stdin=subprocess.PIPE, text=True)
    wait_until(lambda: run.holder_pid() is not None)
    yield process
    process.kill()
    process.communicate()


def copied(run: Run) -> Run:
    """The run as rsync copies it: the times of its files stay."""
    copy = run.path.parents[1] / "copy" / "runs" / run.name
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(run.path, copy)
    return Run(copy)


def age(run: Run, seconds: float) -> None:
    at = run.lock.stat().st_mtime - seconds
    os.utime(run.lock, (at, at))


def told(run: Run, **note: object) -> None:
    """Change the note in the lock of a run without a worker; the times of the file stay new."""
    run.lock.write_bytes(orjson.dumps({**orjson.loads(run.lock.read_bytes()), **note}))


def test_a_copy_of_a_run_at_work_is_at_work(run: Run, worker: "subprocess.Popen[str]") -> None:
    copy = copied(run)
    assert (run.holder_pid(), copy.holder_pid()) == (worker.pid, 0)
    assert copy.status(copy.state()) == "running"
    assert copy.trains()
    assert copy.held_by().startswith(f"a worker on {os.uname().nodename} since ")
    age(copy, lock.ALIVE_WITHIN_S)
    assert copy.holder_pid() is None
    assert copy.status(copy.state()) == "killed"


def test_a_copy_of_a_run_that_ended_by_itself_has_ended_at_once(run: Run, worker: "subprocess.Popen[str]") -> None:
    worker.communicate("end\n")
    assert (run.holder_pid(), copied(run).holder_pid()) == (None, None)


def test_a_killed_worker_is_dead_at_once_where_its_lock_reaches(run: Run, worker: "subprocess.Popen[str]") -> None:
    worker.kill()
    worker.communicate()
    assert run.holder_pid() is None
    assert run.status(run.state()) == "killed"


def test_a_copy_is_neither_stopped_nor_killed_nor_resumed(run: Run, worker: "subprocess.Popen[str]") -> None:
    copy = copied(run)
    with pytest.raises(UserError, match="is a copy of the run"):
        copy.request_stop()
    with pytest.raises(UserError, match="does not live here"):
        copy.kill()
    assert not copy.stop.exists()
    run.request_stop()
    assert run.stop.exists()


@pytest.mark.parametrize(
    ("network", "host", "ended", "seconds", "alive"),
    [
        (True, "node-7", False, 5.0, True),
        (True, "node-7", False, 130.0, False),
        (True, "node-7", True, 5.0, False),
        (True, os.uname().nodename, False, 5.0, False),
        (False, "node-7", False, 5.0, False),
    ],
)
def test_a_worker_behind_a_network_disk_is_alive_while_it_says_so(
    run: Run,
    worker: "subprocess.Popen[str]",
    monkeypatch: pytest.MonkeyPatch,
    network: bool,
    host: str,
    ended: bool,
    seconds: float,
    alive: bool,
) -> None:
    worker.communicate("")  # its lock is gone, as one that does not reach
    monkeypatch.setattr(lock, "on_network_disk", lambda path: network)
    told(run, host=host, ended=ended)
    age(run, seconds)
    assert run.holder_pid() == (0 if alive else None)


def test_this_disk_is_known_to_be_here_or_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = tmp_path.stat().st_dev
    line = f"36 35 {os.major(device)}:{os.minor(device)} / /mnt rw shared:1 - {{}} server:/x rw\n"
    for kind, far in (("ext4", False), ("nfs4", True), ("fuse.sshfs", True), ("fuseblk", False), ("overlay", False)):
        monkeypatch.setattr(Path, "read_text", lambda _, kind=kind: line.format(kind))
        assert on_network_disk(tmp_path) == far, kind
