"""Starting a worker: it lives in a session of its own, two never meet, and one that fails to come up is told."""

import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from core import detached, launch, machine, prepared_cache, runs
from core.config import Recipe
from core.errors import UserError
from core.events import EventLog
from core.machine import Gpu, Machine
from core.runs import Run
from tests import fake_worker
from tests.fake_worker import wait_until
from tests.token_rows import prepared

GIB = 1 << 30
ROOT = Path(__file__).parents[2]
CARD = {"uuid": "GPU-1", "name": "NVIDIA L4"}
# What `fitune train` is to its worker: it starts it, says so, and stays for a while.
PARENT = """
import sys, time
from pathlib import Path
from core import detached, launch
from core.runs import Run
STORY = ["steps:3000", "--rate", "50"]
detached._command = lambda run, job: [sys.executable, "tests/fake_worker.py", str(run.path), *STORY]
detached._lingering_user_manager = lambda: False
print("ready", launch.start(Run(Path(sys.argv[1])), "train"), flush=True)
time.sleep(60)
"""
# Workers that come late, and that are gone before anyone looks.
LATE = """
import fcntl, sys, time
time.sleep(0.5)
lock = open(sys.argv[1] + "/lock", "w")
fcntl.lockf(lock, fcntl.LOCK_EX)
time.sleep(60)
"""
BRIEF = """
import sys
from pathlib import Path
from core.events import EventLog
EventLog(Path(sys.argv[1]) / "events.jsonl", "train").write("failed", kind="data")
"""

Start = Callable[..., Run]


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", code, *arguments]


def training(run: Run, job: str) -> list[str]:
    """The fake worker, in place of the real one: a minute of steps."""
    return [sys.executable, fake_worker.__file__, str(run.path), "steps:3000", "--rate", "50"]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Start]:
    """Makes run folders; workers that are still alive at the end are killed."""

    def made(name: str = "run-a", **info: object) -> Run:
        return Run(fake_worker.make_run(tmp_path, name, **info))

    yield made
    for run in runs.all_runs(tmp_path):
        run.kill()


@pytest.fixture
def run(make: Start) -> Run:
    return make()


@pytest.fixture(autouse=True)
def fake_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake worker in place of the real one, and no systemd unless a test brings it."""
    monkeypatch.setattr(detached, "_command", training)
    monkeypatch.setattr(detached, "_lingering_user_manager", lambda: False)


def worker_is(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Start this Python code, with the run folder as its argument, instead of the fake worker."""
    monkeypatch.setattr(detached, "_command", lambda run, job: python(code, str(run.path)))


def steps(run: Run) -> int:
    return int(run.state().step.get("step", 0))


# --- apart from its parent -----------------------------------------------------------------------------------------


def test_a_started_worker_holds_the_run_in_a_session_of_its_own(run: Run) -> None:
    assert launch.start(run, "train") == "setsid"
    pid = run.holder_pid()
    assert pid is not None
    assert os.getsid(pid) == pid != os.getsid(0)


def test_a_worker_holds_no_pipe_and_no_terminal(run: Run) -> None:
    launch.start(run, "train")
    open_files = Path(f"/proc/{run.holder_pid()}/fd")
    targets = {each.name: os.readlink(each) for each in open_files.iterdir()}
    assert [targets.pop(fd) for fd in "012"] == ["/dev/null", str(run.log), str(run.log)]
    assert set(targets.values()) <= {str(run.lock), str(run.events)}
    assert run.log.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("end", [signal.SIGHUP, signal.SIGKILL, signal.SIGINT], ids=lambda end: end.name)
def test_a_worker_survives_what_ends_its_parents_session(run: Run, end: signal.Signals) -> None:
    command = python(PARENT, str(run.path))
    parent = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"ready setsid\n"
    os.killpg(parent.pid, end)
    assert parent.wait(10) != 0
    assert parent.stdout.read() == b""  # ends now: the worker did not inherit the pipe
    parent.stdout.close()
    seen = steps(run)
    wait_until(lambda: steps(run) > seen + 2)


def test_a_worker_survives_the_end_of_its_parents_terminal(run: Run) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execv(sys.executable, python(PARENT, str(run.path)))
    said = b""
    while b"ready" not in said:
        said += os.read(terminal, 1000)
    os.close(terminal)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGHUP
    seen = steps(run)
    wait_until(lambda: steps(run) > seen + 2)


def test_a_folder_named_core_where_the_user_stands_is_not_ours(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    command = detached._command(run, "train")
    assert command[2:] == ["-m", "core.worker", str(run.path), "train"]
    look = [*command[:2], "-c", "import core; print(core.__file__)"]
    said = subprocess.run(look, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == str(ROOT / "core" / "__init__.py")


# --- one at a time -------------------------------------------------------------------------------------------------


def test_of_two_starts_at_once_one_wins(run: Run) -> None:
    said: list[str] = []

    def start() -> None:
        try:
            said.append(launch.start(run, "train"))
        except UserError as error:
            said.append(str(error))

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused = f"run-a is running already ({run.held_by()}). Watch it: fitune watch run-a"
    assert sorted(said) == [refused, "setsid"]
    assert re.fullmatch(r"pid \d+( on \S+)?( since \d\d:\d\d)?", run.held_by()), "check 40"


def test_a_card_that_another_run_holds_is_refused_with_its_name_unless_shared(make: Start) -> None:
    first, second = make("first", gpu=CARD), make("second", gpu=CARD)
    launch.start(first, "train")
    with pytest.raises(UserError) as caught:
        launch.start(second, "train")
    assert str(caught.value) == (
        "NVIDIA L4 is held by the run first. Watch it (fitune watch first), stop it (fitune stop first), "
        "or add --share-gpu."
    )
    assert second.holder_pid() is None
    assert launch.start(second, "train", share_gpu=True) == "setsid"
    assert second.holder_pid() is not None


@pytest.mark.parametrize("other", [None, {"uuid": "GPU-2", "name": "NVIDIA L4"}])
def test_a_run_on_another_card_or_none_is_no_obstacle(make: Start, other: dict[str, str] | None) -> None:
    launch.start(make("first", gpu=other), "train")
    assert launch.start(make("second", gpu=CARD), "train") == "setsid"


def test_a_dead_run_holds_no_card(make: Start) -> None:
    first = make("first", gpu=CARD)
    launch.start(first, "train")
    first.kill()
    wait_until(lambda: first.holder_pid() is None)
    assert launch.start(make("second", gpu=CARD), "train") == "setsid"


# --- up, or not ----------------------------------------------------------------------------------------------------


def test_an_old_wish_to_stop_does_not_stop_the_new_worker(run: Run) -> None:
    run.request_stop()
    launch.start(run, "train")
    wait_until(lambda: steps(run) > 2)
    assert run.look()[0] == "running"


def test_a_resume_waits_for_the_new_worker_although_the_log_has_an_end(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    EventLog(run.events, "train").write("failed", kind="oom")
    worker_is(monkeypatch, LATE)
    launch.start(run, "train")
    assert run.holder_pid() is not None


def test_a_job_that_is_over_before_anyone_looks_was_started(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    worker_is(monkeypatch, BRIEF)
    assert launch.start(run, "train") == "setsid"
    assert run.look()[0] == "failed"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise SystemExit('No module named core')", "The worker ended at once: No module named core See "),
        ("print('first'); print('last'); raise SystemExit(1)", "The worker ended at once: last See "),
        ("raise SystemExit(2)", "The worker ended at once: it said nothing See "),
        ("import os; os.write(1, b'\\xff' * 999); os._exit(1)", "The worker ended at once: \ufffd\ufffd"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "The worker ended at once: it said nothing See "),
    ],
)
def test_a_worker_that_dies_at_once_is_told_with_its_last_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, code: str, said: str
) -> None:
    worker_is(monkeypatch, code)
    with pytest.raises(UserError) as caught:
        launch.start(run, "train")
    assert str(caught.value).startswith(said)
    assert str(caught.value).endswith(f"See {run.log}")
    assert caught.value.exit_code == 1


def test_a_worker_that_never_takes_the_lock_is_ended(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    worker_is(monkeypatch, "import os, time; print(os.getpid(), flush=True); time.sleep(60)")
    monkeypatch.setattr(detached, "WAIT_FOR_LOCK_S", 0.5)
    with pytest.raises(UserError, match=r"The worker did not come up\."):
        launch.start(run, "train")
    pid = int(run.log.read_text())
    wait_until(lambda: not Path(f"/proc/{pid}").exists() or ") Z" in Path(f"/proc/{pid}/stat").read_text())


# --- through systemd -----------------------------------------------------------------------------------------------


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on PATH with stand-ins for systemd's tools; what systemd-run was told is in the file `argv`."""
    monkeypatch.undo()
    monkeypatch.setattr(detached, "_command", training)
    tools = tmp_path / "bin"
    tools.mkdir()
    run_it = 'while [ "$1" != -- ]; do shift; done; shift; setsid "$@" > /dev/null 2>&1 &'
    for name, script in {
        "loginctl": "echo yes",
        "systemctl": "exit 0",
        "systemd-run": f"printf '%s\\n' \"$@\" > {tools}/argv\n{run_it}",
    }.items():
        tool(tools / name, script)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    return tools


def tool(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_with_a_lingering_user_manager_the_worker_is_a_unit_of_its_own(run: Run, systemd: Path) -> None:
    assert launch.start(run, "train") == "systemd"
    assert run.holder_pid() is not None
    told = (systemd / "argv").read_text().splitlines()
    assert told[0] == "--user"
    assert f"--property=StandardOutput=append:{run.log}" in told
    assert any(each.startswith("--unit=fitune-run-a-train-") for each in told)
    assert told[told.index("--") + 1 :] == detached._command(run, "train")
    assert run.log.stat().st_mode & 0o777 == 0o600


def test_no_secret_of_the_environment_stands_in_an_argument(
    run: Run, systemd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_verysecretverysecret")
    launch.start(run, "train")
    told = (systemd / "argv").read_text()
    assert "--setenv=HF_TOKEN\n" in told
    assert "verysecret" not in told


def test_variables_that_systemd_refuses_are_left_behind(
    run: Run, systemd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BASH_FUNC_which%%", "() { :; }")
    monkeypatch.setenv("LESS_TERMCAP_mb", "\x1b[1m")
    launch.start(run, "train")
    told = (systemd / "argv").read_text()
    assert "BASH_FUNC" not in told
    assert "LESS_TERMCAP" not in told
    assert "--setenv=PATH\n" in told


@pytest.mark.parametrize(
    ("name", "script"),
    [("loginctl", "echo no"), ("loginctl", "exit 1"), ("systemctl", "echo 'Failed to connect to bus' >&2; exit 1")],
)
def test_without_a_lingering_user_manager_a_new_session_does(run: Run, systemd: Path, name: str, script: str) -> None:
    tool(systemd / name, script)
    assert launch.start(run, "train") == "setsid"
    assert not (systemd / "argv").exists()


@pytest.mark.parametrize("name", ["loginctl", "systemd-run"])
def test_without_systemds_tools_a_new_session_does(
    run: Run, systemd: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (systemd / name).unlink()
    monkeypatch.setenv("PATH", str(systemd))
    assert launch.start(run, "train") == "setsid"


def test_a_unit_that_systemd_refuses_is_told_in_its_words(run: Run, systemd: Path) -> None:
    tool(systemd / "systemd-run", "echo 'Failed to start transient service unit: busy' >&2; exit 1")
    with pytest.raises(UserError, match="The worker ended at once: Failed to start transient service unit: busy"):
        launch.start(run, "train")


# --- a whole beginning ---------------------------------------------------------------------------------------------


@pytest.fixture
def here(fitune_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine with one card, and a budget that fits."""
    card = Gpu(0, "GPU-1", "NVIDIA L4", 24 * GIB, 23 * GIB, GIB, compute_capability=(8, 9))
    found = Machine(gpus=(card,), gpu_state="ok", versions={"unsloth": "2026.10.7"}, python_version="3.12.1")
    monkeypatch.setattr(machine, "detect", lambda runs_dir=None: found)
    monkeypatch.setattr(launch, "budget_of", lambda *_: None)
    yield found
    for run in runs.all_runs(fitune_home):
        run.kill()


def test_a_beginning_is_recorded_as_it_was_resolved(here: Machine, recipe: Callable[..., Recipe]) -> None:
    begun = launch.begin(recipe(run={"name": "mine"}), preset="p")
    info = begun.run.info()
    assert (begun.how, begun.run.name) == ("setsid", "mine")
    assert begun.run.recipe().train.backend == "unsloth"
    assert info["gpu"] == {
        "uuid": "GPU-1", "name": "NVIDIA L4", "total_bytes": 24 * GIB, "free_bytes": 23 * GIB,
        "compute_capability": [8, 9],
    }  # fmt: skip
    assert info["versions"] == {"python": "3.12.1", "unsloth": "2026.10.7"}
    assert info["preset"] == "p"
    assert begun.run.look()[0] in ("starting", "running")


def test_a_beginning_counts_rows_as_they_were_measured_before(
    here: Machine, fitune_home: Path, recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, asked = prepared([(60, [(50, 60)])] * 40), []
    monkeypatch.setattr(launch, "budget_of", lambda *given: asked.append(given[-1]))
    monkeypatch.setattr(prepared_cache, "known", lambda asked, base: rows if base == fitune_home else None)
    begun = launch.begin(recipe())
    assert asked == [rows]
    assert begun.work is not None
    assert begun.run.info()["workload"]["longest"] == begun.work.longest == 60
    begun.run.kill()
    monkeypatch.setattr(prepared_cache, "known", lambda *_: None)
    assert launch.begin(recipe(), share_gpu=True).run.info()["workload"] is None


def test_a_beginning_that_is_refused_leaves_nothing(
    here: Machine, fitune_home: Path, recipe: Callable[..., Recipe]
) -> None:
    launch.begin(recipe(run={"name": "first"}))
    with pytest.raises(UserError, match="is held by the run first"):
        launch.begin(recipe(run={"name": "second"}))
    assert [run.name for run in runs.all_runs(fitune_home)] == ["first"]


def test_a_worker_that_dies_at_its_beginning_leaves_its_log(
    here: Machine, fitune_home: Path, recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker_is(monkeypatch, "raise SystemExit('out of luck')")
    with pytest.raises(UserError, match="out of luck"):
        launch.begin(recipe(run={"name": "mine"}))
    assert (fitune_home / "runs" / "mine" / "worker.log").read_text() == "out of luck\n"


def test_a_budget_that_does_not_fit_is_refused_unless_it_is_wanted_anyway(
    here: Machine, fitune_home: Path, recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = [{"set": {"train.micro_batch": 1, "train.grad_accum": 8}}, {"set": {"model.max_seq_length": 1024}}]
    over = {"verdict": "over", "total_bytes": 30 * GIB, "free_bytes": 23 * GIB, "remedies": ways}
    monkeypatch.setattr(launch, "budget_of", lambda *_: over)
    with pytest.raises(UserError) as caught:
        launch.begin(recipe())
    assert str(caught.value) == (
        "This needs about 30.0 GiB, and NVIDIA L4 has 23.0 GiB free. Try --set train.micro_batch=1 "
        "--set train.grad_accum=8 or --set model.max_seq_length=1024; or start it anyway with --yes."
    )
    assert runs.all_runs(fitune_home) == []
    assert launch.begin(recipe(), anyway=True).run.info()["budget"]["verdict"] == "over"


def test_without_a_card_no_run_is_too_large(
    here: Machine, recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "detect", lambda runs_dir=None: replace(here, gpus=(), gpu_state="none"))
    monkeypatch.setattr(launch, "budget_of", lambda *_: {"verdict": "over"})
    assert launch.begin(recipe()).run.info()["gpu"] is None
