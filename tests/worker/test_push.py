"""The push job with the real huggingface_hub client, against a server on the loopback device."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core import runs
from core.config import parse
from core.events import EventLog
from core.runs import Run
from tests.loopback_hub import Hub, serve

TOKEN = "hf_" + "Ab3" * 11
FILES = {
    "adapter_model.safetensors": b"weights" * 999,
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
    made = runs.create(parse(tree, "test"), tmp_path / "home", {})
    log = EventLog(made.events, "train")
    log.write("started")
    log.write("finished", stopped=False, steps=7, first_loss=2.5, last_loss=0.25, eval_loss=0.5)
    made.adapter.mkdir()
    for name, content in FILES.items():
        (made.adapter / name).write_bytes(content)
    return made


def push(run: Run, hub: Hub, token: str | None = TOKEN, **wanted: Any) -> subprocess.CompletedProcess[str]:
    """The job in a process of its own, as `launch.start` starts it."""
    (run.path / "push.json").write_text(json.dumps({"repo": "sums", "private": True, "what": "adapter"} | wanted))
    env = os.environ | {
        "HF_ENDPOINT": hub.url, "HF_HOME": str(run.path.parent.parent / "hf"), "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1",
    }  # fmt: skip
    env.pop("HF_TOKEN", None)
    env |= {"HF_TOKEN": token} if token else {}
    with run.log.open("a") as log:
        return subprocess.run(
            [sys.executable, "-m", "core.worker", str(run.path), "push"], env=env, stdout=log, stderr=log, text=True
        )


def end(run: Run) -> tuple[str, dict[str, Any]]:
    state = run.state()
    assert state.trained, "whatever became of the push"
    assert state.end
    assert state.end.job == "push"
    return state.end.type, state.end.data


def assert_no_secret(run: Run) -> None:
    for path in run.path.parent.parent.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path


def test_the_adapter_arrives_whole_in_a_private_repository_of_the_user(run: Run, hub: Hub) -> None:
    done = push(run, hub)
    assert done.returncode == 0, run.log.read_text()
    assert hub.private == {"ada/sums": True}
    assert {name: hub.files[name] for name in FILES} == {name: (run.adapter / name).read_bytes() for name in FILES}
    kind, data = end(run)
    assert kind == "finished"
    assert (data["repo"], data["private"], data["files"]) == ("ada/sums", True, len(FILES))
    assert data["url"] == f"{hub.url}/ada/sums"
    assert_no_secret(run)


def test_the_card_tells_what_is_known_and_no_path_of_this_machine(run: Run, hub: Hub) -> None:
    push(run, hub)
    card = hub.files["README.md"].decode()
    assert 'base_model: "owner/base"' in card
    assert "`my sums.jsonl`" in card
    assert "| last training loss | 0.25 |" in card
    assert "| steps | 7 |" in card
    assert "[More" not in card
    assert str(run.path.parents[2]) not in card


def test_a_card_that_somebody_wrote_is_kept(run: Run, hub: Hub) -> None:
    (run.adapter / "README.md").write_text("# Mine\n")
    push(run, hub)
    assert hub.files["README.md"] == b"# Mine\n"


def test_public_and_merged_if_asked(run: Run, hub: Hub) -> None:
    run.merged.mkdir()
    (run.merged / "model.safetensors").write_bytes(b"all")
    assert push(run, hub, repo="org/it", private=False, what="merged").returncode == 0, run.log.read_text()
    assert hub.private == {"org/it": False}
    assert hub.files["model.safetensors"] == b"all"
    assert b"library_name: transformers" in hub.files["README.md"]


def test_an_existing_private_repository_is_used(run: Run, hub: Hub) -> None:
    hub.private["ada/sums"] = True
    assert push(run, hub).returncode == 0, run.log.read_text()
    assert hub.files


def test_nothing_goes_into_a_public_repository_unasked(run: Run, hub: Hub) -> None:
    hub.private["ada/sums"] = False
    assert push(run, hub).returncode == 1
    assert not hub.files
    assert "exists already and is public" in end(run)[1]["message"]


def test_an_existing_private_repository_stays_private_and_it_is_said(run: Run, hub: Hub) -> None:
    hub.private["ada/sums"] = True
    assert push(run, hub, private=False).returncode == 0
    assert hub.private["ada/sums"]
    assert "stays so" in run.state().warnings[0]["message"]
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
    assert push(run, hub, token).returncode == 1
    kind, data = end(run)
    assert (kind, data["kind"], data["message"]) == ("failed", "auth", message)
    assert hint in data["hint"]
    assert not hub.files
    assert_no_secret(run)


def test_a_file_that_did_not_arrive_is_noticed(run: Run, hub: Hub) -> None:
    hub.loses = "adapter_config.json"
    assert push(run, hub).returncode == 1
    assert end(run)[1]["message"] == "1 of 4 files did not arrive whole, such as adapter_config.json."


def test_no_hub_is_a_sentence(run: Run, hub: Hub) -> None:
    hub.url = "http://127.0.0.1:9"
    assert push(run, hub).returncode == 1
    data = end(run)[1]
    assert data["kind"] == "download"
    assert data["message"].startswith("The Hub can't be reached")


@pytest.mark.parametrize("wanted", [{"repo": 3}, {"private": "yes"}, {"what": "run.json"}, {"what": "../other"}])
def test_a_bad_wish_is_refused_before_the_hub_is_asked(run: Run, hub: Hub, wanted: dict[str, Any]) -> None:
    assert push(run, hub, **wanted).returncode == 1
    assert "push.json" in end(run)[1]["message"]
    assert not hub.asked
