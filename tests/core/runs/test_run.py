"""The run folder, with real processes: what it keeps private, who holds it, and how it stands when they die."""

import fcntl
import json
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fitune.core import files as on_disk
from fitune.core import runs
from fitune.core.errors import UserError
from fitune.core.recipe.load import Recipe
from fitune.core.runs import Eval, EventLog, Failed, Finished, Phase, RunInfo, Started, Step, event_log
from fitune.core.runs.event_log import parse_line
from fitune.core.runs.run import KILLED_AS_ASKED, Run
from tests import fake_worker
from tests.events import write_raw
from tests.fake_worker import wait_until

Make = Callable[..., Recipe]
# Takes the lock, forks a child that lives on, says both pids, and waits.
LOCK_AND_FORK = """
import fcntl, os, sys, time
lock = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.lockf(lock, fcntl.LOCK_EX)
child = os.fork()
if child:
    print(os.getpid(), child, flush=True)
time.sleep(60)
"""


@pytest.fixture
def worker(run: Run) -> "Iterator[subprocess.Popen[bytes]]":
    """A fake worker that trains for minutes."""
    process = fake_worker.start(run.path, "steps:3000", "--rate", "20")
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def family(run: Run) -> "Iterator[subprocess.Popen[str]]":
    """A worker with a forked child, as PyTorch's data loaders are."""
    command = [sys.executable, "-c", LOCK_AND_FORK, str(run.lock)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    yield process
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        assert process.poll() is not None
    process.communicate()


def pids(family: "subprocess.Popen[str]") -> tuple[int, int]:
    assert family.stdout is not None
    parent, child = family.stdout.readline().split()
    return int(parent), int(child)


def alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


# --- made ----------------------------------------------------------------------------------------------------------


def test_a_run_is_private_whatever_the_umask(recipe: Make, fitune_home: Path) -> None:
    before = os.umask(0)
    try:
        made = runs.create(recipe(), runs.home() / "new", RunInfo(preset="p"))
        made.request_stop()
        EventLog(made.events, "train").write(Started())
    finally:
        os.umask(before)
    assert made.path.parent == fitune_home / "new" / "runs"
    modes = {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in made.path.iterdir()}
    assert modes == dict.fromkeys(("run.json", "stop", "events.jsonl"), "0o600")
    folders = (made.path, made.path.parent, fitune_home / "new")
    assert [stat.S_IMODE(path.stat().st_mode) for path in folders] == [0o700] * 3


def test_run_json_gives_the_recipe_back(recipe: Make, fitune_home: Path) -> None:
    given = recipe(run={"name": "mine"}, lora={"layers": [3, 4]}, deliver={"gguf": ["q8_0"]})
    made = runs.create(given, runs.home(), RunInfo(preset="p"))
    assert made.recipe() == given
    assert made.info().preset == "p"
    assert made.info().version == 1
    assert abs((made.info().created or 0) - time.time()) < 60


def test_a_name_is_made_of_date_and_model(recipe: Make, fitune_home: Path) -> None:
    names = {runs.create(recipe(model={"id": "Owner/Big Model_v2"}), runs.home()).name for _ in range(5)}
    assert len(names) == 5
    assert all(name.startswith(f"{time.strftime('%Y-%m-%d')}-big-model-v2-") for name in names)


def test_a_name_that_is_taken_is_refused_and_the_run_kept(recipe: Make, fitune_home: Path) -> None:
    first = runs.create(recipe(run={"name": "mine"}), runs.home(), RunInfo(preset="first"))
    with pytest.raises(UserError, match=r"There is a run named mine already\. Choose another name, or: fitune resume"):
        runs.create(recipe(run={"name": "mine"}), runs.home())
    assert first.info().preset == "first"


@pytest.mark.parametrize("blocked", ["", "runs"])
def test_a_home_that_cannot_be_written_to_is_named(recipe: Make, fitune_home: Path, blocked: str) -> None:
    place = fitune_home / blocked
    place.parent.mkdir(exist_ok=True)
    place.write_text("a file where a folder should be")
    with pytest.raises(UserError, match=r"can't be made: .* Set FITUNE_HOME to a folder you can write to\."):
        runs.create(recipe(run={"name": "mine"}), runs.home())


def test_a_disk_too_full_for_run_json_leaves_no_folder(
    recipe: Make, fitune_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        runs.create(recipe(), runs.home())
    assert list((fitune_home / "runs").iterdir()) == []


@pytest.mark.parametrize(
    ("override", "variable", "expected"),
    [("/a", "/b", "/a"), (None, "/b", "/b"), ("~/x", "/b", "HOME/x"), (None, "", "HOME/.local/share/fitune")],
)
def test_home_is_the_override_the_variable_or_the_xdg_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, override: str | None, variable: str, expected: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("FITUNE_HOME", variable)
    assert str(runs.home(override)) == expected.replace("HOME", str(tmp_path))


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.json"
    on_disk.write_atomically(path, b"old")

    def killed(fd: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        on_disk.write_atomically(path, b"new, but not whole")
    assert path.read_bytes() == b"old"
    monkeypatch.undo()
    on_disk.write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert [each.name for each in tmp_path.iterdir()] == ["run.json"]


def test_a_file_that_several_write_at_once_is_one_of_theirs(tmp_path: Path) -> None:
    path, texts = tmp_path / "run.json", [f"{n}".encode() * 4096 for n in range(3)]

    def write(text: bytes) -> None:
        for _ in range(20):
            on_disk.write_atomically(path, text)
            assert path.read_bytes() in texts

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, texts))
    assert [each.name for each in tmp_path.iterdir()] == ["run.json"]


def test_every_file_of_a_folder_is_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inner").mkdir()
    files = {tmp_path / "a", tmp_path / "inner" / "b"}
    for path in files:
        path.write_text("x")
    flushed: set[Path] = set()
    monkeypatch.setattr(os, "fsync", lambda fd: flushed.add(Path(os.readlink(f"/proc/self/fd/{fd}"))))
    on_disk.flush(tmp_path)
    assert flushed == files


@pytest.mark.parametrize("older", [False, True])
def test_a_finished_folder_takes_the_place_of_an_older_one(tmp_path: Path, older: bool) -> None:
    aside, place = tmp_path / "adapter.part", tmp_path / "adapter"
    if older:
        place.mkdir()
        (place / "stale").touch()
    aside.mkdir()
    (aside / "new").touch()
    on_disk.replace_folder(aside, place)
    assert [str(each.relative_to(tmp_path)) for each in tmp_path.rglob("*")] == ["adapter", "adapter/new"]


# --- found ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """Runs alpha-1, alpha-2 and beta, made in this order."""
    for age, name in enumerate(("beta", "alpha-2", "alpha-1")):
        info = fake_worker.make_run(tmp_path, name) / "run.json"
        os.utime(info, (1e9 - age, 1e9 - age))
    (tmp_path / "runs" / "no-run").mkdir()
    (tmp_path / "runs" / ".start").touch()
    return tmp_path


def test_runs_are_listed_newest_first(three: Path) -> None:
    assert [run.name for run in runs.all_runs(three)] == ["beta", "alpha-2", "alpha-1"]
    assert runs.all_runs(three / "elsewhere") == []


@pytest.mark.parametrize(("key", "name"), [(None, "beta"), ("beta", "beta"), ("a-1", "alpha-1"), ("bet", "beta")])
def test_a_run_is_found_by_name_by_part_or_as_the_newest(three: Path, key: str | None, name: str) -> None:
    assert runs.find(three, key).name == name


def test_a_run_that_is_removed_meanwhile_is_no_run(three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = list((three / "runs").glob("*/run.json"))
    shutil.rmtree(three / "runs" / "beta")
    monkeypatch.setattr(Path, "glob", lambda *_: iter(found))
    assert [run.name for run in runs.all_runs(three)] == ["alpha-2", "alpha-1"]


def test_a_name_too_long_for_a_path_is_no_run(three: Path) -> None:
    with pytest.raises(UserError, match="No run matches"):
        runs.find(three, "x" * 5000)


def test_a_run_is_found_by_its_path_from_anywhere(three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(three / "runs")
    assert runs.find(Path("/nowhere"), "./alpha-2").path == three / "runs" / "alpha-2"
    assert runs.find(Path("/nowhere"), str(three / "runs" / "beta")).name == "beta"


def test_a_whole_name_beats_a_part_of_others(three: Path) -> None:
    fake_worker.make_run(three, "alpha")
    assert runs.find(three, "alpha").name == "alpha"


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("alpha", "2 runs match 'alpha'. Runs: alpha-2, alpha-1"),
        ("gamma", "No run matches 'gamma'. Runs: beta, alpha-2, alpha-1"),
        ("", "No run matches ''. Runs: beta, alpha-2, alpha-1"),
    ],
)
def test_an_ambiguous_or_unknown_name_is_told_with_the_choice(three: Path, key: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        runs.find(three, key)
    assert str(caught.value) == said


def test_an_unset_variable_of_a_script_is_not_the_one_run_there_is(tmp_path: Path) -> None:
    fake_worker.make_run(tmp_path, "only")
    with pytest.raises(UserError, match=r"^No run matches ''"):
        runs.find(tmp_path, "")


def test_runs_of_another_user_are_no_runs_but_told(three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = three / "runs" / "beta"
    Run(theirs).events.touch()
    access = os.access  # root, who may run the tests, may read all
    monkeypatch.setattr(os, "access", lambda path, mode: path != Run(theirs).events and access(path, mode))
    assert [run.name for run in runs.all_runs(three)] == ["alpha-2", "alpha-1"]
    assert runs.unreadable_runs(three) == [theirs]
    for key in ("beta", str(theirs)):
        with pytest.raises(UserError, match=f"You may not read all of {theirs}"):
            runs.find(three, key)


def test_a_folder_of_runs_that_cannot_be_read_is_not_said_to_be_empty(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    assert runs.unreadable_runs(tmp_path) == [tmp_path / "runs"]
    with pytest.raises(UserError, match="You may not read all of"):
        runs.find(tmp_path, None)


@pytest.mark.parametrize("chosen", ["~nobody-here/fitune", None])
def test_a_home_folder_that_there_is_not_is_a_sentence_and_not_made(
    monkeypatch: pytest.MonkeyPatch, chosen: str | None
) -> None:
    def unknown(_: object) -> None:
        raise KeyError

    for name in ("HOME", "FITUNE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(UserError, match=f"There is no home folder {chosen or '~'} here"):
        runs.home(chosen)


def test_runs_are_found_from_a_folder_that_is_gone(three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> str:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(os, "getcwd", gone)
    assert runs.find(three, "beta").name == "beta"
    assert runs.find(three, None).name == "beta"


@pytest.mark.parametrize("key", [None, "any"])
def test_without_runs_the_way_to_the_first_is_told(tmp_path: Path, key: str | None) -> None:
    with pytest.raises(UserError, match=r"There are no runs in .* yet\. Start one: fitune demo"):
        runs.find(tmp_path, key)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"\xff", b'{"recipe": []}', b'{"recipe": {"model": 3}}']
)
def test_a_broken_run_json_is_a_sentence(run: Run, content: bytes) -> None:
    (run.path / "run.json").write_bytes(content)
    with pytest.raises(UserError, match=r"run\.json"):
        run.recipe()


def test_a_missing_run_json_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not a run: its run\.json can't be read"):
        Run(tmp_path).info()


# --- held, and how it stands ---------------------------------------------------------------------------------------


def test_a_run_without_a_lock_or_with_a_stale_one_is_not_held(run: Run) -> None:
    assert run.holder_pid() is None
    run.lock.write_text('{"pid":1,"started":1.0}\n')
    assert run.holder_pid() is None


def test_a_lock_file_that_names_a_living_foreign_process_means_nothing(run: Run) -> None:
    foreign = subprocess.Popen(["sleep", "60"])
    try:
        run.lock.write_text(json.dumps({"pid": foreign.pid, "started": time.time()}))
        EventLog(run.events, "train").write(Started())
        assert run.holder_pid() is None
        assert run.current()[0] == "killed"
        assert run.kill() is False
        assert foreign.poll() is None
    finally:
        foreign.kill()
        foreign.wait()


def test_the_holder_is_named_and_looking_never_takes_the_lock(run: Run, worker: "subprocess.Popen[bytes]") -> None:
    for _ in range(100):
        assert run.holder_pid() == worker.pid
    assert worker.poll() is None


@pytest.mark.parametrize(
    ("note", "host", "said"),
    [
        ({"started": 0.0}, "gpu-box", r"pid \d+ on gpu-box since \d\d:\d\d"),
        ({"started": "now"}, None, r"pid \d+"),
    ],
)
def test_check_40_who_holds_a_run_is_told_with_pid_host_and_time(
    run: Run, worker: "subprocess.Popen[bytes]", note: dict[str, Any], host: str | None, said: str
) -> None:
    run.lock.write_text(json.dumps(note))
    (run.path / "run.json").write_text(json.dumps({"host": host}))
    assert re.fullmatch(said, run.held_by())


def test_looking_does_not_want_to_write(run: Run, worker: "subprocess.Popen[bytes]") -> None:
    """A home on a disk that is mounted to be read only, or of somebody else."""
    run.lock.chmod(0o400)
    opened = os.open
    flags: list[int] = []

    def noting(path: str, flag: int, *more: int) -> int:
        flags.append(flag)
        return opened(path, flag, *more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", noting)
        assert run.holder_pid() == worker.pid
    assert [flag & os.O_ACCMODE for flag in flags] == [os.O_RDONLY]


def test_looking_does_not_keep_a_worker_from_starting(run: Run) -> None:
    run.lock.touch()
    assert run.holder_pid() is None
    lock = os.open(run.lock, os.O_RDWR)
    fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(lock)


@pytest.mark.parametrize(
    ("events", "status"),
    [
        ([], "killed"),
        (["started", "phase", "step"], "killed"),
        (["started", "finished"], "finished"),
        (["started", "failed"], "failed"),
        (["started", "failed", "started"], "killed"),
        (["started", "failed", "started", "finished"], "finished"),
    ],
)
def test_a_dead_run_stands_as_its_last_event_says(run: Run, events: list[Any], status: str) -> None:
    for kind in events:
        write_raw(run.events, kind)
    run.request_stop()  # asked for too late: the worker was dead
    assert run.current()[0] == status


def test_a_live_run_is_starting_then_running_then_stopping_then_stopped(
    run: Run, worker: "subprocess.Popen[bytes]"
) -> None:
    assert run.holder_pid() is not None
    assert run.status(runs.RunState()) == "starting"
    wait_until(lambda: run.current()[0] == "running")
    run.request_stop()
    assert run.current()[0] in ("stopping", "stopped")
    assert worker.wait(60) == 0
    assert run.current()[0] == "stopped"
    assert run.newest_checkpoint() is not None


def test_a_job_after_another_is_starting_until_it_tells_something(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    log = EventLog(run.events, "train")
    for each in (Started(), Phase(name="train"), Finished()):
        log.write(each)
    monkeypatch.setattr(Run, "holder_pid", lambda self: os.getpid())
    ended_t = run.state().ended_t
    assert ended_t
    run.lock.write_text(json.dumps({"started": ended_t - 10}))  # its own worker, about to leave
    assert run.status(run.state()) == "running"
    run.lock.write_text(json.dumps({"started": ended_t + 1}))
    assert run.status(run.state()) == "starting"
    EventLog(run.events, "merge").write(Started())
    EventLog(run.events, "merge").write(Phase(name="load"))
    assert run.status(run.state()) == "running"


@pytest.mark.parametrize(("job", "training"), [("merge", "finished"), ("train", "killed")])
def test_a_worker_killed_before_its_first_word_does_not_pass_for_the_one_before(
    run: Run, job: str, training: str
) -> None:
    EventLog(run.events, "train").write(Started())
    EventLog(run.events, "train").write(Finished())
    ended_t = run.state().ended_t
    assert ended_t
    run.lock.write_text(json.dumps({"job": job, "started": ended_t + 1}))
    assert run.status(run.state()) == "killed"
    assert run.current()[0] == training


def test_a_merge_that_said_nothing_is_killed_though_the_clock_was_set_back(run: Run) -> None:
    EventLog(run.events, "train").write(Started())
    EventLog(run.events, "train").write(Finished())
    ended_t = run.state().ended_t
    assert ended_t
    run.lock.write_text(json.dumps({"job": "merge", "started": ended_t - 500}))
    assert run.status(run.state()) == "killed"
    assert run.silent_job(run.state()) == "merge"
    assert run.current()[0] == "finished"


def test_a_job_that_fails_before_it_has_started_does_not_pass_for_the_one_before(run: Run) -> None:
    EventLog(run.events, "train").write(Started())
    EventLog(run.events, "train").write(Finished())
    ended_t = run.state().ended_t
    assert ended_t
    run.lock.write_text(json.dumps({"job": "merge", "started": ended_t}))
    EventLog(run.events, "merge").write(Failed(kind="data", message="No such recipe."))
    state = run.state()
    assert (state.job, run.status(state), run.status(state, "merge")) == ("merge", "failed", "failed")
    assert run.current()[0] == "finished"


def test_after_kill_9_the_status_is_killed_at_once(run: Run, worker: "subprocess.Popen[bytes]") -> None:
    wait_until(lambda: run.state().step)
    worker.kill()
    wait_until(lambda: run.current()[0] == "killed")  # while it is still a zombie of ours
    assert worker.poll() is not None


def test_a_run_that_ends_between_two_looks_was_not_killed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    log = EventLog(run.events, "train")
    log.write(Started())
    stale = run.state()
    log.write(Finished())
    fresh = run.state()
    looks = iter((stale, fresh))
    monkeypatch.setattr("fitune.core.runs.run.fold", lambda events: next(looks))
    assert run.current() == ("finished", fresh)


def test_a_look_at_a_run_reads_few_of_its_steps(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    log = EventLog(run.events, "train")
    log.write(Started())
    for step in range(1, 2001):
        log.write(Step(step=step, loss=1.0))
    log.write(Finished())
    parsed: list[bytes] = []

    def noting(line: bytes) -> Any:
        parsed.append(line)
        return parse_line(line)

    monkeypatch.setattr(event_log, "parse_line", noting)
    status, state = run.current()
    assert (status, state.step) == ("finished", Step(step=2000, loss=1.0))
    assert len(parsed) < 20


def test_a_forked_child_does_not_keep_a_dead_worker_alive(run: Run, family: "subprocess.Popen[str]") -> None:
    parent, child = pids(family)
    assert run.holder_pid() == parent
    os.kill(parent, signal.SIGKILL)
    wait_until(lambda: run.holder_pid() is None)
    assert alive(child)


def test_kill_ends_the_worker_and_its_children(run: Run, family: "subprocess.Popen[str]") -> None:
    parent, child = pids(family)
    assert run.kill() is True
    wait_until(lambda: not alive(parent) and not alive(child))
    assert run.holder_pid() is None
    assert run.kill() is False


def test_the_worker_of_another_user_is_not_killed_but_told(
    run: Run, worker: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "killpg", refuse)
    with pytest.raises(UserError, match=r"The worker of .* is another user's"):
        run.kill()
    assert run.holder_pid() == worker.pid
    assert KILLED_AS_ASKED not in run.log.read_text()


def test_a_worker_that_ends_just_before_it_is_killed_was_not_killed(
    run: Run, worker: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: int) -> None:
        raise ProcessLookupError(3, "No such process")

    monkeypatch.setattr(os, "killpg", gone)
    assert run.kill() is False
    assert KILLED_AS_ASKED not in run.log.read_text()


def test_a_stop_that_cannot_be_asked_for_is_a_sentence(run: Run) -> None:
    gone = Run(run.path / "gone")
    with pytest.raises(UserError, match=r"stop can.t be written: No such file or directory"):
        gone.request_stop()


def test_silence_is_counted_from_the_last_sign_of_life(run: Run) -> None:
    assert run.silent_s() is None
    run.lock.touch()
    assert 0 <= (run.silent_s() or 0) < 5
    an_hour_ago = time.time() - 3600
    os.utime(run.lock, (an_hour_ago, an_hour_ago))
    assert 3590 < (run.silent_s() or 0) < 3700
    os.utime(run.lock, (time.time() + 3600,) * 2)  # a clock that was set back
    assert run.silent_s() == 0.0


def test_the_newest_checkpoint_is_the_highest_that_is_whole(run: Run) -> None:
    assert run.newest_checkpoint() is None
    for name in (
        "checkpoint-9",
        "checkpoint-10",
        "checkpoint-11.part",
        "tmp-checkpoint-12",
        "checkpoint-",
        "checkpoint-x",
    ):
        (run.checkpoints / name).mkdir(parents=True)
    newest = run.newest_checkpoint()
    assert newest is not None
    assert newest.name == "checkpoint-10"


@pytest.mark.parametrize(
    ("losses", "eval_losses", "fell"),
    [
        ([3.0, 2.0], [], True),
        ([2.0, 3.0], [], False),
        ([2.0], [], False),
        ([], [], False),
        ([2.0, 3.0], [2.0, 1.5], True),
        ([3.0, 2.0], [1.5, 2.0], False),
        ([3.0, 2.0], [2.0], True),
    ],
)
def test_whether_the_loss_fell(run: Run, losses: list[float], eval_losses: list[float], fell: bool) -> None:
    log = EventLog(run.events, "train")
    for step, loss in enumerate(losses, 1):
        log.write(Step(step=step, loss=loss))
    for step, loss in enumerate(eval_losses, 1):
        log.write(Eval(step=step, loss=loss))
    assert run.loss_fell() is fell
