"""The command line from outside: what it prints where, with which exit status, and how fast it answers."""

import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fitune.core import jobs, runs
from fitune.core.forecast import Forecast, Resolved, Site, fit, forecast
from fitune.core.jobs import Begun, training
from fitune.core.memory import Card, shapes
from fitune.core.recipe import Recipe
from fitune.core.runs import EventLog, Failed, Finished, RunInfo, Started, spawn
from fitune.core.runs.run import Run
from fitune.tui.__main__ import main
from fitune.tui.cli import module_of, parser
from tests import fake_worker
from tests.core.runs.test_checkpoints import make as whole_checkpoint
from tests.core.tokens.token_rows import prepared
from tests.events import write_raw
from tests.tui.conftest import Fitune

ROOT = Path(__file__).parents[2]
COMMANDS = ("train", "watch", "runs", "stop", "resume", "doctor", "demo", "merge", "export", "push")
HELP = """
import sys, time
from fitune.tui.__main__ import main
sys.argv[1:] = ["--help"]
try:
    main()
finally:
    heavy = {"torch", "textual", "rich", "pydantic", "transformers", "asyncio"} & set(sys.modules)
    print(time.process_time(), *heavy, file=sys.stderr)
"""


@pytest.fixture
def recipe_file(tmp_path: Path) -> str:
    path = tmp_path / "recipe.toml"
    path.write_text('[model]\nid = "owner/model"\n[data]\nsource = "owner/rows"\n[run]\nname = "mine"\n')
    return str(path)


def make(home: Path, name: str, told: str | None = None) -> Run:
    return Run(fake_worker.make_run(home, name, told))


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    said = [subprocess.run([sys.executable, "-c", HELP], cwd=ROOT, capture_output=True, text=True) for _ in range(2)]
    cpu_s, *heavy = min(each.stderr.split() for each in said)
    assert "Fine-tune a language model" in said[0].stdout
    assert heavy == []
    assert float(cpu_s) < 0.5


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_and_a_file_that_answers(fitune: Fitune, command: str) -> None:
    status, out, err = fitune(command, "--help")
    assert (status, err) == (0, "")
    assert out.startswith(f"usage: fitune {command}")
    assert callable(importlib.import_module(module_of(command)).run)


@pytest.mark.parametrize(
    "arguments", [["dance"], ["train"], ["stop"], ["runs", "--yaml"], ["train", "r", "--set"], ["demo", "--steps", "x"]]
)
def test_a_command_line_that_makes_no_sense_is_bad_input(fitune: Fitune, arguments: list[str]) -> None:
    status, out, err = fitune(*arguments)
    assert (status, out) == (2, "")
    assert "usage: fitune" in err


def test_a_demo_of_no_steps_is_refused_and_not_taken_for_all(
    fitune: Fitune, fitune_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("fitune.core.jobs.begin")
    status, _, err = fitune("demo", "--steps", "0")
    assert status == 2
    assert "--steps 0: the demo needs at least one step" in err


# --- runs ----------------------------------------------------------------------------------------------------------


def test_without_runs_there_is_an_empty_list(fitune: Fitune) -> None:
    assert fitune("runs", "--json") == (0, "[]\n", "")
    assert fitune("runs") == (0, "No runs yet. Start one: fitune demo\n", "")


def test_runs_as_json_is_one_document_with_every_run(fitune: Fitune, fitune_home: Path) -> None:
    stories = {"good": "ok", "full": "oom", "shot": "killed", "new": None}
    for name, told in stories.items():
        make(fitune_home, name, told)
    (make(fitune_home, "broken").path / "run.json").write_text("{")
    status, out, err = fitune("runs", "--json")
    assert (status, err) == (0, "")
    listed = {each["name"]: each for each in json.loads(out)}
    assert {name: each["status"] for name, each in listed.items()} == {
        "good": "finished", "full": "failed", "shot": "killed", "new": "killed", "broken": "killed"
    }  # fmt: skip
    good = listed["good"]
    assert (good["step"], good["total_steps"], good["model"]) == (6, 6, "HuggingFaceTB/SmolLM2-135M-Instruct")
    assert good["path"] == str(fitune_home / "runs" / "good")
    assert good["problem"] is None
    assert "run.json can't be read" in listed["broken"]["problem"]


def test_the_table_of_runs_has_a_line_a_run_and_says_what_is_broken(fitune: Fitune, fitune_home: Path) -> None:
    make(fitune_home, "good", "ok")
    (make(fitune_home, "broken").path / "run.json").write_text('{"created": "today", "recipe": {"model": {}}}')
    status, out, err = fitune("runs")
    assert (status, err) == (0, "")
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert lines["RUN"].split() == ["RUN", "STATUS", "STEP", "LOSS", "VERDICT", "MEMORY", "STARTED"]
    assert lines["good"].split()[1:4] == ["finished", "6/6", "1.594"]
    assert lines["broken"].split()[1:] == ["killed", "0/?"]
    assert "model.id: is missing." in out


def test_a_run_of_another_user_is_told_beside_the_list(
    fitune: Fitune, fitune_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = make(fitune_home, "theirs", "ok").path
    access = os.access  # root, who may run the tests, may read all
    monkeypatch.setattr(os, "access", lambda path, mode: path != theirs and access(path, mode))
    warning = f"WARN  You may not read all of {theirs}\n"
    assert fitune("runs") == (0, "", warning)
    assert fitune("runs", "--json") == (0, "[]\n", warning)
    make(fitune_home, "mine", "ok")
    status, out, err = fitune("runs")
    assert (status, out.count("\n"), err) == (0, 2, warning)


@pytest.mark.parametrize("odd", [[1], {"a": 1}, "many", True])
def test_a_run_of_another_version_with_odd_values_is_listed_and_compared(
    fitune: Fitune, fitune_home: Path, odd: object
) -> None:
    run = make(fitune_home, "run-a")
    told = json.loads((run.path / "run.json").read_bytes()) | {"created": 1e300}
    (run.path / "run.json").write_text(json.dumps(told))
    write_raw(run.events, "started")
    write_raw(run.events, "step", step=3, loss=odd, seen_tokens=odd, tokens_per_s=odd)
    write_raw(run.events, "memory", peak_device=odd, reserved=odd, predicted=odd)
    write_raw(run.events, "finished", elapsed_s=odd)
    status, out, err = fitune("runs")
    assert (status, err) == (0, "")
    assert out.splitlines()[1].split() == ["run-a", "finished", "3/?", "n/a"]
    assert json.loads(fitune("runs", "--json")[1])[0]["loss"] is None
    make(fitune_home, "run-b")
    assert fitune("runs", "compare", "run-a", "run-b")[0] == 0


def test_a_reader_that_has_seen_enough_is_no_error(fitune_home: Path) -> None:
    for number in range(3):
        make(fitune_home, f"run-{number}", "ok")
    talk = subprocess.Popen(
        [sys.executable, "-m", "fitune", "runs", "--json"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert talk.stdout is not None
    talk.stdout.close()
    assert talk.stderr is not None
    assert (talk.stderr.read(), talk.wait(60)) == (b"", 0)
    talk.stderr.close()


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("runs --json >&-", (0, "")),
        ("runs >&- 2>&- <&-", (0, "")),
        ("watch run-a 2>&-", (0, "")),
        ("stop run-a >&-", (1, "run-a is not running.\n")),
        ("runs --json >/dev/full", (1, "The output can't be written: No space left on device.\n")),
        ("watch run-a 2>/dev/full", (1, "")),
    ],
)
def test_an_output_that_is_closed_or_full_ends_in_no_traceback(
    fitune_home: Path, command: str, expected: tuple[int, str]
) -> None:
    make(fitune_home, "run-a", "ok")
    asked = ["sh", "-c", f"{sys.executable} -m tui {command}"]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == expected


def test_every_problem_of_a_recipe_is_told_however_many_there_are(fitune: Fitune, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("".join(f"nonsense_{number} = 1\n" for number in range(60)))
    status, out, err = fitune("train", str(recipe), "--set", "lora", "--set", "lora.r=0")
    assert (status, out) == (2, "")
    assert all(f"recipe.toml:{number + 1}: nonsense_{number}: " in err for number in range(60))
    assert "--set lora: is not of the form group.key=value." in err
    assert "--set lora.r: should be greater than or equal to 1, but it is 0." in err


# --- watch ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("told", "expected"), [("ok", 0), ("oom", 1), ("nan", 1), ("killed", 1), ("torn", 1)])
def test_watch_ends_with_the_exit_status_of_the_run(
    fitune: Fitune, fitune_home: Path, told: str, expected: int
) -> None:
    make(fitune_home, "run-a", told)
    status, out, err = fitune("watch")
    assert (status, out) == (expected, "")
    assert err.startswith(f"run-a: Its folder: {fitune_home / 'runs' / 'run-a'}\n")  # a dead run does not go on


def test_watching_a_run_that_was_stopped_ends_with_130_and_the_way_on(fitune: Fitune, fitune_home: Path) -> None:
    run = make(fitune_home, "run-a")
    EventLog(run.events, "train").write(Finished(stopped=True, steps=3, total_steps=9))
    status, _, err = fitune("watch", "run-a")
    assert status == 130
    assert err.endswith("There is no checkpoint; start it over: fitune resume run-a\n")
    (run.checkpoints / "checkpoint-3").mkdir(parents=True)
    assert fitune("watch", "run-a")[2].endswith("Go on from the last checkpoint: fitune resume run-a\n")


def test_ctrl_c_while_watching_leaves_the_run_alive_and_says_so(fitune_home: Path) -> None:
    run = make(fitune_home, "run-a")
    worker = fake_worker.start(run.path, "steps:3000", "--rate", "50")
    try:
        watch = subprocess.Popen(
            [sys.executable, "-m", "fitune", "watch"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert watch.stderr is not None
        assert watch.stderr.readline().startswith("run-a: you can close this window, the run goes on.")
        while "step 3/" not in watch.stderr.readline():
            assert watch.poll() is None
        watch.send_signal(signal.SIGINT)
        out, err = watch.communicate(timeout=60)
        assert (watch.returncode, out) == (130, "")
        assert "Still running. Watch it: fitune watch run-a\nStop it: fitune stop run-a" in err
        assert run.holder_pid() == worker.pid
    finally:
        worker.kill()
        worker.wait()


# --- stop and resume -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["watch", "stop", "resume"])
def test_a_run_that_does_not_exist_is_bad_input(fitune: Fitune, fitune_home: Path, command: str) -> None:
    make(fitune_home, "run-a", "ok")
    assert fitune(command, "other") == (2, "", "No run matches 'other'. Runs: run-a\n")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("tran recipe.toml", "train"),
        ("scor", "score"),
        ("queue lst", "list"),
        ("handoff mine --to axolot", "axolotl"),
    ],
)
def test_what_was_most_likely_meant_is_named(typed: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        parser().parse_args(typed.split())
    assert left.value.code == 2
    assert capsys.readouterr().err.endswith(f"Did you mean {meant}?\n")


@pytest.mark.parametrize("typed", ["xyzzy", "runs --jsn"])
def test_what_is_near_to_nothing_gets_no_advice(typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(typed.split())
    assert "Did you mean" not in capsys.readouterr().err


def test_an_error_is_broken_between_words_on_a_narrow_terminal(
    fitune_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make(fitune_home, "a-run-of-the-spring", "ok")
    monkeypatch.setattr(sys, "argv", ["fitune", "stop", "the-autumn"])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "40")
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err == "No run matches 'the-autumn'. Runs:\na-run-of-the-spring\n"


def test_stopping_a_dead_run_changes_nothing(fitune: Fitune, fitune_home: Path) -> None:
    run = make(fitune_home, "run-a", "killed")
    assert fitune("stop", "run-a") == (1, "", "run-a is not running.\n")
    assert not run.stop.exists()


def test_stop_ends_a_live_run_with_a_checkpoint(fitune: Fitune, fitune_home: Path) -> None:
    run = make(fitune_home, "run-a")
    worker = fake_worker.start(run.path, "steps:3000")
    status, out, err = fitune("stop", "run-a")
    assert (status, out) == (0, "")
    assert err.startswith("run-a stops after this step, with a checkpoint.")
    assert worker.wait(60) == 0
    assert run.current()[0] == "stopped"


def test_stop_now_kills_and_names_the_way_on(fitune: Fitune, fitune_home: Path) -> None:
    run = make(fitune_home, "run-a")
    worker = fake_worker.start(run.path, "steps:3000")
    said = "run-a was killed. It had no checkpoint; start it over: fitune resume run-a\n"
    assert fitune("stop", "run-a", "--now") == (0, "", said)
    assert worker.wait(60) == -signal.SIGKILL
    assert run.current()[0] == "killed"
    other = make(fitune_home, "run-b")
    worker = fake_worker.start(other.path, "steps:3000")
    (other.checkpoints / "checkpoint-7").mkdir(parents=True)
    assert "Go on from its last checkpoint, checkpoint-7: fitune resume run-b" in fitune("stop", "run-b", "--now")[2]
    worker.wait(60)


@pytest.mark.parametrize(
    ("job", "now", "said"),
    [
        ("merge", [], "The merge of run-a stops before its next part, if one is left; the adapter stays as it is."),
        ("push", [], "The push of run-a stops before its next file; nothing of it is visible then."),
        ("push", ["--now"], "The push of run-a was killed; the adapter is as it was. Again: fitune push run-a --repo"),
    ],
)
def test_stopping_a_merge_or_push_promises_no_checkpoint(
    fitune: Fitune, fitune_home: Path, job: str, now: list[str], said: str
) -> None:
    run = make(fitune_home, "run-a")
    worker = fake_worker.start(run.path, "steps:3000")
    run.lock.write_text(json.dumps({"pid": worker.pid, "job": job}))
    status, out, err = fitune("stop", "run-a", *now)
    assert (status, out) == (0, "")
    assert err.startswith(said)
    assert "checkpoint" not in err
    assert worker.wait(60) == (-signal.SIGKILL if now else 0)


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ([], "The race spring stops after this step, without a result. At once: fitune stop spring --now"),
        (["--now"], "The race spring was killed. Start it again with its recipe."),
    ],
)
def test_a_race_that_was_left_is_watched_and_stopped_by_its_name(
    fitune: Fitune, fitune_home: Path, now: list[str], said: str
) -> None:
    run = make(fitune_home, "spring")
    (fitune_home / "races").mkdir()
    race = Run(run.path.rename(fitune_home / "races" / "spring"))
    worker = fake_worker.start(race.path, "steps:3000")
    race.lock.write_text(json.dumps({"pid": worker.pid, "job": "tune-lr"}))
    assert fitune("stop", "spring", *now) == (0, "", f"{said}\n")
    assert worker.wait(60) == (-signal.SIGKILL if now else 0)
    (race.path / "tune-lr.json").write_text('{"budget_s": 60}')
    assert "spring: Its folder:" in fitune("watch", "spring")[2], "in lines, on any terminal"
    assert fitune("resume", "spring")[0] == 2, "a race is no training that goes on"


def test_a_finished_run_is_not_resumed(fitune: Fitune, fitune_home: Path) -> None:
    run = make(fitune_home, "run-a", "ok")
    run.adapter.mkdir()
    (run.adapter / "adapter_model.safetensors").touch()
    assert fitune("resume", "run-a") == (2, "", f"run-a has finished. Its adapter is in {run.adapter}\n")


@pytest.mark.usefixtures("fakes")
def test_a_killed_run_goes_on_from_its_newest_checkpoint(fitune: Fitune, fitune_home: Path) -> None:
    run = make(fitune_home, "run-a", "killed")
    whole_checkpoint(run.checkpoints, 40)
    status, out, err = fitune("resume", "run-a")
    assert (status, out) == (0, "")
    assert err.startswith("Going on from checkpoint-40.\n")
    assert run.current()[0] == "finished"


@pytest.mark.usefixtures("fakes")
def test_an_adapter_that_was_removed_is_made_again(fitune: Fitune, fitune_home: Path) -> None:
    run = make(fitune_home, "run-a", "ok")
    whole_checkpoint(run.checkpoints, 6)
    assert "Train it first: fitune resume run-a" in fitune("merge", "run-a")[2]
    status, _, err = fitune("resume", "run-a")
    assert (status, err.startswith("Going on from checkpoint-6.\n")) == (0, True)


@pytest.mark.usefixtures("fakes")
def test_a_run_that_is_alive_is_not_started_again(fitune: Fitune, fitune_home: Path) -> None:
    run = make(fitune_home, "run-a")
    worker = fake_worker.start(run.path, "steps:3000")
    said = f"run-a is running already (pid {worker.pid}). Watch it: fitune watch run-a\n"
    assert fitune("resume", "run-a") == (2, "", said)


# --- without a terminal ---------------------------------------------------------------------------------------------

HEADLESS = """
import sys
from fitune.core.jobs import Begun, training
from fitune.core.machine import host
from fitune.core.machine.host import Machine
from fitune.core.runs import spawn
from tests.fake_worker import stand_in
from fitune.tui.__main__ import main
from fitune.tui.commands.running import train
story = sys.argv.pop(1)
spawn._command = stand_in(story, "--rate", "100")
spawn._lingering_user_manager = lambda: False
training.foresee = lambda *_: None
train.render = lambda *_: None
host.detect = lambda runs_dir=None: Machine(gpu_state="none")
main()
"""


def headless(story: str, *arguments: str) -> "subprocess.Popen[str]":
    """fitune as cron starts it: no controlling terminal, stdin closed; the fake worker tells the story."""
    command = ["sh", "-c", 'exec "$0" "$@" <&-', sys.executable, "-c", HEADLESS, story, *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


@pytest.mark.parametrize(("story", "expected"), [("steps:30", 0), ("oom", 1)])
def test_check_19_answers_and_yes_run_the_whole_without_a_terminal(
    fitune_home: Path, recipe_file: str, story: str, expected: int
) -> None:
    out, err = (ran := headless(story, "--answers", recipe_file, "--yes")).communicate(timeout=60)
    assert (ran.returncode, out) == (expected, ""), err
    assert "step 2/" in err
    assert "\x1b" not in err
    assert runs.find(fitune_home, "mine").current()[0] == ("failed" if expected else "finished")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--answers", "RECIPE"],
            "There is no terminal to ask on. Give the answers in a recipe file: fitune --answers",
        ),
        (["--answers", "RECIPE", "--plain"], "There is no terminal to ask on."),
        (["--yes"], "--yes has nothing to start. Name the recipe"),
        ([], "There is no terminal to ask on."),
        (["--answers", "none.toml", "--yes"], "none.toml can't be read: No such file or directory."),
        (["--answers", "none.toml"], "none.toml can't be read: No such file or directory."),
    ],
)
def test_check_19_without_a_terminal_what_lacks_is_bad_input_and_nothing_is_asked(
    fitune_home: Path, recipe_file: str, arguments: list[str], said: str
) -> None:
    given = [recipe_file if each == "RECIPE" else each for each in arguments]
    out, err = (ran := headless("steps:30", *given)).communicate(timeout=60)
    assert (ran.returncode, out) == (2, "")
    assert err.startswith(said)
    assert "Traceback" not in err
    assert runs.all_runs(fitune_home) == []


@pytest.mark.parametrize("how", ["stopped", "left"])
def test_check_19_stopped_or_left_is_130(fitune_home: Path, recipe_file: str, how: str) -> None:
    ran = headless("steps:3000", "--answers", recipe_file, "--yes")
    assert ran.stderr is not None
    while "step 3/" not in ran.stderr.readline():
        assert ran.poll() is None
    run = runs.find(fitune_home, "mine")
    if how == "stopped":
        run.request_stop()
    else:
        ran.send_signal(signal.SIGINT)
    ran.communicate(timeout=60)
    assert ran.returncode == 130
    assert (run.holder_pid() is None) == (how == "stopped"), "leaving leaves it alive"
    run.kill()


# --- train ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("fakes")
def test_train_follows_the_run_to_its_end(fitune: Fitune, fitune_home: Path, recipe_file: str) -> None:
    status, out, err = fitune("train", recipe_file)
    assert (status, out) == (0, "")
    assert "unsloth can't be used: there is no NVIDIA card to use." in err
    assert "step 30/30" in err


@pytest.mark.usefixtures("fakes")
def test_a_training_says_what_memory_it_will_take_and_what_that_is_judged_by(
    fitune: Fitune, recipe_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = shapes.load("HuggingFaceTB/SmolLM2-135M-Instruct")

    def foresee(resolved: Resolved, *_: Any) -> Forecast:
        return forecast(shape, resolved.recipe, Site(ram_bytes=ram_bytes))

    ram_bytes = 64 << 30
    monkeypatch.setattr(training, "foresee", foresee)
    said = r"memory: \d\.\d GiB of {} GiB; lengths: assumed, every row fills model\.max_seq_length\n"
    told = fitune("train", recipe_file)[2]
    assert re.search(said.format(r"64\.0"), told)
    assert "WARN" not in told
    ram_bytes = 1 << 30
    status, _, told = fitune("train", recipe_file, "--set", "run.name=other")
    assert status == 2
    assert "and the processor has 1.0 GiB free." in told
    told = fitune("train", recipe_file, "--set", "run.name=other", "--yes")[2]
    assert re.search(said.format(r"1\.0") + "WARN  That does not fit: it may be ended for want of memory.\n", told)


@pytest.mark.usefixtures("fakes")
def test_detached_it_prints_the_runs_name_and_nothing_else(
    fitune: Fitune, fitune_home: Path, recipe_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spawn, "_command", fake_worker.stand_in("steps:3000", "--rate", "50"))
    status, out, err = fitune("train", recipe_file, "--detach", "--set", "run.name=other")
    assert (status, out) == (0, "other\n")
    assert err.endswith("Running by itself (setsid). Watch it: fitune watch other\n")
    assert runs.find(fitune_home, "other").holder_pid() is not None


@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.toml"], "none.toml can't be read: No such file or directory. Check the path.\n"),
        (["RECIPE", "--set", "lora.rank=8"], "--set lora.rank: is not a key of a recipe."),
        (["RECIPE", "--set", "data.source=./rows.jsonl"], "data.source: ./rows.jsonl does not exist."),
        (["RECIPE", "--set", "train.backend=unsloth"], "The backend unsloth can't be used: there is no NVIDIA card"),
        (["RECIPE", "--set", "run.gpu=0"], "Card '0' can't be used."),
        (["RECIPE", "--set", "model.id=\x1b]0;owned\x07/x/y"], "model.id: ␛]0;owned␇/x/y does not exist."),
    ],
)
def test_what_a_user_can_repair_is_a_sentence_on_stderr(
    fitune: Fitune, fitune_home: Path, recipe_file: str, arguments: list[str], said: str
) -> None:
    status, out, err = fitune("train", *[recipe_file if each == "RECIPE" else each for each in arguments])
    assert (status, out) == (2, "")
    assert err.startswith(said)
    assert runs.all_runs(fitune_home) == []


@pytest.mark.usefixtures("fakes")
def test_a_guess_is_not_trained_until_somebody_says_what_is_meant(
    fitune: Fitune, fitune_home: Path, recipe_file: str, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"foo": "Why is it so?", "bar": "It is not."}\n')
    chosen = ("train", recipe_file, "--set", f"data.source={rows}")
    status, out, err = fitune(*chosen, "--yes")
    assert (status, out) == (2, "")
    assert '{question = "foo", answer = "bar"}: asked "Why is it so?" it learns to answer "It is not."' in err
    assert '{question = "bar", answer = "foo"}: asked "It is not." it learns to answer "Why is it so?"' in err
    assert runs.all_runs(fitune_home) == []
    assert fitune(*chosen, "--accept-guess")[0] == 0
    assert runs.find(fitune_home, "mine").recipe().data.columns == {"question": "foo", "answer": "bar"}


@pytest.mark.usefixtures("fakes")
def test_rows_that_must_not_be_learned_start_no_training(
    fitune: Fitune, fitune_home: Path, recipe_file: str, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"question": "Why?", "chosen": "It is so.", "rejected": "Go away."}\n')
    status, _, err = fitune("train", recipe_file, "--set", f"data.source={rows}", "--accept-guess")
    assert status == 2
    assert "preference pairs" in err
    assert runs.all_runs(fitune_home) == []


@pytest.mark.usefixtures("fakes")
def test_a_home_that_cannot_be_written_to_is_a_sentence(fitune: Fitune, fitune_home: Path, recipe_file: str) -> None:
    fitune_home.write_text("a file")
    status, out, err = fitune("train", recipe_file)
    assert (status, out) == (2, "")
    assert err.endswith("can't be made: Not a directory. Set FITUNE_HOME to a folder you can write to.\n")


def test_the_names_of_the_commands_are_the_contract() -> None:
    choices = next(action.choices for action in parser()._actions if action.dest == "command")
    assert choices is not None
    assert set(COMMANDS) <= set(choices)


def trained(home: Path) -> Run:
    """A run whose training is over, with an adapter."""
    run = Run(fake_worker.make_run(home, told="ok"))
    run.adapter.mkdir()
    (run.adapter / "adapter_model.safetensors").touch()
    return run


@pytest.mark.usefixtures("fakes")
def test_a_failed_merge_is_not_a_failed_training(fitune: Fitune, fitune_home: Path) -> None:
    run = trained(fitune_home)
    log = EventLog(run.events, "merge")
    log.write(Started())
    log.write(Failed(kind="disk", message="full", hint=""))
    status, out, _ = fitune("runs", "--json")
    assert status == 0
    assert json.loads(out)[0]["status"] == "finished"
    status, _, err = fitune("resume", run.name)
    assert status == 2
    assert "has finished" in err


@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--repo", "no good!"], "can't be the name of a repository"),
        (["--repo", "me/it", "--merged"], "First: fitune merge"),
        (["--repo", "me/it", "--gguf"], "First: fitune export"),
        (["--repo", "me/it", "--public"], "Add --yes if everyone may see it"),
    ],
)
def test_a_push_that_will_not_do_is_refused_before_it_starts(
    fitune: Fitune, fitune_home: Path, arguments: list[str], said: str
) -> None:
    run = trained(fitune_home)
    status, _, err = fitune("push", run.name, *arguments)
    assert status == 2
    assert said in err
    assert not (run.path / "push.json").exists()


def test_a_merge_without_an_adapter_is_refused(fitune: Fitune, fitune_home: Path) -> None:
    run = trained(fitune_home)
    shutil.rmtree(run.adapter)
    status, _, err = fitune("merge", run.name)
    assert status == 2
    assert "Train it first: fitune resume" in err


# --- the fastest plan -----------------------------------------------------------------------------------------------


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """How the trainings were begun; each then has a plan to tell."""
    kept: list[dict[str, Any]] = []
    shape = shapes.load("unsloth/Llama-3.1-8B-Instruct")
    stats = prepared([(200, [(100, 200)])] * 5000)

    def begin(recipe: Recipe, **how: Any) -> Begun:
        kept.append(how)
        asked = recipe.model_copy(update={"train": recipe.train.model_copy(update={"backend": "unsloth"})})
        now = forecast(shape, asked, Site(Card(24 << 30, 23 << 30), "NVIDIA L4"), stats)
        return Begun(runs.create(recipe, runs.home(), RunInfo()), "setsid", "", (), now, fit(now))

    monkeypatch.setattr(jobs, "begin", begin)
    monkeypatch.setattr("fitune.tui.commands.running.train.render", lambda recipe, tell: stats)
    return kept


def test_train_says_how_much_faster_it_could_be_and_takes_it_if_asked(
    fitune: Fitune, fitune_home: Path, recipe_file: str, started: list[dict[str, Any]]
) -> None:
    said = fitune("train", recipe_file, "--detach")[2]
    faster = r"Once started, about (\d+ times as fast as|\d+% faster than) the recipe as it is\."
    assert re.search(rf"by another plan, with --fastest: {faster} \(train\.", said)
    assert (started[0]["fastest"], started[0]["rows"]) == (False, None)
    said = fitune("train", recipe_file, "--detach", "--fastest", "--set", "run.name=other")[2]
    assert re.search(r"\nplan: .*train\.micro_batch = 8", said)
    assert started[1]["fastest"] is True
    assert started[1]["rows"] is not None


@pytest.mark.parametrize(
    ("text", "taken"), [("", True), ("[train]\nlr = 1e-4\n", True), ("[train]\nmicro_batch = 1\n", False)]
)
def test_without_questions_the_fastest_plan_is_taken_where_the_file_leaves_it_open(
    fitune: Fitune, fitune_home: Path, recipe_file: str, started: list[dict[str, Any]], text: str, taken: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("fitune.tui.commands.running.train.follow_to_end", lambda run: 0)
    with Path(recipe_file).open("a") as file:
        file.write(text)
    assert fitune("--answers", recipe_file, "--yes")[0] == 0
    assert started[0]["fastest"] is taken
