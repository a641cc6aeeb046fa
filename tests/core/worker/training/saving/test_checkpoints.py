"""A training and its checkpoints: damaged ones are passed over, a full disk costs one, NaN is never kept."""

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fitune.core.errors import UserError
from fitune.core.runs import Checkpoint, Recovered, Started, Step, Warned
from fitune.core.runs.run import Run
from tests.core.worker.conftest import losses, train_here
from tests.events import data_of

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("unasked")]


def names(run: Run) -> list[str]:
    return sorted(path.name for path in run.checkpoints.iterdir())


def halved(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("file", ["adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_damaged_newest_checkpoint_is_passed_over(make_run: Callable[..., Run], file: str) -> None:
    run = make_run()
    train_here(run)
    whole = losses(run)
    shutil.rmtree(run.adapter)
    shutil.rmtree(run.checkpoints / "checkpoint-8")
    shutil.copytree(run.checkpoints / "checkpoint-6", run.checkpoints / "checkpoint-7")
    halved(run.checkpoints / "checkpoint-7" / file)
    train_here(run)
    assert [each.resumed_from for each in data_of(run.events, Started)] == [None, 6]
    assert "checkpoint-7 can't be used" in data_of(run.events, Warned)[-1].message
    assert names(run) == ["checkpoint-6", "checkpoint-7.damaged", "checkpoint-8"]
    assert losses(run) == whole


def test_a_lost_optimizer_is_told_and_the_rate_goes_on(make_run: Callable[..., Run]) -> None:
    run = make_run(train={"keep_checkpoints": 1, "max_steps": 8})
    train_here(run)
    rates = {each.step: each.lr for each in data_of(run.events, Step)}
    shutil.rmtree(run.adapter)
    last = run.checkpoints / "checkpoint-8"
    last.rename(run.checkpoints / "checkpoint-4")
    state = run.checkpoints / "checkpoint-4" / "trainer_state.json"
    state.write_text(state.read_text().replace('"global_step": 8', '"global_step": 4'))
    (run.checkpoints / "checkpoint-4" / "manifest.json").unlink()
    (run.checkpoints / "checkpoint-4" / "optimizer.pt").unlink()
    before = len(data_of(run.events, Step))
    train_here(run)
    assert "has lost the optimizer's state" in data_of(run.events, Warned)[-1].message
    again = {each.step: each.lr for each in data_of(run.events, Step)[before:]}
    assert again == pytest.approx({step: rates[step] for step in (5, 6, 7, 8)})


def test_without_a_usable_checkpoint_nothing_starts_over_unasked(make_run: Callable[..., Run]) -> None:
    run = make_run()
    (run.checkpoints / "checkpoint-9").mkdir(parents=True)
    with pytest.raises(UserError, match=r"No checkpoint of .* can be used\. checkpoint-9: adapter_model"):
        train_here(run)
    train_here(run)
    assert max(losses(run)) == 8


@pytest.mark.parametrize("full", [(3, 6), (6,), (3, 6, 8)])
def test_a_full_disk_costs_a_checkpoint_and_not_the_run(
    make_run: Callable[..., Run], full: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import Trainer

    written = Trainer._save_optimizer_and_scheduler

    def write(trainer: Any, folder: str) -> None:
        if trainer.state.global_step in full:
            raise OSError(errno.ENOSPC, "No space left on device")
        written(trainer, folder)

    monkeypatch.setattr(Trainer, "_save_optimizer_and_scheduler", write)
    run = make_run()
    train_here(run)
    assert max(losses(run)) == 8
    left = [step for step in (3, 6, 8) if step not in full]
    assert [each.step for each in data_of(run.events, Checkpoint)] == left
    assert [each.kind for each in data_of(run.events, Warned)].count("disk") == 1
    assert len(data_of(run.events, Recovered)) == (1 if 8 in left else 0)
    assert run.adapter.is_dir()


def test_room_is_made_by_the_oldest_checkpoint(make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import Trainer

    run = make_run()
    written = Trainer._save_optimizer_and_scheduler

    def write(trainer: Any, folder: str) -> None:
        if len(names(run) if run.checkpoints.exists() else []) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        written(trainer, folder)

    monkeypatch.setattr(Trainer, "_save_optimizer_and_scheduler", write)
    train_here(run)
    assert names(run) == ["checkpoint-6", "checkpoint-8"]
    assert not data_of(run.events, Warned)


def test_a_half_removed_checkpoint_is_removed_by_the_next(make_run: Callable[..., Run]) -> None:
    run = make_run()
    (run.checkpoints / "checkpoint-1.removed").mkdir(parents=True)
    train_here(run)
    assert names(run) == ["checkpoint-6", "checkpoint-8"]


@pytest.mark.parametrize("kept", [True, False])
def test_what_is_in_no_checkpoint_waits_for_room(run_folder: Run, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from fitune.core.runs import EventLog
    from fitune.core.worker.training.saving import checkpoints

    monkeypatch.setattr(checkpoints, "ROOM_EVERY_S", 0.01)
    tries: list[int] = []

    def save() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise OSError(errno.ENOSPC, "No space left on device")

    log = EventLog(run_folder.events, "train")
    (run_folder.checkpoints / ("checkpoint-8" if kept else "checkpoint-6")).mkdir(parents=True)
    if kept:
        with pytest.raises(OSError, match="No space"):
            checkpoints.save_when_there_is_room(save, run_folder, 8, log)
        return
    checkpoints.save_when_there_is_room(save, run_folder, 8, log)
    assert [each.kind for each in data_of(run_folder.events, Warned)] == ["disk"]
    assert [each.kind for each in data_of(run_folder.events, Recovered)] == ["disk"]


def test_a_stop_ends_the_wait_for_room(run_folder: Run) -> None:
    from fitune.core.runs import EventLog
    from fitune.core.worker.training.saving.checkpoints import save_when_there_is_room

    def save() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    run_folder.stop.touch()
    with pytest.raises(OSError, match="No space"):
        save_when_there_is_room(save, run_folder, 8, EventLog(run_folder.events, "train"))


@pytest.fixture
def run_folder(tmp_path: Path) -> Run:
    from tests.fake_worker import make_run as make_folder

    return Run(make_folder(tmp_path))
