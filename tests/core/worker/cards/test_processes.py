"""The processes of a training on several cards: they end together, and one story is told."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from fitune.core import runs
from fitune.core.runs import Failed, Finished, Memory, Run, Step
from tests.core.worker.cards.together import train_together
from tests.events import data_of

OTHER_RANK = """
import os, sys, time
from fitune.core.runs import Failed, Memory
from fitune.core.worker.cards.processes import be_rank

def work(log):
    log.write(Memory(reserved=7, host=1, predicted=None))
    {body}

be_rank(int(sys.argv[1]), "train", work)
"""
FIRST_RANK = """
import subprocess, sys, time
from pathlib import Path
from fitune.core.runs import EventLog, Failed, Run
from fitune.core.worker.cards import processes

def start(*_):
    import os
    return subprocess.Popen([sys.executable, "-c", sys.argv[2], str(os.getpid())], stdout=subprocess.PIPE)

processes._start, processes.ECHO_S = start, 3.0
run = Run(Path(sys.argv[1]))
others = processes.OtherRanks(run, "train", 2, EventLog(run.events, "train"))
print(others._processes[0].pid, flush=True)
{body}
"""


def first_rank(folder: Path, body: str, other: str) -> "subprocess.Popen[str]":
    """A process that is rank 0 of two, and what the other does; its first line is the pid of the other."""
    command = [sys.executable, "-c", FIRST_RANK.format(body=body), str(folder), OTHER_RANK.format(body=other)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def is_gone(pid: int) -> bool:
    """True if no such process is left, within some seconds."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(
    ("other", "kind", "message"),
    [
        ("os.kill(os.getpid(), 9)", "killed", "The process of card 2 ended with signal 9"),
        ("return 3", "killed", "The process of card 2 ended with exit status 3"),
        ("log.write(Failed(kind='oom', message='Full.', hint='Less.')); return 1", "oom", "On card 2: Full."),
    ],
)
def test_the_failure_of_another_rank_is_told_once_and_ends_all(
    tmp_path: Path, other: str, kind: str, message: str
) -> None:
    first = first_rank(tmp_path, "time.sleep(60)", f"time.sleep(0.5); {other}")
    assert first.wait(60) == 1
    told = data_of(tmp_path / "events.jsonl", Failed)
    assert len(told) == 1
    assert told[0].kind == kind
    assert told[0].message.startswith(message)
    assert ("host's RAM" in told[0].hint) == ("signal 9" in message)
    assert [(each.card, each.reserved) for each in data_of(tmp_path / "events.jsonl", Memory)] == [(1, 7)]


def test_the_cause_is_told_where_all_fail_in_its_wake(tmp_path: Path) -> None:
    echo = "others.fail(Failed(kind='bug', message='The other is gone.', hint=''))"
    first = first_rank(
        tmp_path, echo, "time.sleep(0.2); log.write(Failed(kind='nan', message='NaN.', hint='')); return 1"
    )
    assert first.wait(60) == 1
    assert [each.message for each in data_of(tmp_path / "events.jsonl", Failed)] == ["On card 2: NaN."]


def test_no_rank_outlives_the_first(tmp_path: Path) -> None:
    first = first_rank(tmp_path, "time.sleep(60)", "time.sleep(60)")
    assert first.stdout
    other = int(first.stdout.readline())
    end = time.monotonic() + 30
    while not data_of(tmp_path / "events.jsonl", Memory) and time.monotonic() < end:
        time.sleep(0.05)
    assert data_of(tmp_path / "events.jsonl", Memory), "the other rank is at work"
    first.kill()
    first.wait()
    assert is_gone(other)


def test_a_rank_that_comes_too_late_ends(tmp_path: Path) -> None:
    """Its parent died before it could ask to die with it."""
    script = OTHER_RANK.format(body="time.sleep(60)")
    other = subprocess.run([sys.executable, "-c", script, "1"], stdout=subprocess.DEVNULL, timeout=60)
    assert other.returncode == 1


@pytest.mark.train
def test_a_killed_process_of_a_card_is_told_and_the_training_goes_on(make_run: Callable[..., Run]) -> None:
    run = make_run(train={"max_steps": 400, "save_every": 2, "keep_checkpoints": 1}, lora={"dropout": 0})
    runs.rewrite(run, replace(run.info(), ranks=2))
    command = [sys.executable, "-P", "-m", "fitune.core.worker", str(run.path), "train"]
    with run.log.open("wb") as log:
        worker = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        end = time.monotonic() + 300
        while run.newest_checkpoint() is None and time.monotonic() < end:
            assert worker.poll() is None, run.log.read_text()[-2000:]
            time.sleep(0.05)
        family = [worker.pid, *(each.pid for each in psutil.Process(worker.pid).children(recursive=True))]
        other = next(pid for pid in family if str(worker.pid) in psutil.Process(pid).cmdline())
        os.kill(other, signal.SIGKILL)
        assert worker.wait(60) == 1
        assert all(map(is_gone, family))
    finally:
        worker.kill()
    told = data_of(run.events, Failed)
    assert [each.kind for each in told] == ["killed"]
    assert "card 2" in told[0].message
    assert told[0].hint
    assert run.holder_pid() is None
    done = max(each.step for each in data_of(run.events, Step))
    checkpoint = run.newest_checkpoint()
    assert checkpoint
    run.change({"train.max_steps": done + 4})
    train_together(run, 2)
    assert data_of(run.events, Finished)[-1].steps == done + 4
    after = [each.step for each in data_of(run.events, Step)]
    assert int(checkpoint.name.partition("-")[2]) + 1 in after[after.index(done) + 1 :]
