"""How much of a model is still to be fetched: by what the disk holds, and what the Hub tells of the rest."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from huggingface_hub import ModelInfo
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

from fitune.core import runs
from fitune.core.deliver import downloads
from fitune.core.deliver.downloads import Download
from fitune.core.errors import UserError
from fitune.core.recipe.load import parse
from fitune.core.runs import EventLog, Phase, Warned
from fitune.core.runs.run import Run

COMMIT = "a" * 40
FILES = {
    "config.json": 700,
    "model-00001.safetensors": 5_000_000_000,
    "model-00002.safetensors": 3_000_000_000,
    "tokenizer.json": 9_000_000,
    "pytorch_model.bin": 8_000_000_000,
    "original/consolidated.safetensors": 8_000_000_000,
    "README.md": 5_000,
}
DAMAGED = ("", "{}", "[3]", '{"weight_map": 1}', '{"weight_map": {"a": 3}}')
"""Indexes as a full disk, a power cut or a hand has left them."""
ALL = 700 + 5_000_000_000 + 3_000_000_000 + 9_000_000


def content_hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def sibling(name: str, size: int) -> dict[str, Any]:
    lfs = {"size": size, "sha256": content_hash(name), "pointerSize": 134} if size > 1_000_000 else None
    return {"rfilename": name, "size": size, "blobId": content_hash(f"git {name}"), "lfs": lfs}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The Hub's cache of owner/model, empty but for its folders."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--owner--model"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    (folder / "blobs").mkdir()
    (folder / "snapshots" / COMMIT).mkdir(parents=True)
    return folder


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """What the Hub was asked about; it knows FILES."""
    asked: list[tuple[str, str | None]] = []

    def model_info(self: object, model_id: str, revision: str | None = None, **_: Any) -> ModelInfo:
        asked.append((model_id, revision))
        return ModelInfo(  # type: ignore[no-untyped-call]
            id=model_id, sha=COMMIT, siblings=[sibling(*each) for each in FILES.items()], tags=[]
        )

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", model_info)
    return asked


def test_of_a_model_that_is_not_here_only_what_is_read_counts(cache: Path, hub: list[Any]) -> None:
    assert downloads.download("owner/model", COMMIT) == Download("owner/model", ALL)
    assert hub == [("owner/model", COMMIT)]


def test_what_the_cache_holds_of_any_commit_is_not_fetched_again(cache: Path, hub: list[Any]) -> None:
    (cache / "blobs" / content_hash("model-00001.safetensors")).touch()
    (cache / "blobs" / content_hash("git config.json")).touch()
    (cache / "blobs" / f"{content_hash('model-00002.safetensors')}.incomplete").touch()
    assert downloads.download("owner/model").bytes == ALL - 5_000_000_000 - 700


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"config.json": "{}", "model.safetensors": ""}, 0),
        ({"config.json": "{}"}, None),
        ({"model.safetensors": ""}, None),
        ({"config.json": "{}", "model.safetensors.index.json": json.dumps({"weight_map": {"a": "1", "b": "2"}}),
          "1": "", "2": ""}, 0),
        ({"config.json": "{}", "model.safetensors.index.json": json.dumps({"weight_map": {"a": "1", "b": "2"}}),
          "1": ""}, None),
        *(({"config.json": "{}", "model.safetensors.index.json": damaged}, None) for damaged in DAMAGED),
    ],
)  # fmt: skip
def test_a_whole_model_on_disk_asks_nobody(
    cache: Path, hub: list[Any], files: dict[str, str], expected: int | None
) -> None:
    for name, content in files.items():
        (cache / "snapshots" / COMMIT / name).write_text(content)
    assert downloads.on_disk("owner/model").bytes == expected
    assert not hub
    downloads.download("owner/model")
    assert bool(hub) == (expected is None)


@pytest.mark.parametrize("damaged", DAMAGED)
def test_an_index_that_names_no_files_is_told(tmp_path: Path, damaged: str) -> None:
    assert downloads.indexed_files(tmp_path) is None
    (tmp_path / "model.safetensors.index.json").write_text(damaged)
    with pytest.raises(UserError, match=r"index\.json does not say which file holds which weights"):
        downloads.indexed_files(tmp_path)


def test_a_folder_is_here(tmp_path: Path, hub: list[Any]) -> None:
    assert downloads.download(str(tmp_path)) == Download(str(tmp_path), 0)
    assert not hub


def not_found() -> Exception:
    request = httpx.Request("GET", "https://huggingface.co/api/models/owner/model")
    return RepositoryNotFoundError("401", response=httpx.Response(401, request=request))


def forbidden() -> Exception:
    request = httpx.Request("GET", "https://huggingface.co/api/models/owner/model")
    return HfHubHTTPError("403", response=httpx.Response(403, request=request))


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (lambda: OfflineModeIsEnabled("offline mode is enabled"), "can't be reached: HF_HUB_OFFLINE forbids it."),
        (lambda: httpx.ConnectError("[Errno -2] Name unknown"), "can't be reached: this machine can't connect to it."),
        (not_found, "The Hub has no such model, or not for you."),
        (forbidden, "The Hub has no such model, or not for you."),
    ],
)
def test_a_hub_that_does_not_tell_is_said(
    cache: Path, monkeypatch: pytest.MonkeyPatch, error: Callable[[], Exception], why: str
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise error()

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", refuse)
    found = downloads.download("owner/model")
    assert found.bytes is None
    assert why in found.why_unknown


@pytest.mark.parametrize("name", ["a--b/../c", "~nobody-here/model", "x" * 5000])
def test_what_is_no_name_of_a_model_is_said_and_not_raised(cache: Path, name: str) -> None:
    assert downloads.download(name).why_unknown == "That is no name of a model on the Hub."


def make_run(tmp_path: Path, model_id: str) -> tuple[Run, EventLog]:
    run = runs.create(parse({"model": {"id": model_id}, "data": {"source": "x"}}, "test"), tmp_path / "home")
    return run, EventLog(run.events, "train")


def test_of_a_run_it_is_the_commit_that_it_loaded(cache: Path, hub: list[Any], tmp_path: Path) -> None:
    run, log = make_run(tmp_path, "owner/model")
    log.write(Phase(name="load", model="owner/model", revision=COMMIT))
    assert downloads.of_run(run, ask=False) == Download("owner/model")
    assert downloads.of_run(run).bytes == ALL
    assert hub == [("owner/model", COMMIT)]


def test_a_run_on_the_model_that_a_package_ships_downloads_nothing(hub: list[Any], tmp_path: Path) -> None:
    run, log = make_run(tmp_path, "HuggingFaceTB/SmolLM2-135M-Instruct")
    log.write(Warned(kind="bundled", message="The Hub is out of reach"))
    assert downloads.of_run(run).bytes == 0
    assert not hub
