"""What is left for a merge or export job to read, and what is refused before one starts."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fitune.core import jobs, runs
from fitune.core.errors import UserError
from fitune.core.jobs import starting
from fitune.core.recipe.load import parse
from fitune.core.runs import spawn
from fitune.core.runs.run import Run


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run with an adapter and a merged model; jobs are not started."""
    monkeypatch.setattr(spawn, "spawn", lambda run, job: job)
    made = runs.create(parse({"model": {"id": "a/b"}, "data": {"source": "x"}}, "test"), tmp_path)
    made.adapter.mkdir()
    made.merged.mkdir()
    return made


@pytest.mark.parametrize("base", [None, "unsloth/Llama-3.2-1B"])
def test_a_merge_is_told_its_base_and_forgets_an_earlier_one(run: Run, base: str | None) -> None:
    (run.path / "merge.json").write_text('{"base": "an/older"}')
    assert jobs.merge(run, base) == "merge"
    assert json.loads((run.path / "merge.json").read_text()) == {"base": base}


def test_an_export_is_told_its_kinds(run: Run) -> None:
    assert jobs.export(run, ["q8_0", "f16"]) == "export"
    assert json.loads((run.path / "export.json").read_text()) == {"gguf": ["q8_0", "f16"]}


def test_of_two_exports_at_once_each_worker_gets_its_own_kinds(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[list[str]] = []

    def spawned(run: Run, job: str) -> str:
        time.sleep(0.02)  # the other comes meanwhile
        told.append(json.loads((run.path / "export.json").read_text())["gguf"])
        return job

    monkeypatch.setattr(spawn, "spawn", spawned)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda kind: jobs.export(run, [kind]), ("q8_0", "f16")))
    assert sorted(told) == [["f16"], ["q8_0"]]


def without_training_stack() -> None:
    raise UserError("The training stack is not installed.")


@pytest.mark.parametrize(
    "start", [jobs.merge, lambda run: jobs.export(run, ["q8_0"]), lambda run: jobs.start(run, "train")]
)
def test_what_needs_torch_is_refused_without_it(
    run: Run, monkeypatch: pytest.MonkeyPatch, start: Callable[[Run], str]
) -> None:
    monkeypatch.setattr(starting, "require_training_stack", without_training_stack)
    with pytest.raises(UserError, match="training stack"):
        start(run)
    assert not run.log.exists()


def test_a_push_needs_no_torch(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "require_training_stack", without_training_stack)
    assert jobs.start(run, "push") == "push"


def test_a_wish_that_cannot_be_left_is_a_sentence(run: Run) -> None:
    (run.path / "export.json").mkdir()
    with pytest.raises(UserError, match="can't be written to: Is a directory"):
        jobs.export(run, ["q8_0"])


@pytest.mark.parametrize(
    ("spoil", "kinds", "said"),
    [
        (lambda run: None, ["q8_0", "q9"], "'q9' is no kind of GGUF file that fitune makes. Known: f16, bf16, q8_0"),
        (lambda run: run.merged.rmdir(), ["q8_0"], "First: fitune merge"),
    ],
)
def test_an_export_that_will_not_do_is_refused(
    run: Run, spoil: Callable[[Run], None], kinds: list[str], said: str
) -> None:
    spoil(run)
    with pytest.raises(UserError, match=said):
        jobs.export(run, kinds)
    assert not (run.path / "export.json").exists()


def test_gguf_files_that_all_failed_their_proof_are_not_pushed(run: Run) -> None:
    (run.path / "gguf").mkdir()
    (run.path / "gguf" / "a-Q8_0.gguf.failed").touch()
    with pytest.raises(UserError, match="No GGUF file passed"):
        jobs.push(run, "me/it", what="gguf")
    (run.path / "gguf" / "a-F16.gguf").touch()
    assert jobs.push(run, "me/it", what="gguf") == "push"
    assert json.loads((run.path / "push.json").read_text()) == {"repo": "me/it", "private": True, "what": "gguf"}


@pytest.mark.parametrize("base", ["", "x\udcff", "a\0b"])
def test_a_base_that_can_be_no_name_is_refused_before_a_worker_starts(run: Run, base: str) -> None:
    with pytest.raises(UserError, match="can't be the name of a model"):
        jobs.merge(run, base)
    assert not (run.path / "merge.json").exists()
