"""A merge, an export and a push on the watch screen: phases and bytes while they live, proofs at the end."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fitune.core.runs import Eval, Event, EventLog, Failed, Finished, Phase, Started
from fitune.core.runs.run import Run
from fitune.tui.deliver.proof_text import proofs, read, table
from fitune.tui.watch.ending import ending
from fitune.tui.watch.event_text import event_line
from fitune.tui.watch.phases import JobPhase, phase_lines, with_loaded_share
from fitune.tui.watch.progress import RunProgress
from fitune.tui.widgets.leave import answers
from tests.events import write_raw
from tests.fake_worker import make_run, start
from tests.tui.payloads import OBEYED, PAYLOADS
from tests.tui.watch.test_follow import told
from tests.tui.watch.test_screen import shown, until, watching

MIB = 1 << 20
CHECKS: list[dict[str, Any]] = [
    {"check": "tensors", "expected": "272, of the base's shapes", "got": "272", "passed": True},
    {"check": "chat template", "expected": "the one of the training", "got": "another", "passed": False},
    {"check": "its answers", "expected": "as those of the adapter", "got": "not checked: 15 GiB of memory are not "
     "free on card or host", "passed": None},
]  # fmt: skip


@pytest.fixture
def trained(tmp_path: Path) -> Iterator[Path]:
    """The folder of a run whose training is over; a worker that its test starts ends with the test."""
    run = make_run(tmp_path, told="ok")
    (run / "adapter").mkdir()
    (run / "adapter" / "adapter_model.safetensors").touch()
    yield run
    Run(run).kill()


def prove(path: Path, *checks: dict[str, Any], age_s: float = 0) -> None:
    path.parent.mkdir(exist_ok=True)
    passed = all(check["passed"] is not False for check in checks)
    path.write_text(json.dumps({"passed": passed, "checks": checks}))
    os.utime(path, (time.time() - age_s,) * 2)


def live(run: Path, job: str, *story: tuple[str, dict[str, Any]]) -> None:
    """Let a worker of that job live, which has told this."""
    for kind, data in story:
        write_raw(run / "events.jsonl", kind, job, **data)
    nothing = run / "nothing.jsonl"
    nothing.touch()
    start(run, str(nothing), "--then", "hang")


async def test_a_merge_that_lives_shows_its_own_numbers_and_none_of_the_training(trained: Path) -> None:
    parts = [("started", {"device": "cpu"}), ("phase", {"name": "download", "model": "owner/base"})]
    written = [("phase", {"name": "write", "bytes": 256 * MIB, "done_bytes": done * MIB}) for done in (0, 64)]
    live(trained, "merge", *parts, *written)
    async with watching(trained, "merge: writing the merged model") as (app, pilot):
        await until(pilot, lambda: "64.0 MiB of 256.0 MiB" in shown(app))
        said = shown(app)
        assert " 25 %" in said
        assert "OK    fetching the model (owner/base)" in said
        assert "now   writing the merged model" in said
        for word in ("loss", "tokens", "epoch", "predicted", "A question from the data"):
            assert word not in said


async def test_a_merge_that_downloads_first_shows_how_much(trained: Path) -> None:
    live(trained, "merge", ("started", {}), ("phase", {"name": "download", "model": "owner/base", "bytes": 15 << 30}))
    async with watching(trained, "merge: fetching the model") as (app, pilot):
        await until(pilot, lambda: "15.0 GiB in all" in shown(app))


async def test_a_push_that_lives_shows_what_is_sent(trained: Path) -> None:
    sent = {"name": "upload", "repo": "ada/sums", "files": 3, "bytes": 40 * MIB}
    later = sent | {"done_bytes": 10 * MIB, "file": "b.safetensors"}
    live(trained, "push", ("started", {}), ("phase", sent | {"done_bytes": 0}), ("phase", later))
    async with watching(trained, "push: uploading") as (app, pilot):
        await until(pilot, lambda: "10.0 MiB of 40.0 MiB" in shown(app) and "b.safetensors" in shown(app))
        await pilot.press("ctrl+c")
        await until(pilot, lambda: "Detach: the push goes on by itself" in shown(app))
        await until(pilot, lambda: "Stop before its next file; the adapter stays as it is" in shown(app))
        assert "training" not in shown(app).split("Leave this run?")[1]


@pytest.mark.parametrize("job", ["merge", "export", "push"])
def test_leaving_another_job_promises_no_checkpoint(job: str) -> None:
    assert not any("checkpoint" in text or "training" in text for _, text in answers(job))


def test_a_phase_that_comes_again_goes_on_and_one_with_another_detail_is_new(trained: Path) -> None:
    log, progress = EventLog(trained / "events.jsonl", "export"), RunProgress()
    log.write(Started())
    for kind in ("bf16", "q4_k_m"):
        log.write(Phase(name="convert", kind=kind, bytes=100))
    (trained / "gguf.part").mkdir()
    (trained / "gguf.part" / "run-a-BF16.gguf").write_bytes(bytes(100))
    (trained / "gguf.part" / "run-a-Q4_K_M.gguf").write_bytes(bytes(25))
    from fitune.core.runs import Tail

    for event in Tail(trained / "events.jsonl").read():
        progress.apply(event)
    now = progress.current_phases(Run(trained))
    assert [(phase.detail, phase.share) for phase in now] == [("bf16", None), ("q4_k_m", 0.25)]
    assert [word for word, _ in phase_lines("export", now, time.time())] == ["OK", "now", "then"]


def test_the_folder_of_a_model_leaves_room_for_the_times_of_all_phases() -> None:
    progress = RunProgress()
    model = f"/srv/{'very/' * 12}deep/models/mine-8b"
    progress.apply(Event(seq=1, t=1020.0, job="train", data=Phase(name="load", model=model)))
    assert phase_lines("train", progress.phases, 1030.0)[0] == ("now", f"{'loading the model (mine-8b)':<36}10 s")


def test_the_phases_of_a_training_begin_with_its_worker_and_end_with_those_to_come(tmp_path: Path) -> None:
    run = Run(make_run(tmp_path))
    run.lock.write_text('{"pid":1,"job":"train","started":1000.0}')
    progress = RunProgress()
    assert [phase.name for phase in progress.current_phases(run)] == ["import"]
    for t, data in ((1020.0, Started()), (1021.0, Phase(name="load")), (1030.0, Phase(name="train", total_steps=9))):
        progress.apply(Event(seq=1, t=t, job="train", data=data))
    lines = phase_lines("train", progress.current_phases(run), 1042.0)
    assert [(word, text.split("   ")[0], text.split()[-2:]) for word, text in lines] == [
        ("OK", "starting Python and its libraries", ["21", "s"]),
        ("OK", "loading the model", ["9", "s"]),
        ("now", "training (step 0 of 9)", ["12", "s"]),
    ]
    later = phase_lines("train", progress.current_phases(run)[:2], 1042.0)
    assert [text for word, text in later if word == "then"] == [
        "reading the data",
        "preparing",
        "asking it questions from the data",
        "training",
    ]
    run.lock.write_text('{"pid":1,"job":"merge","started":2000.0}')  # a merge that has written no event yet
    assert [(phase.name, phase.began_s) for phase in progress.current_phases(run, silent=True)] == [("import", 2000.0)]


def test_the_look_before_the_first_step_is_told_where_there_is_one() -> None:
    progress = RunProgress()

    def now(t: float, data: Phase | Eval | Started) -> str:
        progress.apply(Event(seq=1, t=t, job="train", data=data))
        return phase_lines("train", progress.phases, t + 5)[-1][1]

    begun = Phase(name="train", total_steps=9, eval_tokens=100)
    assert now(1030.0, begun) == "training (first a look at the held-out rows)   5 s"
    assert now(1040.0, Eval(step=0, loss=2.0, rows=4)) == "training (step 0 of 9)   15 s"
    progress.apply(Event(seq=1, t=1050.0, job="train", data=Started(resumed_from=4)))
    assert now(1060.0, begun) == "training (step 0 of 9)   5 s", "a training that goes on has looked before"


def test_a_first_step_that_waits_for_compiled_code_says_so(tmp_path: Path) -> None:
    progress, compiling = RunProgress(), Phase(name="train", total_steps=9, compiles=True)
    event = Event(seq=1, t=1030.0, job="train", data=compiling)
    assert event_line(event, progress) == (
        "training: 9 steps, first compiling for this model: some minutes the first time"
    )
    progress.apply(event)
    [phase] = progress.current_phases(Run(make_run(tmp_path)))
    assert phase.text == "training (compiling for this model: some minutes the first time)"


def test_a_model_that_is_loaded_shows_how_much_of_it_is_there(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    log.write_text("Loading weights:   0%|  | 0/272\rLoading weights:  44%|██ | 120/272 [00:01<00:02, 81.2it/s]")
    assert with_loaded_share(JobPhase("load", 0.0), log).text == "loading the model (120 of 272)"
    assert with_loaded_share(JobPhase("data", 0.0), log).text == "reading the data"


def test_an_upload_names_the_file_in_hand(trained: Path) -> None:
    from fitune.core.runs import Tail

    log = EventLog(trained / "events.jsonl", "push")
    log.write(Phase(name="upload", files=3, bytes=40 * MIB, done_bytes=10 * MIB, file="b\x1b[2J.gguf", repo="a/b"))
    *_, event = Tail(trained / "events.jsonl").read()
    assert event_line(event, RunProgress()) == "uploading b␛[2J.gguf: 10.0 MiB of 40.0 MiB before it"


@pytest.mark.parametrize("columns", [77, 117])
def test_a_table_says_each_check_with_a_word_and_fits(trained: Path, columns: int) -> None:
    prove(trained / "merged.failed" / "proof.json", *CHECKS)
    (proof,) = proofs(Run(trained))
    assert proof.summary == "merged: 1 of 3 checks FAILED"
    lines = table(proof, columns)
    assert [each.split()[0] for each in lines if not each.startswith(" ")] == ["FAILED", "OK", "n/a"]
    assert max(map(len, lines)) <= columns
    assert lines[1].index("the one") == lines[2].index("272,") == lines[0].index("expected")


def test_the_newest_proof_of_each_artefact_counts(trained: Path) -> None:
    prove(trained / "merged.failed" / "proof.json", CHECKS[1], age_s=100)
    prove(trained / "merged" / "proof.json", CHECKS[0])
    prove(trained / "gguf" / "a-Q8_0.gguf.proof.json", CHECKS[0], age_s=100)
    prove(trained / "gguf" / "a-Q8_0.gguf.failed.proof.json", CHECKS[1])
    assert [(proof.name, proof.passed) for proof in proofs(Run(trained))] == [("merged", True), ("a-Q8_0.gguf", False)]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"passed": true, "checks": [{"check": 1}]}', "\udcff"])
def test_a_proof_that_cant_be_read_has_not_passed(tmp_path: Path, content: str) -> None:
    path = tmp_path / "proof.json"
    path.write_bytes(content.encode(errors="surrogateescape"))
    found = read(path)
    assert not found.passed
    assert [check.check for check in found.checks] == ["proof.json"]


async def test_the_end_of_a_merge_comes_with_its_proof_and_no_older_one(trained: Path) -> None:
    prove(trained / "gguf" / "a-Q8_0.gguf.proof.json", CHECKS[0], age_s=100)
    log = EventLog(trained / "events.jsonl", "merge")
    log.write(Started(device="cpu"))
    prove(trained / "merged" / "proof.json", CHECKS[0], CHECKS[2])
    log.write(Finished(bytes=3 << 30, elapsed_s=130.0, files=4))
    assert "a-Q8_0" not in told(Run(trained).path)
    assert "OK      tensors" in told(trained)
    async with watching(trained, "OK  merge finished") as (app, pilot):
        await until(pilot, lambda: "merged: 1 check passed, 1 could not be made" in shown(app))
        await until(pilot, lambda: "OK      tensors" in shown(app))
        await until(pilot, lambda: "n/a     its answers" in shown(app))
        assert "A question from the data" not in shown(app)


@pytest.mark.parametrize("columns", [0, 10, 33, 39])
def test_a_table_for_a_terminal_that_is_too_small_is_made_all_the_same(trained: Path, columns: int) -> None:
    prove(trained / "merged" / "proof.json", *CHECKS)
    (proof,) = proofs(Run(trained))
    assert table(proof, columns) == table(proof, 40)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_proof_of_someone_else_steers_no_terminal(trained: Path, payload: str) -> None:
    log = EventLog(trained / "events.jsonl", "merge")
    log.write(Started())
    evil = {"check": payload, "expected": payload, "got": payload, "passed": False}
    prove(trained / "merged.failed" / "proof.json", evil)
    log.write(Failed(kind="data", message="failed its proof", hint=""))
    run = Run(trained)
    state = run.state()
    (proof,) = ending(run, run.status(state), state).proofs
    assert not OBEYED.search("\n".join(table(proof, 77)))
    assert not OBEYED.search(told(trained))


async def test_a_command_with_paths_longer_than_the_screen_is_shown_whole(trained: Path) -> None:
    left = f"llama-quantize /{'long/' * 40}it-BF16.gguf /{'long/' * 40}it-Q6_K.gguf Q6_K"
    log = EventLog(trained / "events.jsonl", "export")
    log.write(Started())
    log.write(Finished(files=1, bytes=4 * MIB, elapsed_s=2.0, next=(left,)))
    async with watching(trained, "export finished") as (app, pilot):
        await until(pilot, lambda: "Q6_K" in shown(app))
        said = "".join(shown(app).split()).partition("wherellama-quantizeis:")[2]
        assert left.replace(" ", "") in said
