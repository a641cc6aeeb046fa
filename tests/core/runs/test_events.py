"""The event log: whatever happens to the writer or the disk, readers see every whole event once and never stumble."""

import json
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest

from fitune.core.records import to_json
from fitune.core.runs import (
    Event,
    EventLog,
    Failed,
    Finished,
    Memory,
    Phase,
    Recovered,
    Sample,
    Started,
    Step,
    Tail,
    Warned,
    event_log,
)
from fitune.core.runs.event_log import Unknown, parse_line
from fitune.core.runs.state import HISTORY_POINTS, Curve, RunState, fold, spent_s
from tests.events import event_of, raw_line

ROOT = Path(__file__).parents[3]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def line(seq: int, kind: str = "step", **data: Any) -> bytes:
    return raw_line(seq, kind, **data)


def seqs(tail: Tail) -> list[int]:
    return [event.seq for event in tail.read()]


def test_what_is_written_is_read(path: Path) -> None:
    log = EventLog(path, "train")
    before = time.time()
    log.write(Started(backend="trl", device='"quoted"\nü'))
    log.write(Step(step=1, loss=2.5))
    started, step = Tail(path).read()
    assert (started.seq, started.job, started.type) == (1, "train", "started")
    assert started.data == Started(backend="trl", device='"quoted"\nü')
    assert step.data == Step(step=1, loss=2.5)
    assert before - 0.01 <= started.t <= time.time() + 0.01
    first, second = map(json.loads, path.read_text().splitlines())
    assert (first["v"], first["data"]) == (1, {"backend": "trl", "device": '"quoted"\nü'})
    assert (second["v"], second["data"]) == (1, {"step": 1, "loss": 2.5})
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_log_that_is_not_there_yet_is_empty(path: Path) -> None:
    tail = Tail(path)
    assert seqs(tail) == []
    path.write_bytes(line(1))
    assert seqs(tail) == [1]


def test_a_torn_tail_waits_and_is_read_once_when_it_is_whole(path: Path) -> None:
    tail, whole = Tail(path), line(2)
    path.write_bytes(line(1) + whole[:20])
    assert seqs(tail) == [1]
    with path.open("ab") as file:
        file.write(whole[20:-1])
    assert seqs(tail) == []
    with path.open("ab") as file:
        file.write(b"\n" + line(3))
    assert seqs(tail) == [2, 3]
    assert tail.bad_lines == 0


def test_after_a_crash_in_mid_line_the_next_writer_starts_a_line_of_its_own(path: Path) -> None:
    path.write_bytes(line(1) + line(2)[:30])
    tail = Tail(path)
    assert seqs(tail) == [1]
    EventLog(path, "train").write(Started())
    assert seqs(tail) == [2]
    assert tail.bad_lines == 1


@pytest.mark.parametrize("lines", [0, 1, 5000])
def test_a_writer_goes_on_counting_after_reopening(path: Path, lines: int) -> None:
    path.write_bytes(b"".join(line(seq) for seq in range(1, lines + 1)))
    EventLog(path, "train").write(Started())
    assert seqs(Tail(path))[-1] == lines + 1


@pytest.mark.parametrize(
    "bad",
    [
        b"null", b"3", b'"text"', b"[1, 2]", b"{}", b"{", b"\xff\xfe\x00", b'{"seq": 1}', b"\x00" * 100,
        b'{"v":1,"seq":"one","t":1,"job":"train","type":"step","data":{}}',
        b'{"v":1,"seq":1,"t":null,"job":"train","type":"step","data":{}}',
        b'{"v":1,"seq":1,"t":1,"job":"train","type":"step","data":[1]}',
        b'{"v":1,"seq":1,"t":1,"job":"train","type":"step","data":{"loss":NaN}}',
        b'{"v":1,"seq":1,"t":1,"job":"train","type":"\xe4","data":{}}',
        b'{"v":1,"seq":1e999,"t":1,"job":"train","type":"step","data":{}}',
        b"[" * 3000,
    ],
)  # fmt: skip
def test_a_line_that_is_no_event_is_counted_and_skipped(path: Path, bad: bytes) -> None:
    path.write_bytes(line(1) + bad + b"\n\n" + line(2))
    tail = Tail(path)
    assert seqs(tail) == [1, 2]
    assert tail.bad_lines == 1


def test_fields_that_we_do_not_know_are_no_obstacle() -> None:
    raw = json.loads(line(7, "step", loss=1.0, later=[1])) | {"host": "x", "v": 9}
    assert parse_line(json.dumps(raw).encode()) == Event(7, 1.5, "train", Step(step=0, loss=1.0))


def test_an_unknown_type_is_counted_and_changes_nothing(path: Path) -> None:
    path.write_bytes(line(1, "step", step=1, loss=2.0) + line(2, "telepathy", step=9))
    state = fold(Tail(path).read())
    assert state.unknown == 1
    assert state.step == Step(step=1, loss=2.0)


def test_no_byte_is_read_twice(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    pread = os.pread

    def counting(fd: int, size: int, offset: int) -> bytes:
        got = pread(fd, size, offset)
        asked.append((offset, len(got)))
        return got

    monkeypatch.setattr(os, "pread", counting)
    tail, written = Tail(path), b""
    for seq in range(1, 200):
        text = line(seq, note="x" * (seq * 37 % 900))
        cut = seq * 13 % len(text)
        for part in (text[:cut], text[cut:]):
            with path.open("ab") as file:
                file.write(part)
            for event in tail.read():
                assert event.seq == seq
        written += text
    assert tail.offset == len(written) == sum(size for _, size in asked)
    assert tail.bad_lines == 0


@pytest.mark.parametrize("block_bytes", [1, 7, 64, 1 << 16])
def test_lines_are_whole_whatever_the_size_of_a_block(
    path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int
) -> None:
    monkeypatch.setattr(event_log, "BLOCK_BYTES", block_bytes)
    path.write_bytes(b"".join(line(seq, text="ü" * seq) for seq in range(1, 40)))
    assert seqs(Tail(path)) == list(range(1, 40))


def test_a_reader_that_stops_half_way_loses_only_what_it_was_given(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "BLOCK_BYTES", len(line(1)) + 5)
    path.write_bytes(b"".join(line(seq) for seq in range(1, 5)))
    tail = Tail(path)
    reading = tail.read()
    assert next(reading).seq == 1
    del reading
    assert seqs(tail) == [2, 3, 4]
    assert tail.bad_lines == 0


def test_readers_beside_a_writer_see_each_event_once_and_in_order(path: Path) -> None:
    log = EventLog(path, "train")

    def write() -> None:
        for step in range(2000):
            log.write(Step(step=step, loss=1.0))

    writer = threading.Thread(target=write)
    writer.start()
    tail, seen = Tail(path), list[int]()
    while writer.is_alive():
        seen += seqs(tail)
    seen += seqs(tail)
    assert seen == list(range(1, 2001))
    assert tail.bad_lines == 0


# --- a full disk -------------------------------------------------------------------------------------------------

FULL_DISK = """
import os, resource, signal, sys, threading
from pathlib import Path
from fitune.core.runs import Failed, Finished, Step, event_log

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit then fails as on a full disk
path = Path(sys.argv[1])
room = lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
log = event_log.EventLog(path, "train")
log.write(Step(step=1, loss=1.0))
room(path.stat().st_size + 40)  # the next line fits in part, the one after it not at all
log.write(Step(step=2, loss=1.0))
log.write(Step(step=3, loss=1.0))
"""


def after_full_disk(path: Path, then: str) -> "subprocess.CompletedProcess[str]":
    code = FULL_DISK + then
    return subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True, check=True)


def test_a_full_disk_costs_events_but_not_the_run(path: Path) -> None:
    ended = after_full_disk(path, "room(1 << 20)\nlog.write(Step(step=4, loss=1.0))\nlog.write(Finished())")
    tail = Tail(path)
    assert [(event.seq, event.data) for event in tail.read()] == [
        (1, Step(step=1, loss=1.0)),
        (4, Step(step=4, loss=1.0)),
        (5, Finished()),
    ]
    assert tail.bad_lines == 1
    assert ended.stderr.count("a step event was lost") == 2


def test_the_last_event_waits_for_room_on_the_disk(path: Path) -> None:
    ended = after_full_disk(
        path, "threading.Timer(0.7, room, (1 << 20,)).start()\nlog.write(Failed(kind='disk', message='Full.'))"
    )
    end = fold(Tail(path).read()).end
    assert end is not None
    assert end == Failed(kind="disk", message="Full.")
    assert "failed" not in ended.stderr


def test_a_last_event_that_finds_no_room_is_told_on_stderr(path: Path) -> None:
    ended = after_full_disk(path, "event_log.RETRY_LAST_EVENT_S = 0.1\nlog.write(Finished(steps=6))")
    assert fold(Tail(path).read()).end is None
    assert "a finished event was lost: " in ended.stderr
    assert '"data":{"stopped":false,"steps":6}' in ended.stderr


# --- a long log --------------------------------------------------------------------------------------------------

MILLION = 1_000_000
ATTACH = """
import re, sys, time
from pathlib import Path
from fitune.core.runs import Tail, fold

began = time.process_time()
state = fold(Tail(Path(sys.argv[1])).catch_up())
cpu_s = time.process_time() - began
# Not ru_maxrss: that one is inherited from the process which started this one.
peak_mb = int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024 / 1e6
print(cpu_s, peak_mb, state.step.step, len(state.loss.points), state.end.type)
"""


@pytest.fixture
def long_log(path: Path) -> Iterator[Path]:
    """A million events as the worker writes them: steps, with memory, evaluations and checkpoints between."""
    step = EventLog(path, "train")
    step.write(
        Step(step=0, epoch=0.1, loss=2.1, lr=2e-4, grad_norm=0.71, tokens_per_s=9.6e3, seen_tokens=4, step_s=0.4)
    )
    text = path.read_bytes().replace(b'"step":0', b'"step":%d').replace(b'"seq":1', b'"seq":%d')
    with path.open("wb") as file:
        for seq in range(1, MILLION):
            kind = {50: b"memory", 7: b"eval", 1: b"checkpoint"}.get(seq % 1000 if seq % 50 else 50, b"step")
            file.write((text % (seq, seq)).replace(b'"type":"step"', b'"type":"%s"' % kind))
        file.write(line(MILLION, "finished").replace(b" ", b""))
    yield path
    path.unlink()


def test_a_million_events_are_attached_to_within_a_second_and_100_mb(long_log: Path) -> None:
    attach = [sys.executable, "-c", ATTACH, str(long_log)]
    # The fastest of three: the machine may have been busy.
    said = min(subprocess.run(attach, cwd=ROOT, capture_output=True, text=True, check=True).stdout for _ in range(3))
    cpu_s, peak_mb, last_step, points, end = said.split()
    assert float(cpu_s) < 1.0
    assert float(peak_mb) < 100
    assert int(last_step) == MILLION - 1
    assert HISTORY_POINTS // 3 < int(points) <= HISTORY_POINTS
    assert end == "finished"


def test_of_a_long_backlog_only_steps_are_skipped(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = ["started", "phase", *["step"] * 30, "eval", "warning", *["step"] * 30, "checkpoint", "sample", "failed"]
    path.write_bytes(
        b"".join(line(number, kind, step=number, text='"type":"step"') for number, kind in enumerate(kinds))
    )
    every = list(Tail(path).read())
    monkeypatch.setattr(event_log, "LONG_BACKLOG_BYTES", 1000)
    some = list(Tail(path).catch_up())
    steps = [event for event in every if event.type == "step"]
    assert [event for event in some if event.type != "step"] == [event for event in every if event.type != "step"]
    assert [event for event in some if event.type == "step"] == [steps[0], steps[-1]]
    assert list(Tail(path).read_thinned()) == some


def test_a_short_backlog_is_read_whole(path: Path) -> None:
    path.write_bytes(b"".join(line(seq) for seq in range(1, 1000)))
    assert list(Tail(path).catch_up()) == list(Tail(path).read())


# --- the picture of a run ----------------------------------------------------------------------------------------


def told(*story: tuple[str, dict[str, Any]]) -> RunState:
    return fold(event_of(seq, float(seq), "train", kind, **data) for seq, (kind, data) in enumerate(story, 1))


def test_the_picture_holds_the_newest_of_each_kind() -> None:
    state = told(
        ("started", {"backend": "trl"}),
        ("phase", {"name": "train", "total_steps": 9}),
        ("step", {"step": 1, "loss": 3.0}),
        ("step", {"step": 2, "loss": 2.0}),
        ("eval", {"step": 2, "loss": 2.5}),
        ("memory", {"device": 5}),
        ("checkpoint", {"step": 2}),
        ("warning", {"message": "w"}),
        ("recovered", {"message": "r"}),
        ("sample", {"prompt": "p"}),
        ("phase", {"name": "save"}),
    )
    assert (state.phase, state.end) == (Phase(name="save", total_steps=9), None)
    assert state.total_steps == 9
    assert state.step == Step(step=2, loss=2.0)
    assert state.loss.points == [(1, 3.0), (2, 2.0)]
    assert state.eval_loss.points == [(2, 2.5)]
    assert state.memory == Memory(device=5, predicted=None)
    assert state.warnings == {"train": [Warned(kind="", message="w"), Recovered(kind="", message="r")]}
    assert state.samples == [Sample(step=0, prompt="p", after=None)]
    assert (state.first_t, state.last_t) == (1.0, 11.0)


@pytest.mark.parametrize(
    ("kinds", "end"),
    [
        (["started", "finished"], "finished"),
        (["started", "failed"], "failed"),
        (["started", "failed", "started"], None),
        (["started", "failed", "started", "finished"], "finished"),
        (["started", "finished", "started", "failed"], "failed"),
        (["started"], None),
        ([], None),
    ],
)
def test_the_last_end_counts_and_a_new_start_takes_it_back(kinds: list[str], end: str | None) -> None:
    state = told(*((kind, {}) for kind in kinds))
    assert (state.end.type if state.end else None) == end


def test_the_time_spent_on_a_job_leaves_pauses_and_other_jobs_out() -> None:
    times = [
        (10.0, "train", "started"), (11.0, "train", "step"), (14.0, "train", "checkpoint"),
        (20.0, "merge", "started"), (90.0, "merge", "finished"),
        (100.0, "train", "started"), (102.0, "train", "step"), (50.0, "train", "step"), (53.0, "train", "finished"),
    ]  # fmt: skip
    events = [event_of(seq, t, job, kind) for seq, (t, job, kind) in enumerate(times, 1)]
    assert spent_s(events, "train") == (1 + 3) + (2 + 0 + 3)
    assert spent_s(events, "merge") == 70
    assert spent_s([], "train") == 0


def test_a_resume_voids_the_steps_after_its_checkpoint() -> None:
    steps = [("step", {"step": step, "loss": 1.0}) for step in range(1, 51)]
    again = [("step", {"step": step, "loss": 2.0}) for step in range(31, 41)]
    points = told(*steps, ("started", {}), *again).loss.points
    assert points == [(step, 1.0) for step in range(1, 31)] + [(step, 2.0) for step in range(31, 41)]


@pytest.mark.parametrize("kind", ["step", "eval", "checkpoint"])
def test_an_event_of_a_step_that_is_no_number_is_counted_and_changes_nothing(kind: str) -> None:
    no_numbers: tuple[Any, ...] = (None, "3", [])
    state = told(*((kind, {"step": step, "loss": 1.0}) for step in no_numbers))
    assert state.unknown == 3
    assert (state.step, state.loss.points, state.eval_loss.points) == (None, [], [])


def test_a_loss_that_is_no_number_is_no_point_of_the_curve() -> None:
    assert told(("step", {"step": 1, "loss": None}), ("eval", {"step": 1, "loss": "x"})).loss.points == []


@pytest.mark.parametrize("count", [1, HISTORY_POINTS, HISTORY_POINTS + 1, 10_000, 50_000])
def test_a_curve_is_thinned_evenly_and_keeps_its_first_and_newest_points(count: int) -> None:
    curve = Curve()
    for step in range(1, count + 1):
        curve.add(step, float(step))
    steps = [step for step, _ in curve.points]
    assert len(steps) <= HISTORY_POINTS
    assert steps[0] == 1
    assert steps[-1] == count
    gaps = [later - sooner for sooner, later in pairwise(steps[:-1])] or [1]
    assert max(gaps) <= 2 * min(gaps)


@pytest.mark.parametrize("every", [1, 10, 500])
def test_a_curve_of_rare_points_is_thinned_evenly_too(every: int) -> None:
    curve = Curve()
    for step in range(every, 9000 * every, every):
        curve.add(step, 1.0)
    assert HISTORY_POINTS / 2 < len(curve.points) <= HISTORY_POINTS
    gaps = [later[0] - sooner[0] for sooner, later in pairwise(curve.points[:-1])]
    assert max(gaps) <= 2 * min(gaps)


@pytest.mark.parametrize("name", ["ok", "demo", "killed", "nan", "oom"])
def test_events_of_a_recorded_run_are_written_as_they_were(name: str) -> None:
    for raw_text in (ROOT / "tests" / "data" / "runs" / f"{name}.jsonl").read_bytes().splitlines():
        raw, read = json.loads(raw_text), parse_line(raw_text)
        assert read
        assert not isinstance(read.data, Unknown)
        written = json.loads(orjson.dumps(to_json(read.data)))
        raw["data"].pop("eval_rows", None)  # of an older version
        assert without_nulls(written) == without_nulls(raw["data"])
        assert (read.type, read.seq, read.t, read.job) == (raw["type"], raw["seq"], raw["t"], raw["job"])


def without_nulls(data: dict[str, Any]) -> dict[str, Any]:
    inner = {key: without_nulls(value) if isinstance(value, dict) else value for key, value in data.items()}
    return {key: value for key, value in inner.items() if value is not None and (key, value) != ("stopped", False)}


def test_a_loss_that_is_no_number_is_null_in_the_log_and_nan_when_it_is_read(path: Path) -> None:
    EventLog(path, "train").write(Step(step=1, loss=float("nan"), grad_norm=float("inf")))
    assert json.loads(path.read_bytes())["data"] == {"step": 1, "loss": None, "grad_norm": None}
    (event,) = Tail(path).read()
    assert isinstance(event.data, Step)
    assert event.data.loss is not None
    assert math.isnan(event.data.loss)
    assert event.data.grad_norm is None


def test_a_copy_for_another_thread_does_not_change_with_later_events() -> None:
    state = RunState()
    story: list[tuple[str, dict[str, Any]]] = [
        ("started", {}), ("phase", {"name": "train", "total_steps": 9}), ("step", {"step": 1, "loss": 3.0}),
        ("eval", {"step": 1, "loss": 2.5}), ("warning", {"message": "w"}), ("sample", {"prompt": "p"}), ("failed", {}),
    ]  # fmt: skip
    events = [event_of(seq, float(seq), "train", kind, **data) for seq, (kind, data) in enumerate(story, 1)]
    copied, expected = fold(events, state).copy(), fold(events)
    fold([event_of(9, 9.0, "train", kind, **(data | {"step": 5})) for kind, data in story], state)
    assert copied == expected
    assert state != expected
