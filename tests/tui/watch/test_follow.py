"""A run told in plain lines: every way it can end, live and afterwards, and nothing in it that a terminal obeys."""

import io
import json
import os
import re
import threading
import time
from pathlib import Path

import pytest

from fitune.core.runs import EventLog, Finished, Forgot, Score, Started, post_mortem
from fitune.core.runs.run import KILLED_AS_ASKED, Run
from fitune.tui.watch.event_text import event_line
from fitune.tui.watch.follow import follow
from fitune.tui.watch.progress import RunProgress
from tests.events import event_of
from tests.fake_worker import make_run, start
from tests.tui.payloads import OBEYED, PAYLOADS


def told(run: Path, **options: bool) -> str:
    out = io.StringIO()
    follow(Run(run), out, **options)
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ok", ["training: 6 steps", "step 6/6  loss 1.594", "held-out loss 1.154", "checkpoint written", "OK    "]),
        ("oom", ["ERROR Failed (out of memory): OutOfMemoryError", "Lower train.micro_batch", "predicted 7.7 GiB"]),
        ("nan", ["step 6/300  loss NaN", "ERROR Failed (the loss is not a number)", "Halve train.lr"]),
        ("killed", ["ERROR Killed at step 44"]),
        ("torn", ["ERROR Killed at step 11"]),
    ],
)  # fmt: skip
def test_check_39_every_end_is_told_in_words(tmp_path: Path, name: str, words: list[str]) -> None:
    said = told(make_run(tmp_path, told=name))
    for word in words:
        assert word in said


def test_check_39_a_run_from_before_the_boot_ended_with_the_machine(tmp_path: Path) -> None:
    run = make_run(tmp_path, told="killed")
    os.utime(run / "lock", (1, 1))
    assert "the machine was restarted at" in told(run)


def test_the_verdict_is_told_once_or_left_to_who_prints_the_scores(tmp_path: Path) -> None:
    run = Run(make_run(tmp_path))
    log = EventLog(run.events, "train")
    log.write(Started())
    log.write(Score(word="better", metric="match", rows=64, base=0.5, tuned=0.9, low=0.3, high=0.5, p=0.001))
    log.write(Forgot(word="worse", rows=64, base=0.25, tuned=0, low=-0.3, high=-0.2, p=0.001))
    log.write(Finished(steps=3, elapsed_s=2.0))
    said = " ".join(told(run.path).split())
    assert said.count("58 of 64 held-out rows") == said.count("0 of 64 general questions") == 1
    assert "scored: better" in said
    assert "WARN Finished" in said
    said = told(run.path, tells_verdict=False)
    assert "held-out rows" not in said
    assert "general questions" not in said
    assert "OK    Finished" in said


def test_a_kill_that_was_asked_for_is_no_error(tmp_path: Path) -> None:
    run = make_run(tmp_path, told="killed")
    (run / "worker.log").write_text(f"step 44\n\n{KILLED_AS_ASKED}\n")
    assert "WARN  Killed at step 44, as you asked." in told(run)


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("", "Most often that is the kernel's OOM killer (the RAM ran out), or kill -9."),
        ("Fatal Python error: Segmentation fault\n", "Its log says: Fatal Python error: Segmentation fault"),
        ("terminate called after \x1b[2J\u202e\n", "Its log says: terminate called after ␛[2J�"),
    ],
)
def test_check_39_what_killed_a_worker_is_told_where_it_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: str, words: str
) -> None:
    for source in ("from_systemd", "from_kernel", "from_container"):  # what this machine knows is not in question
        monkeypatch.setattr(post_mortem, source, lambda *_: None)
    run = make_run(tmp_path, told="killed")
    (run / "worker.log").write_text(log)
    said = told(run)
    assert re.search(r"ERROR Killed at step 44, last seen \d{4}-\d\d-\d\d \d\d:\d\d: it left no last event\. ", said)
    assert words in said
    assert not OBEYED.search(said)


def test_a_live_run_is_followed_to_its_end(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    worker = start(run, "steps:40", "--rate", "200")
    said = told(run)
    assert worker.wait(60) == 0
    assert "step 40/40" in said
    assert any(line.startswith("OK    Finished: 40 steps") for line in said.splitlines())
    assert said.rstrip().endswith("fitune resume run-a"), "the fake worker leaves no adapter: it can be made again"


def test_a_killed_worker_ends_the_following(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    start(run, "killed", "--rate", "200", "--then", "die").wait(60)
    assert "ERROR Killed at step 44" in told(run)


def test_from_start_false_tells_only_what_comes(tmp_path: Path) -> None:
    said = told(make_run(tmp_path, told="ok"), from_start=False)
    assert "step 1/6" not in said
    assert "OK    Finished: 6 steps" in said


def test_keyboard_interrupt_leaves_the_run_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path)
    worker = start(run, "steps:40", "--rate", "5")
    monkeypatch.setattr(time, "sleep", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        follow(Run(run), io.StringIO())
    assert Run(run).holder_pid() == worker.pid
    worker.kill()
    worker.wait()


def test_one_line_is_rewritten_only_on_a_terminal(tmp_path: Path) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    run, out = make_run(tmp_path, told="ok"), Terminal()
    assert "\r" not in told(run, live=True)
    follow(Run(run), out, live=True)
    assert "\rstep 2/6" in out.getvalue()
    assert "\x1b" not in out.getvalue()


def test_a_narrow_terminal_shows_fewer_numbers_of_a_step_and_each_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", "60")
    run, out = make_run(tmp_path, told="killed"), Terminal()
    follow(Run(run), out, live=True)
    steps = [text.rstrip() for text in out.getvalue().split("\r") if re.match(r"step \d+/", text)]
    assert max(map(len, steps)) < 60
    assert all(re.fullmatch(r"step \d+/300  loss [\d.]+(  .+)*  .* left", text) for text in steps[1:40])


def test_check_40_two_followers_tell_the_same_steps(tmp_path: Path) -> None:
    run, said = make_run(tmp_path), ["", ""]
    worker = start(run, "steps:30", "--rate", "100")

    def tell(place: int) -> None:
        said[place] = told(run)

    threads = [threading.Thread(target=tell, args=(place,)) for place in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    worker.wait(60)
    assert said[0] == said[1]
    assert "step 30/30" in said[0]


def test_check_42_time_left_is_told_from_the_second_step_and_without_about_after_20(tmp_path: Path) -> None:
    lines = told(make_run(tmp_path, told="killed")).splitlines()
    steps = [text for text in lines if text.startswith("step ") and "loss" in text and "held-out" not in text]
    assert " left" not in steps[0]
    assert all(re.search(r"  about .* left$", text) for text in steps[1:19])
    assert all(" left" in text and "about" not in text for text in steps[19:])


@pytest.mark.parametrize("payload", PAYLOADS, ids=ascii)
def test_check_37_no_payload_in_any_event_reaches_the_terminal(tmp_path: Path, payload: str) -> None:
    run = make_run(tmp_path)
    events = [
        ("started", {"device": payload, "backend": payload}),
        ("phase", {"name": payload, "total_steps": payload}),
        ("step", {"step": payload, "loss": payload, "lr": payload, "grad_norm": payload}),
        ("eval", {"step": 1, "loss": payload}),
        ("warning", {"message": payload}),
        ("recovered", {"message": payload}),
        ("sample", {"prompt": payload, "before": payload, "after": payload}),
        ("memory", {"peak_device": payload, "predicted": payload}),
        (payload, {}),
        ("failed", {"kind": payload, "message": payload, "hint": payload}),
    ]
    with (run / "events.jsonl").open("w") as file:
        for seq, (kind, data) in enumerate(events):
            file.write(json.dumps({"v": 1, "seq": seq, "t": 1.0, "job": payload, "type": kind, "data": data}) + "\n")
    said = told(run)
    assert not OBEYED.search(said)
    assert "ERROR The " in said, "a job of that name failed"


def test_an_unreadable_line_is_counted_and_skipped(tmp_path: Path) -> None:
    run = make_run(tmp_path, told="torn")
    with (run / "events.jsonl").open("a") as file:
        file.write('\n{"v":1,"seq":18,"t":1.0,"job":"train","type":"failed","data":{"kind":"disk","message":"full"}}\n')
    said = told(run)
    assert "WARN  1 unreadable lines of events.jsonl were skipped" in said
    assert "ERROR Failed (disk full): full" in said


def test_events_of_a_newer_version_are_no_line() -> None:
    assert event_line(event_of(1, 1.0, "train", "weather", rain=True), RunProgress()) == ""
