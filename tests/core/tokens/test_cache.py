"""What an answer of the prepare job is kept by, how it is found again without the network, and when it goes."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import orjson
import pytest
from huggingface_hub.errors import OfflineModeIsEnabled

from fitune.core import jobs, runs
from fitune.core.errors import UserError
from fitune.core.recipe.load import Recipe
from fitune.core.runs.run import Run
from fitune.core.tokens import cache
from fitune.core.tokens.cache import folder, key, lookup, prune, with_absolute_paths
from fitune.core.tokens.lengths import STATS_FILE, TokenStats, to_json
from tests.core.tokens.token_rows import prepared

HOME_OF_HUB = "owner/model"


@pytest.fixture
def made(tmp_path: Path, recipe: Callable[..., Recipe]) -> Callable[..., Recipe]:
    """Recipes on a local file and a local tokenizer."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "tokenizer.json").write_text("{}")
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n')

    def make(**groups: dict[str, Any]) -> Recipe:
        model = {"id": str(tmp_path / "model"), **groups.pop("model", {})}
        data = {"source": str(tmp_path / "a.jsonl"), **groups.pop("data", {})}
        return recipe(model=model, data=data, **groups)

    return make


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"model": {"max_seq_length": 64}}, True),
        ({"train": {"micro_batch": 8, "epochs": 3.0}}, True),
        ({"data": {"eval_fraction": 0.2, "packing": True}}, True),
        ({"data": {"loss_on": "all"}}, False),
        ({"data": {"thinking": "keep"}}, True),
        ({"data": {"thinking": "off"}}, False),
        ({"data": {"template_options": {"enable_thinking": True}}}, False),
        ({"data": {"format": "text"}}, False),
        ({"data": {"columns": {"text": "a"}}}, False),
        ({"model": {"revision": "v2"}}, False),
    ],
)
def test_the_key_is_of_what_the_answer_depends_on(made: Callable[..., Recipe], changes: Any, same: bool) -> None:
    assert (key(made()) == key(made(**changes))) == same


@pytest.mark.parametrize("file", ["a.jsonl", "model/tokenizer.json"])
def test_a_changed_file_is_another_key(made: Callable[..., Recipe], tmp_path: Path, file: str) -> None:
    before = key(made())
    os.utime(tmp_path / file, ns=(1, 1))
    assert key(made()) != before


def test_weights_are_no_part_of_the_key(made: Callable[..., Recipe], tmp_path: Path) -> None:
    before = key(made())
    (tmp_path / "model" / "model.safetensors").write_bytes(b"0")
    assert key(made()) == before


def test_a_model_that_may_not_be_looked_into_is_a_sentence_and_knows_no_answer(
    made: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def withheld(_: Path) -> None:  # as another user's folder is, for all but root
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", withheld)
    with pytest.raises(UserError, match="model can't be read: Permission denied"):
        key(made())
    assert lookup(made(), tmp_path) is None


def test_local_paths_become_absolute_and_hub_names_stay(
    recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jsonl").write_text("")
    monkeypatch.chdir(tmp_path)
    found = with_absolute_paths(recipe(data={"source": "a.jsonl"}))
    assert (found.data.source, found.model.id) == (str(tmp_path / "a.jsonl"), "owner/model")


# --- a model on the Hub --------------------------------------------------------------------------------------------


@pytest.fixture
def branch(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the Hub says of the branch, and what lies in its cache; None where it is out of reach or empty."""
    said: dict[str, Any] = {"hub": "a" * 40, "cache": None}

    def told(_: Any, model: str, revision: str | None = None, timeout: float | None = None) -> Any:
        if said["hub"] is None:
            raise OfflineModeIsEnabled
        return SimpleNamespace(sha=said["hub"])

    def cached(model: str, local_files_only: bool = False, **_: Any) -> str:
        assert local_files_only
        if said["cache"] is None:
            raise FileNotFoundError
        return f"/cache/snapshots/{said['cache']}"

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", told)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", cached)
    return said


def test_a_branch_that_moved_is_another_key(made: Callable[..., Recipe], branch: dict[str, Any]) -> None:
    asked = made(model={"id": HOME_OF_HUB})
    before = key(asked)
    assert key(asked) == before
    branch["hub"] = "b" * 40
    assert key(asked) != before
    assert key(asked)["tokenizer"] == "b" * 40


def test_without_the_hub_the_commit_in_its_cache_counts(made: Callable[..., Recipe], branch: dict[str, Any]) -> None:
    asked = made(model={"id": HOME_OF_HUB})
    before = key(asked)
    branch.update(hub=None, cache="a" * 40)
    assert key(asked) == before
    branch["cache"] = None
    assert key(asked)["tokenizer"] == ""


# --- found again ---------------------------------------------------------------------------------------------------


def kept(key: cache.Key, home: Path, rows: int = 3) -> Path:
    """An answer as the prepare job leaves it."""
    path = folder(key, home)
    path.mkdir(parents=True)
    (path / "run.json").write_bytes(orjson.dumps({"key": key}))
    (path / STATS_FILE).write_bytes(orjson.dumps(to_json(prepared([(9, [(3, 9)])] * rows))))
    return path


def age(path: Path, days: int) -> None:
    then = path.stat().st_mtime - days * 86_400
    os.utime(path, (then, then))


def test_an_answer_is_known_for_all_settings_that_do_not_touch_it(
    made: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lookup(made(), tmp_path) is None
    kept(key(with_absolute_paths(made())), tmp_path)
    monkeypatch.chdir(tmp_path)
    found = lookup(made(model={"max_seq_length": 64}, data={"source": "a.jsonl", "packing": True}), tmp_path)
    assert isinstance(found, TokenStats)
    assert found.rows == 3
    assert lookup(made(data={"loss_on": "all"}), tmp_path) is None
    (tmp_path / "a.jsonl").write_text('{"text": "another"}\n')
    assert lookup(made(), tmp_path) is None


def test_an_answer_is_not_known_once_rows_or_tokenizer_are_gone(made: Callable[..., Recipe], tmp_path: Path) -> None:
    kept(key(made()), tmp_path)
    assert lookup(made(), tmp_path) is not None
    (tmp_path / "model" / "tokenizer.json").rename(tmp_path / "model" / "tokenizer.bak")
    assert lookup(made(), tmp_path) is None
    (tmp_path / "model" / "tokenizer.bak").rename(tmp_path / "model" / "tokenizer.json")
    (tmp_path / "a.jsonl").unlink()
    assert lookup(made(), tmp_path) is None


def test_of_what_lies_on_the_hub_the_newest_answer_is_known_and_the_hub_is_not_asked(
    recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = recipe()
    names = {"asked": cache._asked(asked)}
    for days, rows in ((2, 5), (1, 7), (3, 6)):
        age(kept({**names, "rows": [["a.parquet", 9, str(days)]], "tokenizer": str(days)}, tmp_path, rows), days)
    monkeypatch.setattr(huggingface_hub, "HfApi", None)
    found = lookup(asked, tmp_path)
    assert found is not None
    assert found.rows == 7
    assert lookup(recipe(data={"source": "owner/others"}), tmp_path) is None


def test_an_answer_that_is_damaged_or_not_there_yet_is_none(made: Callable[..., Recipe], tmp_path: Path) -> None:
    path = kept(key(made()), tmp_path)
    (path / STATS_FILE).write_bytes(b"{")
    assert lookup(made(), tmp_path) is None
    (path / STATS_FILE).unlink()
    assert lookup(made(), tmp_path) is None
    (path / "run.json").write_bytes(b"{")
    assert lookup(made(), tmp_path) is None


# --- pruned --------------------------------------------------------------------------------------------------------


def test_the_oldest_answers_go_but_none_whose_job_lives(
    made: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "KEPT", 2)
    paths = [kept({"asked": [n]}, tmp_path) for n in range(5)]
    for days, path in enumerate(paths):
        age(path, days)
    monkeypatch.setattr(Run, "holder_pid", lambda run: 1 if run.path == paths[4] else None)
    prune(tmp_path)
    assert [path.exists() for path in paths] == [True, True, False, False, True]


def test_without_answers_there_is_nothing_to_prune(tmp_path: Path) -> None:
    prune(tmp_path)
    assert not runs.all_runs(tmp_path)


@pytest.mark.parametrize("by_whom", ["nobody", "somebody"])
def test_of_two_who_ask_at_once_both_get_the_job(
    made: Callable[..., Recipe], fitune_home: Path, monkeypatch: pytest.MonkeyPatch, by_whom: str
) -> None:
    def refused(run: Run, *_: Any, **__: Any) -> str:
        if by_whom == "somebody":
            (run.path / STATS_FILE).touch()
        raise UserError("It is running already.")

    monkeypatch.setattr("fitune.core.jobs.preparing.start", refused)
    if by_whom == "somebody":
        assert (jobs.prepare(made()).path / "run.json").exists()
    else:
        with pytest.raises(UserError, match="running already"):
            jobs.prepare(made())


def test_the_job_makes_private_folders_whatever_the_umask(
    made: Callable[..., Recipe], fitune_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fitune.core.jobs.preparing.start", lambda *_, **__: "setsid")
    before = os.umask(0)
    try:
        run = jobs.prepare(made())
    finally:
        os.umask(before)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (fitune_home, run.path.parent, run.path)] == [0o700] * 3
