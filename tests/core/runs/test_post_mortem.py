"""Why a worker died is told where anybody knows: its log, systemd, the kernel, the container."""

import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from fitune.core.runs import post_mortem
from fitune.core.runs.run import KILLED_AS_ASKED, Run
from tests.fake_worker import make_run, start


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = Run(make_run(tmp_path, told="killed"))
    made.lock.write_text('{"pid":4711,"job":"train","started":1.0}\n')
    return made


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("step 1\n\nfitune: killed as asked\n", "It was killed as asked, with fitune."),
        ("Fatal Python error: Segmentation fault\n\nThread 0x1:\n", "Its log says: Fatal Python error: Segmentation"),
        ("terminate called after throwing an instance of 'c10::Error'\n  what():  CUDA error: x\n", "CUDA error: x"),
        ("fitune: killed as asked\nGoing on.\n", None),
        ("step 1\n", None),
        ("", None),
        (None, None),
    ],
)
def test_the_log_tells_of_a_kill_by_fitune_and_of_a_crash(tmp_path: Path, log: str | None, said: str | None) -> None:
    file = tmp_path / "worker.log"
    if log is not None:
        file.write_text(log)
    found = post_mortem.from_log(file)
    assert said in found if said and found else found == said


def test_only_the_end_of_a_long_log_counts(tmp_path: Path) -> None:
    file = tmp_path / "worker.log"
    file.write_text("Fatal Python error: old\n" + "step\n" * post_mortem.LOG_BYTES)
    assert post_mortem.from_log(file) is None


@pytest.mark.parametrize("free_bytes", [0, 1 << 30])
def test_a_full_disk_is_told_as_the_reason_of_the_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_bytes: int
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free_bytes))
    assert (post_mortem.from_disk(tmp_path) or "").startswith(f"The disk of {tmp_path} is full") == (free_bytes == 0)


def test_a_kill_by_fitune_is_noted_in_the_log(tmp_path: Path) -> None:
    run = Run(make_run(tmp_path))
    worker = start(run.path, "steps:3000")
    assert run.kill()
    run.wait_for_end()
    assert run.holder_pid() is None
    worker.wait(60)
    assert run.log.read_text().endswith(f"\n{KILLED_AS_ASKED}\n")
    assert post_mortem.cause_of_death(run) == "It was killed as asked, with fitune."


@pytest.mark.parametrize(
    ("journal", "said"),
    [
        ("u: A process of this unit has been killed by the OOM killer.\nu: Failed with result 'oom-kill'.", "RAM ran"),
        ("u: Main process exited, code=killed, status=9/KILL", "systemd says: signal KILL, kill -9."),
        ("u: Main process exited, code=dumped, status=11/SEGV", "signal SEGV, a crash in native code"),
        ("u: Main process exited, code=killed, status=15/TERM", "signal TERM, sent by someone"),
        ("-- No entries --", None),
    ],
)
def test_systemds_journal_tells_the_signal(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, journal: str, said: str | None
) -> None:
    tool = tmp_path / "bin" / "journalctl"
    tool.parent.mkdir()
    asked = "--user --unit=fitune-run-a-train-* --since=@1 "  # not of fitune-run-a-b-train-1, nor of an earlier worker
    tool.write_text(f'#!/bin/sh\ncase "$*" in "{asked}"*) ;; *) exit 1 ;; esac\ncat <<"END"\n{journal}\nEND\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent), prepend=os.pathsep)
    found = post_mortem.from_systemd(run)
    assert said in found if said and found else found == said


def test_without_systemd_nothing_is_asked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert post_mortem.from_systemd(run) is None


@pytest.mark.parametrize(("pid", "after_s", "found"), [(4711, 1, True), (4712, 1, False), (4711, -1, False)])
def test_the_kernel_tells_of_this_process_if_it_died_after_its_start(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pid: int, after_s: int, found: bool
) -> None:
    died_us = int((time.monotonic() - 60) * 1e6)
    run.lock.write_text(f'{{"pid":4711,"started":{time.time() - 60 - after_s}}}\n')
    messages = tmp_path / "kmsg"
    messages.write_text(f"6,812,{died_us},-;Out of memory: Killed process {pid} (python3) total-vm:1kB\n")
    assert post_mortem.from_kernel(run, messages) == (post_mortem.RAM_RAN_OUT if found else None)


def test_a_kernel_log_that_may_not_be_read_tells_nothing(run: Run, tmp_path: Path) -> None:
    assert post_mortem.from_kernel(run, tmp_path / "none") is None
    empty = tmp_path / "empty"
    empty.touch()
    assert post_mortem.from_kernel(run, empty) is None


@pytest.mark.parametrize(
    ("events", "said"), [("oom 3\noom_kill 2\n", "(2 so far)"), ("oom_kill 0\n", None), (None, None)]
)
def test_a_container_tells_that_its_memory_ran_out(tmp_path: Path, events: str | None, said: str | None) -> None:
    file = tmp_path / "memory.events"
    if events is not None:
        file.write_text(events)
    found = post_mortem.from_container(file)
    assert said in found if said and found else found == said


def test_each_death_is_looked_into_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Run] = []
    monkeypatch.setattr(post_mortem, "from_systemd", lambda each: asked.append(each))
    for seen_s in (100, 100, 200):
        os.utime(run.lock, (seen_s, seen_s))
        post_mortem.cause_of_death(run)
    assert len(asked) == 2
