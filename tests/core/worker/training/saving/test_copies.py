"""A copy of the run after each checkpoint, from which another machine goes on."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fitune.core.errors import UserError
from fitune.core.runs import EventLog, Recovered, Started, Warned
from fitune.core.runs.run import Run
from tests.core.worker.conftest import losses, train_here
from tests.events import data_of

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("unasked")]


def test_a_training_goes_on_from_its_copy_as_from_itself(make_run: Callable[..., Run], tmp_path: Path) -> None:
    run = make_run(run={"copy_to": str(tmp_path / "other disk")})
    train_here(run)
    copy = tmp_path / "other disk" / run.name
    assert copy.stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in (copy / "checkpoints").iterdir()) == ["checkpoint-8"]
    for name in ("events.jsonl", "run.json", "adapter/adapter_model.safetensors"):
        assert (copy / name).read_bytes() == (run.path / name).read_bytes()
    whole = losses(run)
    shutil.copytree(run.checkpoints / "checkpoint-6", copy / "checkpoints" / "checkpoint-6")
    shutil.rmtree(copy / "checkpoints" / "checkpoint-8")
    shutil.rmtree(copy / "adapter")
    shutil.rmtree(run.path)
    copy.rename(run.path)
    moved = Run(run.path)
    train_here(moved)
    assert data_of(moved.events, Started)[-1].resumed_from == 6
    assert losses(moved) == whole


def test_a_bucket_is_a_url(make_run: Callable[..., Run]) -> None:
    import fsspec

    from fitune.core.worker.training.saving.copies import Copies

    run = make_run()
    copies = Copies(run, EventLog(run.events, "train"), "memory://bucket/mine")
    copies.finish()
    held = fsspec.filesystem("memory").find("/bucket/mine")
    assert f"/bucket/mine/{run.name}/run.json" in held


def test_a_place_that_fails_is_told_once_and_when_it_is_back(
    make_run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsspec.implementations.local import LocalFileSystem

    from fitune.core.worker.training.saving.copies import Copies

    run = make_run()
    copies = Copies(run, EventLog(run.events, "train"), str(tmp_path / "copy"))

    def refuse(*_: object) -> None:
        raise PermissionError("The network share is gone")

    with monkeypatch.context() as patched:
        patched.setattr(LocalFileSystem, "put_file", refuse)
        copies.finish()
        copies.finish()
    (told,) = data_of(run.events, Warned)
    assert "The network share is gone. The training goes on" in told.message
    copies.finish()
    (back,) = data_of(run.events, Recovered)
    assert back.message.endswith("again.")


def test_a_disk_that_was_taken_out_is_told(make_run: Callable[..., Run], tmp_path: Path) -> None:
    from fitune.core.worker.training.saving.copies import Copies

    run = make_run()
    copies = Copies(run, EventLog(run.events, "train"), str(tmp_path / "disk"))
    shutil.rmtree(tmp_path / "disk")
    copies.finish()
    (told,) = data_of(run.events, Warned)
    assert "No such file or directory" in told.message


def test_a_link_to_nothing_in_the_run_is_told_and_not_tried_for_ever(
    make_run: Callable[..., Run], tmp_path: Path
) -> None:
    from fitune.core.worker.training.saving.copies import Copies

    run = make_run()
    (run.path / "linked").symlink_to(tmp_path / "gone")
    Copies(run, EventLog(run.events, "train"), str(tmp_path / "copy")).finish()
    (told,) = data_of(run.events, Warned)
    assert f"FileNotFoundError: {run.path}/linked. The training goes on" in told.message


@pytest.mark.parametrize(
    ("target", "said"),
    [("nowhere://bucket", "nowhere"), ("/proc/none", "/proc/none"), ("{runs}", "where the run itself lies")],
)
def test_a_place_that_can_not_be_written_is_told_at_the_start(
    make_run: Callable[..., Run], target: str, said: str
) -> None:
    from fitune.core.worker.training.saving.copies import Copies

    run = make_run()
    with pytest.raises(UserError, match=said):
        Copies(run, EventLog(run.events, "train"), target.format(runs=run.path.parent))
