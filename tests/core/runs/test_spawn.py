"""A worker lives in a session of its own, or as a unit of systemd, and one that fails to come up is told."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fitune.core.errors import UserError
from fitune.core.runs import EventLog, Failed, spawn
from fitune.core.runs.run import Run
from tests.events import step_of
from tests.fake_worker import stand_in, wait_until

ROOT = Path(__file__).parents[3]
# What `fitune train` is to its worker: it starts it, says so, and stays for a while.
PARENT = """
import sys, time
from pathlib import Path
from fitune.core.runs import spawn
from fitune.core.runs.run import Run
from tests.fake_worker import stand_in
spawn._command = stand_in("steps:3000", "--rate", "50")
spawn._lingering_user_manager = lambda: False
print("ready", spawn.spawn(Run(Path(sys.argv[1])), "train"), flush=True)
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
from fitune.core.runs import EventLog, Failed
EventLog(Path(sys.argv[1]) / "events.jsonl", "train").write(Failed(kind="data", message="No rows."))
"""
pytestmark = pytest.mark.usefixtures("minute_of_steps")


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", code, *arguments]


def worker_is(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Start this Python code, with the run folder as its argument, instead of the fake worker."""
    monkeypatch.setattr(spawn, "_command", lambda run, job: python(code, str(run.path)))


def steps(run: Run) -> int:
    return step_of(run)


# --- apart from its parent -----------------------------------------------------------------------------------------


def test_a_started_worker_holds_the_run_in_a_session_of_its_own(run: Run) -> None:
    assert spawn.spawn(run, "train") == "setsid"
    pid = run.holder_pid()
    assert pid is not None
    assert os.getsid(pid) == pid != os.getsid(0)


def test_a_worker_holds_no_pipe_and_no_terminal(run: Run) -> None:
    spawn.spawn(run, "train")
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
    assert parent.wait(60) != 0
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


def test_a_folder_named_fitune_where_the_user_stands_is_not_ours(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    (tmp_path / "fitune").mkdir()
    (tmp_path / "fitune" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    command = spawn._command(run, "train")
    assert command[2:] == ["-m", "fitune.core.worker", str(run.path), "train"]
    look = [*command[:2], "-c", "import fitune.core; print(fitune.core.__file__)"]
    said = subprocess.run(look, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == str(ROOT / "src" / "fitune" / "core" / "__init__.py")


# --- up, or not ----------------------------------------------------------------------------------------------------


def test_a_resume_waits_for_the_new_worker_although_the_log_has_an_end(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    EventLog(run.events, "train").write(Failed(kind="oom", message="Full."))
    worker_is(monkeypatch, LATE)
    spawn.spawn(run, "train")
    assert run.holder_pid() is not None


def test_a_job_that_is_over_before_anyone_looks_was_started(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    worker_is(monkeypatch, BRIEF)
    assert spawn.spawn(run, "train") == "setsid"
    assert run.current()[0] == "failed"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise SystemExit('No module named core')", "The worker ended at once: No module named core See "),
        ("print('first'); print('last'); raise SystemExit(1)", "The worker ended at once: last See "),
        ("raise SystemExit(2)", "The worker ended at once: its log is empty See "),
        ("import os; os.write(1, b'\\xff' * 999); os._exit(1)", "The worker ended at once: \ufffd\ufffd"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "The worker ended at once: its log is empty See "),
    ],
)
def test_a_worker_that_dies_at_once_is_told_with_its_last_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, code: str, said: str
) -> None:
    worker_is(monkeypatch, code)
    with pytest.raises(UserError) as caught:
        spawn.spawn(run, "train")
    assert str(caught.value).startswith(said)
    assert str(caught.value).endswith(f"See {run.log}")
    assert caught.value.exit_code == 1


def test_a_worker_that_never_takes_the_lock_is_ended(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    worker_is(monkeypatch, "import os, time; print(os.getpid(), flush=True); time.sleep(60)")
    monkeypatch.setattr(spawn, "WAIT_FOR_LOCK_S", 0.5)
    with pytest.raises(UserError, match=r"The worker did not come up\."):
        spawn.spawn(run, "train")
    pid = int(run.log.read_text())
    wait_until(lambda: not Path(f"/proc/{pid}").exists() or ") Z" in Path(f"/proc/{pid}/stat").read_text())


# --- through systemd -----------------------------------------------------------------------------------------------


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on PATH with stand-ins for systemd's tools; what systemd-run was told is in the file `argv`."""
    monkeypatch.undo()
    monkeypatch.setattr(spawn, "_command", stand_in("steps:3000", "--rate", "50"))
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
    assert spawn.spawn(run, "train") == "systemd"
    assert run.holder_pid() is not None
    told = (systemd / "argv").read_text().splitlines()
    assert told[0] == "--user"
    assert f"--property=StandardOutput=append:{run.log}" in told
    assert any(each.startswith("--unit=fitune-run-a-train-") for each in told)
    assert told[told.index("--") + 1 :] == spawn._command(run, "train")
    assert run.log.stat().st_mode & 0o777 == 0o600


def test_a_unit_that_does_not_come_up_is_ended_lest_it_trains_later(
    run: Run, systemd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool(systemd / "systemctl", f'echo "$@" >> {systemd}/asked')
    tool(systemd / "systemd-run", "exit 0")
    monkeypatch.setattr(spawn, "WAIT_FOR_LOCK_S", 0.1)
    with pytest.raises(UserError, match="did not come up"):
        spawn.spawn(run, "train")
    unit = f"fitune-{run.name}-train-{os.getpid()}"
    assert (systemd / "asked").read_text().splitlines()[1:] == [f"--user kill --signal=KILL {unit}"]


def test_no_secret_of_the_environment_stands_in_an_argument(
    run: Run, systemd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_verysecretverysecret")
    spawn.spawn(run, "train")
    told = (systemd / "argv").read_text()
    assert "--setenv=HF_TOKEN\n" in told
    assert "verysecret" not in told


def test_variables_that_systemd_refuses_are_left_behind(
    run: Run, systemd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BASH_FUNC_which%%", "() { :; }")
    monkeypatch.setenv("LESS_TERMCAP_mb", "\x1b[1m")
    spawn.spawn(run, "train")
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
    assert spawn.spawn(run, "train") == "setsid"
    assert not (systemd / "argv").exists()


@pytest.mark.parametrize("name", ["loginctl", "systemd-run"])
def test_without_systemds_tools_a_new_session_does(
    run: Run, systemd: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (systemd / name).unlink()
    monkeypatch.setenv("PATH", str(systemd))
    assert spawn.spawn(run, "train") == "setsid"


def test_a_unit_that_systemd_refuses_is_told_in_its_words(run: Run, systemd: Path) -> None:
    tool(systemd / "systemd-run", "echo 'Failed to start transient service unit: busy' >&2; exit 1")
    with pytest.raises(UserError, match="The worker ended at once: Failed to start transient service unit: busy"):
        spawn.spawn(run, "train")


def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of fitune's data, which is not there yet."""
    monkeypatch.setenv("FITUNE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that stands for Unsloth; the folder of what is compiled of it."""
    (folder / "slow_package").mkdir(parents=True)
    (folder / "slow_package" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(spawn, "SLOW_TO_COMPILE", "slow_package")
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", "")  # so that it is as before after the test
    monkeypatch.delenv("PYTHONPYCACHEPREFIX")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setattr(sys, "pycache_prefix", None)
    return folder / "slow_package" / "__pycache__"


def test_bytecode_that_may_not_be_kept_beside_the_sources_is_kept_in_a_folder_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path / "site", monkeypatch)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    kept = home(tmp_path, monkeypatch) / "bytecode"
    spawn._keep_bytecode()
    assert os.environ["PYTHONPYCACHEPREFIX"] == str(kept)
    assert kept.stat().st_mode & 0o777 == 0o700
    subprocess.run([sys.executable, "-c", "import slow_package"], check=True, cwd=tmp_path / "site")
    assert list(kept.rglob("slow_package/__init__*.pyc"))


def test_bytecode_is_not_taken_from_a_folder_that_others_can_write_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path / "site", monkeypatch)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    kept = home(tmp_path, monkeypatch) / "bytecode"
    kept.mkdir(parents=True)
    kept.chmod(0o777)
    spawn._keep_bytecode()
    assert "PYTHONPYCACHEPREFIX" not in os.environ


def test_bytecode_that_is_there_or_may_be_written_stays_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = package(tmp_path / "site", monkeypatch)
    own = home(tmp_path, monkeypatch)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    spawn._keep_bytecode()
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    cache.mkdir()
    (cache / f"__init__.{sys.implementation.cache_tag}.pyc").touch()
    spawn._keep_bytecode()
    assert "PYTHONPYCACHEPREFIX" not in os.environ
    assert not own.exists()


def test_a_worker_starts_where_no_bytecode_can_be_kept_at_all(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path / "site", monkeypatch)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    home(tmp_path, monkeypatch).touch()  # a file stands where the folder should be
    worker_is(monkeypatch, BRIEF)
    spawn.spawn(run, "train")
    assert "PYTHONPYCACHEPREFIX" not in os.environ
