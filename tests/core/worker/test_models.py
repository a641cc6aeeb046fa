"""Where a model's files come from; of a run always the very commit that it was trained on."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fitune.core import runs
from fitune.core.deliver import bundled
from fitune.core.deliver.downloads import Download
from fitune.core.errors import UserError
from fitune.core.recipe.load import parse
from fitune.core.runs import EventLog, Phase
from fitune.core.runs.run import Run
from fitune.core.worker import bundled_model, changed_base, models

OLD, NEW = "a" * 40, "b" * 40


def test_a_model_that_two_want_at_once_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []

    def make(folder: Path) -> None:
        made.append(folder)
        time.sleep(0.1)
        folder.mkdir()

    monkeypatch.setattr(bundled_model, "_make_folder", make)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(bundled_model.model_folder, [tmp_path / "models"] * 4))
    assert made == [tmp_path / "models" / "SmolLM2-135M-Instruct"]
    assert set(found) == set(made)


@pytest.fixture
def new_run(tmp_path: Path) -> Callable[..., Run]:
    """Makes a run of a model, which has loaded this commit of it in its training; none if not told."""

    def make(model_id: str, *commits: str | None) -> Run:
        tree = {"model": {"id": model_id, "quant": "bf16"}, "data": {"source": "owner/rows"}}
        run = runs.create(parse(tree, "test"), tmp_path / "home")
        for commit in commits:
            EventLog(run.events, "train").write(Phase(name="load", model=model_id, revision=commit))
        return run

    return make


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This machine's Hub cache with two commits of owner/model, whose main has moved on to the newer; no network."""
    folder = tmp_path / "hub" / "models--owner--model"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(NEW)
    for commit in (OLD, NEW):
        snapshot = folder / "snapshots" / commit
        snapshot.mkdir(parents=True)
        (snapshot / "config.json").write_text("{}")
        (snapshot / "model.safetensors").write_bytes(commit.encode())
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return folder


def base_of(run: Run) -> models.ModelFiles:
    return models.of_run(run, EventLog(run.path / "told.jsonl", "merge"))


def test_a_branch_that_moved_never_gives_another_model(cache: Path, new_run: Callable[..., Run]) -> None:
    found = base_of(new_run("owner/model", OLD))
    assert (found.path, found.name, found.revision) == (cache / "snapshots" / OLD, "owner/model", OLD)


def test_before_its_first_training_a_run_takes_what_its_recipe_names(cache: Path, new_run: Callable[..., Run]) -> None:
    assert base_of(new_run("owner/model")).revision == NEW


def test_a_commit_of_which_only_the_tokenizer_is_there_is_not_on_this_disk(
    cache: Path, new_run: Callable[..., Run]
) -> None:
    (cache / "snapshots" / OLD / "model.safetensors").unlink()
    with pytest.raises(UserError, match=rf"trained on commit {OLD} of owner/model.*the Hub is out of reach\. What"):
        base_of(new_run("owner/model", OLD))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("RevisionNotFoundError", "has no such commit any more"),
        ("RepositoryNotFoundError", "shows no such repository"),
        ("GatedRepoError", "wants its licence accepted"),
    ],
)
def test_a_commit_that_the_hub_does_not_give_is_said_with_the_reason(
    cache: Path, new_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, error: str, said: str
) -> None:
    import httpx
    from huggingface_hub import errors

    refused = getattr(errors, error)("no", response=httpx.Response(404, request=httpx.Request("GET", "http://hub")))

    def download(*_: Any, local_files_only: bool, **__: Any) -> str:
        raise errors.LocalEntryNotFoundError("nothing here") if local_files_only else refused

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(UserError, match=said):
        base_of(new_run("owner/model", OLD))


def test_a_run_on_the_bundled_copy_stays_with_it_where_the_hub_is_in_reach(
    cache: Path, new_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bundled_model, "model_folder", lambda models_dir: models_dir / "made")
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("asked the Hub"))
    assert base_of(new_run(bundled.MODEL_ID, None)).path == tmp_path / "home" / "models" / "made"


def test_a_folder_stays_a_folder_and_one_that_is_gone_is_a_sentence(
    new_run: Callable[..., Run], tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    run = new_run(str(folder), None)
    with pytest.raises(UserError, match="mine holds no model"):
        base_of(run)
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).touch()
    assert base_of(run) == models.ModelFiles(folder, str(folder), None)


def test_a_folder_whose_weights_were_changed_since_the_training_is_not_taken_for_the_old_one(
    tmp_path: Path, new_run: Callable[..., Run]
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    weights = folder / "model.safetensors"
    weights.write_bytes(bytes(10**6))
    run = new_run(str(folder), None)
    changed_base.keep_digest(run)
    weights.write_bytes(bytes(10**6 - 1) + b"1")
    assert base_of(run).path == folder  # nothing has been learnt on them yet
    changed_base.keep_digest(run)
    run.adapter.mkdir()
    assert base_of(run).path == folder
    weights.write_bytes(bytes(10**6))
    with pytest.raises(UserError, match=r"are not those that .* was trained on"):
        base_of(run)


@pytest.mark.parametrize(("missing_bytes", "told"), [(5 << 30, {"bytes": 5 << 30}), (0, {}), (None, {})])
def test_how_much_is_to_be_fetched_is_told_before_it_is(
    cache: Path,
    new_run: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
    missing_bytes: int | None,
    told: dict[str, int],
) -> None:
    monkeypatch.setattr(models, "download", lambda model_id, revision=None: Download(model_id, missing_bytes))
    run = new_run("owner/model", OLD)
    base_of(run)
    (line,) = (run.path / "told.jsonl").read_text().splitlines()
    assert json.loads(line)["data"] == {"name": "download", "model": "owner/model", "revision": OLD} | told
