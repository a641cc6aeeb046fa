"""A run gets another name, and a run is deleted: only one that has ended, and never more than its own folder."""

from pathlib import Path

import orjson
import pytest

from fitune.core import runs
from fitune.core.errors import UserError
from fitune.core.runs import Run
from tests.fake_worker import make_run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run that has finished, with an adapter of 10 bytes and two checkpoints of 20 each."""
    path = make_run(tmp_path, told="ok")
    for name, size in (("adapter/a", 10), ("checkpoints/checkpoint-1/a", 20), ("checkpoints/checkpoint-2/a", 20)):
        (path / name).parent.mkdir(parents=True)
        (path / name).write_bytes(bytes(size))
    return Run(path)


def test_the_sizes_of_a_run_are_told_part_by_part(run: Run) -> None:
    found = runs.sizes(run)
    assert (found["adapter"], found["checkpoints"]) == (10, 40)
    assert "merged" not in found
    whole = sum(path.stat().st_size for path in run.path.rglob("*") if path.is_file())
    assert sum(found.values()) == whole


def test_a_renamed_run_is_found_by_its_new_name_and_keeps_its_place(run: Run, tmp_path: Path) -> None:
    make_run(tmp_path, "run-b", told="ok")
    order = [each.name for each in runs.all_runs(tmp_path)]
    renamed = runs.rename(run, "tickets-2")
    assert renamed.info().name == "tickets-2"
    assert runs.find(tmp_path, "tickets").state().trained
    assert [each.name for each in runs.all_runs(tmp_path)] == [name.replace("run-a", "tickets-2") for name in order]


def test_a_run_that_another_goes_on_from_keeps_its_name(run: Run, tmp_path: Path) -> None:
    assert runs.built_on(run) == []
    other = Path(make_run(tmp_path, "run-b", told="ok")) / "run.json"
    info = orjson.loads(other.read_bytes())
    info["recipe"]["model"]["id"] = str(run.merged)
    other.write_bytes(orjson.dumps(info))
    assert runs.built_on(run) == ["run-b"]
    with pytest.raises(UserError, match="run-b goes on from its merged model"):
        runs.rename(run, "tickets-2")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "-a", " a", "a b", "a" * 101, "ä", "a\n"])
def test_what_is_no_name_is_refused(run: Run, name: str) -> None:
    with pytest.raises(UserError, match="is no name for a run"):
        runs.rename(run, name)
    assert run.path.is_dir()


def test_a_name_that_is_taken_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "runs" / "empty").mkdir()
    with pytest.raises(UserError, match="There is a run named empty already"):
        runs.rename(run, "empty")


def test_a_deleted_run_is_gone_and_what_it_links_to_is_not(run: Run, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "model").touch()
    (run.path / "merged").symlink_to(tmp_path / "kept")
    runs.delete(run)
    assert not run.path.exists()
    assert (tmp_path / "kept" / "model").is_file()


def test_a_folder_that_is_a_link_is_left_to_the_user(run: Run, tmp_path: Path) -> None:
    link = tmp_path / "runs" / "link"
    link.symlink_to(run.path)
    with pytest.raises(UserError, match="is a link to another folder"):
        runs.delete(Run(link))
    assert (run.path / "run.json").is_file()
