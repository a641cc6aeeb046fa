"""The push job with the real huggingface_hub client, against a server on the loopback device."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from huggingface_hub import constants
from numpy import zeros
from safetensors.numpy import save

from fitune.core import runs
from fitune.core.recipe.load import parse
from fitune.core.records import to_json
from fitune.core.runs import EventLog, Finished, Started
from fitune.core.runs.run import Run
from fitune.core.worker.__main__ import run_job
from tests.loopback_hub import Hub, serve

TOKEN = "hf_" + "Ab3" * 11
A_FILE = "/{repo_id}/resolve/{revision}/{filename}"
FILES = {
    "adapter_model.safetensors": save({"base_model.model.layers.0.q_proj.lora_A.weight": zeros(1700, "float32")}),
    "adapter_config.json": b"{}",
    "README.md": b"# Model card\n[More Information Needed]\n",
    "tokenizer.json": b"{}",
}


@pytest.fixture
def hub() -> Iterator[Hub]:
    known = Hub(TOKEN)
    server = serve(known)
    yield known
    server.shutdown()
    server.server_close()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run that has been trained, as far as its folder tells."""
    rows = tmp_path / "my sums.jsonl"
    rows.write_text('{"question": "1+1?", "answer": "2"}\n')
    tree: dict[str, Any] = {"model": {"id": "owner/base"}, "data": {"source": str(rows)}, "run": {"name": "mine"}}
    made = runs.create(parse(tree, "test"), tmp_path / "home")
    log = EventLog(made.events, "train")
    log.write(Started())
    log.write(Finished(stopped=False, steps=7, first_loss=2.5, last_loss=0.25, eval_loss=0.5))
    made.adapter.mkdir()
    for name, content in FILES.items():
        (made.adapter / name).write_bytes(content)
    return made


def push(run: Run, hub: Hub, token: str | None = TOKEN, **wanted: Any) -> int:
    """The job in this process, with the worker's own words in the run's log. Its exit status."""
    ask(run, **wanted)
    with (
        mock.patch.dict(os.environ, {"NO_PROXY": "127.0.0.1"} | ({"HF_TOKEN": token} if token else {})),
        mock.patch.object(constants, "ENDPOINT", hub.url),
        mock.patch.object(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + A_FILE),
        mock.patch.object(constants, "HF_HUB_DISABLE_XET", True),
        run.log.open("a") as log,
        redirect_stdout(log),
        redirect_stderr(log),
    ):
        return run_job(run, "push", EventLog(run.events, "push"))


def ask(run: Run, **wanted: Any) -> None:
    (run.path / "push.json").write_text(json.dumps({"repo": "sums", "private": True, "what": "adapter"} | wanted))


def start(run: Run, hub: Hub, token: str | None = TOKEN, **wanted: Any) -> subprocess.Popen[bytes]:
    """The job in a process of its own, as `jobs.start` starts it."""
    ask(run, **wanted)
    env = os.environ | {
        "HF_ENDPOINT": hub.url, "HF_HOME": str(run.path.parent.parent / "hf"), "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
    }  # fmt: skip
    env |= {"HF_TOKEN": token} if token else {}
    with run.log.open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "fitune.core.worker", str(run.path), "push"], env=env, stdout=log, stderr=log
        )


def start_and_stall(run: Run, hub: Hub, after: int = 1, **wanted: Any) -> subprocess.Popen[bytes]:
    """The job, stuck in the large file that comes after so many."""
    hub.stalls_after = after
    worker = start(run, hub, **wanted)
    deadline = time.monotonic() + 60
    while len(hub.uploads) <= after:
        assert time.monotonic() < deadline, run.log.read_text()
        time.sleep(0.05)
    return worker


def end(run: Run) -> tuple[str, dict[str, Any]]:
    state = run.state()
    assert state.trained, "whatever became of the push"
    assert state.end
    assert state.job == "push"
    return state.end.type, to_json(state.end)


def assert_no_secret(run: Run) -> None:
    for path in run.path.parent.parent.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path


def test_the_adapter_arrives_whole_in_a_private_repository_of_the_user(run: Run, hub: Hub) -> None:
    assert start(run, hub).wait() == 0, run.log.read_text()
    assert hub.private == {"ada/sums": True}
    assert hub.files.keys() == FILES.keys()
    assert {name: hub.files[name] for name in FILES if name != "README.md"} == {
        name: content for name, content in FILES.items() if name != "README.md"
    }
    kind, data = end(run)
    assert kind == "finished"
    assert (data["repo"], data["private"], data["files"]) == ("ada/sums", True, len(FILES))
    assert data["url"] == f"{hub.url}/ada/sums"
    assert_no_secret(run)


def test_the_card_is_made_anew_with_each_push_and_tells_no_path_of_this_machine(run: Run, hub: Hub) -> None:
    hub.cards = {"owner/base": {"license": "apache-2.0"}}
    push(run, hub)
    card = hub.files["README.md"].decode()
    assert "license: apache-2.0" in card
    assert "`my sums.jsonl`" in card
    assert "[More" not in card
    assert str(run.path.parents[2]) not in card
    hub.cards = {"owner/base": {"license": "mit"}}
    push(run, hub)
    assert "license: mit" in hub.files["README.md"].decode()


def test_a_card_that_somebody_wrote_is_kept(run: Run, hub: Hub) -> None:
    (run.adapter / "README.md").write_text("# Mine\n")
    push(run, hub)
    assert hub.files["README.md"] == b"# Mine\n"


def test_a_card_that_was_changed_on_the_hub_stays_and_it_is_said(run: Run, hub: Hub) -> None:
    push(run, hub)
    changed = hub.files["README.md"].replace(b"# mine", b"# Mine, with a better name")
    hub.files["README.md"] = changed
    (run.adapter / "tokenizer.json").write_bytes(b"{ }")
    assert push(run, hub) == 0, run.log.read_text()
    assert hub.files["README.md"] == changed
    assert hub.files["tokenizer.json"] == b"{ }"
    assert "it stays as it is" in run.state().warnings["push"][0].message


def test_a_card_that_the_hub_refuses_is_a_sentence(run: Run, hub: Hub) -> None:
    hub.refuses_card = True
    (run.adapter / "README.md").write_text("---\nlicense: my own\n---\n# Mine\n")
    assert push(run, hub) == 1
    data = end(run)[1]
    assert data["message"].startswith("The Hub refuses the model card: ")
    assert '"license" must be one of those known' in data["message"]
    assert "README.md, or delete that file" in data["hint"]
    assert not hub.files


def test_a_path_of_this_machine_in_the_adapters_settings_stays_here(run: Run, hub: Hub) -> None:
    here = {"base_model_name_or_path": str(run.path / "hub" / "snapshots" / "abc"), "r": 16}
    (run.adapter / "adapter_config.json").write_text(json.dumps(here))
    assert push(run, hub) == 0, run.log.read_text()
    there = json.loads(hub.files["adapter_config.json"])
    assert there == {"base_model_name_or_path": "owner/base", "r": 16, "revision": None}
    assert json.loads((run.adapter / "adapter_config.json").read_bytes()) == here


def test_public_and_merged_if_asked(run: Run, hub: Hub) -> None:
    run.merged.mkdir()
    (run.merged / "model.safetensors").write_bytes(b"all")
    assert push(run, hub, repo="org/it", private=False, what="merged") == 0, run.log.read_text()
    assert hub.private == {"org/it": False}
    assert hub.files["model.safetensors"] == b"all"
    assert b"library_name: transformers" in hub.files["README.md"]


SHARDS = [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]


@pytest.mark.parametrize(
    ("there", "command"),
    [
        (SHARDS, "delete-files ada/sums 'model-*-of-00003.safetensors'"),
        (["model.safetensors.index.json"], "delete-files ada/sums model.safetensors.index.json"),
        (["adapter_config.json"], "delete-files ada/sums adapter_config.json"),
    ],
)
def test_a_merged_model_is_not_mixed_with_what_an_earlier_push_left(
    run: Run, hub: Hub, there: list[str], command: str
) -> None:
    run.merged.mkdir()
    (run.merged / "model.safetensors").write_bytes(b"all")
    hub.private["ada/sums"] = True
    hub.files = dict.fromkeys(there, b"old")
    assert push(run, hub, what="merged") == 1
    data = end(run)[1]
    assert data["message"].startswith(f"ada/sums holds {there[0]}")
    assert command in data["hint"]
    assert (list(hub.files), hub.uploads) == (there, [])


def test_what_else_is_there_is_told_by_name_and_stays(run: Run, hub: Hub) -> None:
    hub.private["ada/sums"] = True
    hub.files = dict.fromkeys([".gitattributes", "model.safetensors", "notes.md"], b"mine")
    assert push(run, hub) == 0, run.log.read_text()
    assert run.state().warnings["push"][0].message == (
        "ada/sums also holds model.safetensors, notes.md: that stays there as it is."
    )
    assert hub.files["notes.md"] == b"mine"


def test_an_existing_private_repository_is_used(run: Run, hub: Hub) -> None:
    hub.private["ada/sums"] = True
    assert push(run, hub) == 0, run.log.read_text()
    assert hub.files


def test_nothing_goes_into_a_public_repository_unasked(run: Run, hub: Hub) -> None:
    hub.private["ada/sums"] = False
    assert push(run, hub) == 1
    assert not hub.files
    assert "exists already and is public" in end(run)[1]["message"]


def test_an_existing_private_repository_stays_private_and_it_is_said(run: Run, hub: Hub) -> None:
    hub.private["ada/sums"] = True
    assert push(run, hub, private=False) == 0
    assert hub.private["ada/sums"]
    assert "stays so" in run.state().warnings["push"][0].message
    assert end(run)[1]["private"]


@pytest.mark.parametrize(
    ("token", "writable", "message", "hint"),
    [
        (None, True, "There is no token for the Hub.", "hf auth login"),
        (TOKEN[::-1], True, "The Hub does not know this token.", "hf auth login"),
        (TOKEN, False, "The token may not write there.", "the role write"),
    ],
)
def test_a_refusal_is_a_sentence_and_uploads_nothing(
    run: Run, hub: Hub, token: str | None, writable: bool, message: str, hint: str
) -> None:
    hub.writable = writable
    assert start(run, hub, token).wait() == 1
    kind, data = end(run)
    assert (kind, data["kind"], data["message"]) == ("failed", "auth", message)
    assert hint in data["hint"]
    assert not hub.files
    assert_no_secret(run)


def test_a_file_that_did_not_arrive_is_noticed(run: Run, hub: Hub) -> None:
    hub.loses = "adapter_config.json"
    assert push(run, hub) == 1
    assert end(run)[1]["message"] == "1 of 4 files did not arrive whole, such as adapter_config.json."


def test_no_hub_is_a_sentence(run: Run, hub: Hub) -> None:
    hub.url = "http://127.0.0.1:9"
    assert push(run, hub) == 1
    data = end(run)[1]
    assert data["kind"] == "download"
    assert data["message"].startswith("The Hub can't be reached")


def test_a_file_that_arrived_as_another_is_noticed(run: Run, hub: Hub) -> None:
    hub.spoils = "adapter_model.safetensors"
    assert push(run, hub) == 1
    assert end(run)[1]["message"] == "1 of 4 files did not arrive whole, such as adapter_model.safetensors."


@pytest.mark.parametrize(
    ("role", "scoped", "repo", "said"),
    [
        ("read", (), "sums", "The token of ada may only read."),
        ("fineGrained", (), "sums", "The token of ada may not write to ada/sums."),
        ("fineGrained", ("ada",), "org/sums", "The token of ada may not write to org/sums."),
        ("fineGrained", ("ada",), "sums", None),
        ("fineGrained", ("org/sums",), "org/sums", None),
    ],
)
def test_a_token_without_the_scope_is_noticed_before_anything_is_made(
    run: Run, hub: Hub, role: str, scoped: tuple[str, ...], repo: str, said: str | None
) -> None:
    hub.role, hub.scoped = role, scoped
    assert push(run, hub, repo=repo) == (1 if said else 0), run.log.read_text()
    assert bool(hub.private) is not bool(said)
    if said:
        assert end(run)[1]["message"] == said
        assert_no_secret(run)


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/repos/create", 429, "The Hub asks to slow down: too many requests."),
        ("/repos/create", 500, "The Hub answered with status 500: Not now."),
        ("/commit/", 409, "The repository was changed meanwhile: Not now."),
        ("/commit/", 403, "The token may not write there."),
        ("/commit/", 503, "The Hub answered with status 503: Not now."),
    ],
)
def test_a_refusal_on_the_way_is_a_sentence_and_the_next_push_goes_through(
    run: Run, hub: Hub, path: str, status: int, message: str
) -> None:
    hub.answers = {path: [status]}
    assert push(run, hub) == 1
    assert end(run)[1]["message"] == message
    assert not hub.files
    assert_no_secret(run)
    assert push(run, hub) == 0, run.log.read_text()
    assert set(hub.files) == set(FILES)


@pytest.mark.parametrize("spoil", [{"cuts": 1}, {"answers": {"/blob/": [503, 429]}}], ids=["cut", "refused"])
def test_a_large_file_is_sent_again_by_itself(run: Run, hub: Hub, spoil: dict[str, Any]) -> None:
    for name, value in spoil.items():
        setattr(hub, name, value)
    assert push(run, hub) == 0, run.log.read_text()
    assert hub.files["adapter_model.safetensors"] == FILES["adapter_model.safetensors"]


def test_after_a_cut_in_the_middle_only_what_is_missing_is_sent(run: Run, hub: Hub) -> None:
    worker = start_and_stall(run, hub)
    worker.kill()
    worker.wait()
    first, second = hub.uploads
    hub.stalls_after = None
    assert not hub.files
    assert push(run, hub) == 0, run.log.read_text()
    assert set(hub.files) == set(FILES)
    assert hub.uploads.count(first) == 1
    assert first != second


def test_a_stop_between_two_files_leaves_nothing_visible(run: Run, hub: Hub) -> None:
    worker = start_and_stall(run, hub)
    run.request_stop()
    hub.stalls_after = None
    assert worker.wait() == 0
    kind, data = end(run)
    assert (kind, data["stopped"]) == ("finished", True)
    assert not hub.files


def test_gguf_files_go_up_with_their_proofs_and_those_that_failed_stay_here(run: Run, hub: Hub) -> None:
    folder = run.path / "gguf"
    folder.mkdir()
    checks = [{"check": "file", "expected": "whole", "got": "7 tensors", "passed": True}]
    for name, passed in (("mine-Q8_0.gguf", True), ("mine-F16.gguf.failed", False)):
        (folder / name).write_bytes(b"GGUF")
        (folder / f"{name}.proof.json").write_text(json.dumps({"passed": passed, "file": name, "checks": checks}))
    (folder / "Modelfile").write_text("FROM ./mine-Q8_0.gguf")
    assert push(run, hub, what="gguf") == 0, run.log.read_text()
    assert set(hub.files) == {"mine-Q8_0.gguf", "mine-Q8_0.gguf.proof.json", "Modelfile", "README.md"}
    card = hub.files["README.md"].decode()
    assert "library_name: gguf" in card
    assert "## `mine-Q8_0.gguf`, compared with the merged model" in card
    assert "F16" not in card


@pytest.fixture
def checkpoints(run: Run) -> list[str]:
    """Two, as the trainer leaves them. Returns the names of what makes each an adapter."""
    for step in (20, 100):
        folder = run.checkpoints / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        for name, content in FILES.items():
            (folder / name).write_bytes(content + b"\n" * step)
        for name in ("optimizer.pt", "rng_state.pth", "training_args.bin", "trainer_state.json"):
            (folder / name).write_bytes(b"of this machine")
    (run.checkpoints / "checkpoint-7.part").mkdir()
    return sorted(FILES)


def test_each_checkpoint_gets_a_branch_with_its_adapter_alone(run: Run, hub: Hub, checkpoints: list[str]) -> None:
    hub.private["ada/sums"] = True
    hub.files["model.safetensors"] = b"of an earlier push"
    assert push(run, hub, what="checkpoints") == 0, run.log.read_text()
    assert hub.branches.keys() == {"step-000020", "step-000100"}
    assert [sorted(files) for files in hub.branches.values()] == [checkpoints] * 2
    assert hub.branches["step-000100"]["tokenizer.json"] == b"{}" + b"\n" * 100
    assert "as it was after step 20." in hub.branches["step-000020"]["README.md"].decode()
    assert set(hub.files) == {"model.safetensors"}
    data = end(run)[1]
    assert data["branches"] == ["step-000020", "step-000100"]
    assert (data["files"], data["new_files"], data["private"]) == (8, 8, True)
    assert_no_secret(run)


def test_a_branch_that_is_there_is_left_alone_and_a_wrong_file_on_it_mended(
    run: Run, hub: Hub, checkpoints: list[str]
) -> None:
    push(run, hub, what="checkpoints")
    hub.branches["step-000100"]["tokenizer.json"] = b"another"
    hub.asked.clear()
    assert push(run, hub, what="checkpoints") == 0, run.log.read_text()
    assert [each for each in hub.asked if "/commit/" in each] == ["POST /api/models/ada/sums/commit/step-000100"]
    assert not hub.uploads
    assert hub.branches["step-000100"]["tokenizer.json"] == b"{}" + b"\n" * 100
    assert end(run)[1]["new_files"] == 1


def test_after_a_cut_the_branches_that_are_whole_are_not_sent_again(run: Run, hub: Hub, checkpoints: list[str]) -> None:
    hub.answers = {"/commit/step-000100": [503]}
    assert push(run, hub, what="checkpoints") == 1
    assert not hub.branches["step-000100"]
    hub.asked.clear()
    assert push(run, hub, what="checkpoints") == 0, run.log.read_text()
    assert len([each for each in hub.asked if "/commit/" in each]) == 1
    assert sorted(hub.branches["step-000100"]) == checkpoints


def test_checkpoints_that_hold_a_part_of_the_base_are_no_push(run: Run, hub: Hub, checkpoints: list[str]) -> None:
    info = json.loads((run.path / "run.json").read_bytes())
    info["recipe"] |= {"lora": {"init": "pissa"}, "model": info["recipe"]["model"] | {"quant": "bf16"}}
    (run.path / "run.json").write_text(json.dumps(info))
    assert push(run, hub, what="checkpoints") == 1
    assert "fit the base model as it is: with pissa the adapter was not empty" in end(run)[1]["message"]
    assert not hub.branches


def test_a_stop_between_two_branches_says_which_are_there(run: Run, hub: Hub, checkpoints: list[str]) -> None:
    worker = start_and_stall(run, hub, after=2, what="checkpoints")
    run.request_stop()
    hub.stalls_after = None
    assert worker.wait() == 0
    kind, data = end(run)
    assert (kind, data["stopped"], data["branches"]) == ("finished", True, ["step-000020"])
    assert sorted(hub.branches["step-000020"]) == checkpoints
    assert not hub.branches["step-000100"]


def test_checkpoints_that_are_gone_are_no_push(run: Run, hub: Hub) -> None:
    assert push(run, hub, what="checkpoints") == 1
    assert end(run)[1]["message"] == "mine has no checkpoints on this disk."
    assert not hub.asked


@pytest.mark.parametrize("wanted", [{"repo": 3}, {"private": "yes"}, {"what": "run.json"}, {"what": "../other"}])
def test_a_bad_wish_is_refused_before_the_hub_is_asked(run: Run, hub: Hub, wanted: dict[str, Any]) -> None:
    assert push(run, hub, **wanted) == 1
    assert "push.json" in end(run)[1]["message"]
    assert not hub.asked
