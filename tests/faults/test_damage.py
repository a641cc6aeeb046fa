"""Damage between two parts of a training: of checkpoints, of the run's files, of the model and the data."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from fitune.core.runs.run import Run
from tests.faults.house import STEPS, House, losses

pytestmark = pytest.mark.extra
WEIGHTS = "adapter_model.safetensors"
Act = Callable[[Run, House], object]


@dataclass(frozen=True, slots=True)
class Damage:
    """Damage to a run that was killed at step 7, with checkpoints 3 and 6, and what a resume has to say."""

    name: str
    act: Act
    says: tuple[str, ...] = ()
    exit_status: int = 0
    same: bool = True
    """True if its losses are then those of an undisturbed training."""


def newest(name: str) -> Callable[[Run], Path]:
    return lambda run: run.checkpoints / "checkpoint-6" / name


def cut(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def in_place(path: Path, make: Callable[[Path], None]) -> None:
    """Make something else in a file's place."""
    path.unlink()
    make(path)


def base(house: House, run: Run) -> Path:
    """The run's model, as a copy of its own that may be damaged."""
    folder = house.folder / "model"
    if not folder.exists():
        shutil.copytree(house.zygote / "model", folder)
        info = json.loads((run.path / "run.json").read_text())
        info["recipe"]["model"]["id"] = str(folder)
        (run.path / "run.json").write_text(json.dumps(info))
    return folder


def rewrite_base(name: str, content: str | None) -> Act:
    """Write a file of the model anew, or remove it."""

    def act(run: Run, house: House) -> None:
        path = base(house, run) / name
        path.unlink() if content is None else path.write_text(content)

    return act


def change_weights(run: Run, house: House) -> None:
    path = base(house, run) / "model.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1000:] = bytes(1000)
    path.write_bytes(raw)


def change_config(run: Run, house: House) -> None:
    path = base(house, run) / "config.json"
    config = json.loads(path.read_text())
    config["rope_theta"] = 1234.0
    path.write_text(json.dumps(config))


def more_rows(run: Run, house: House) -> None:
    with house.rows().open("a") as file:
        file.write(json.dumps({"question": "What is new?", "answer": "A row."}) + "\n")


PASSED = ("checkpoint-6 can't be used and was passed over", "Going on from checkpoint-3")
DAMAGE = [
    Damage("weights cut", lambda run, _: cut(newest(WEIGHTS)(run), 0.5), PASSED),
    Damage("weights empty", lambda run, _: cut(newest(WEIGHTS)(run), 0), PASSED),
    Damage("weights gone", lambda run, _: newest(WEIGHTS)(run).unlink(), PASSED),
    Damage("weights all zero bytes", lambda run, _: newest(WEIGHTS)(run).write_bytes(bytes(9999)), PASSED),
    Damage("optimizer cut", lambda run, _: cut(newest("optimizer.pt")(run), 0.7), PASSED),
    Damage("optimizer gone", lambda run, _: newest("optimizer.pt")(run).unlink(), PASSED),
    Damage("scheduler gone", lambda run, _: newest("scheduler.pt")(run).unlink(), PASSED),
    Damage("random state empty", lambda run, _: cut(newest("rng_state.pth")(run), 0), PASSED),
    Damage("trainer state gone", lambda run, _: newest("trainer_state.json")(run).unlink(), PASSED),
    Damage("manifest gone", lambda run, _: newest("manifest.json")(run).unlink(), ("Going on from checkpoint-6",)),
    Damage("an empty folder with a later number", lambda run, _: (run.checkpoints / "checkpoint-9").mkdir(),
           ("checkpoint-9 can't be used", "Going on from checkpoint-6")),
    Damage("a file with a later number", lambda run, _: (run.checkpoints / "checkpoint-9").touch(),
           ("It is no folder", "Going on from checkpoint-6")),
    Damage("a number that is no step", lambda run, _: (run.checkpoints / f"checkpoint-{'9' * 20}").mkdir(),
           ("Going on from checkpoint-6",)),
    Damage("all checkpoints gone", lambda run, _: shutil.rmtree(run.checkpoints), ("Going on from the start",)),
    Damage("rows.json empty", lambda run, _: (run.path / "rows.json").write_bytes(b""), ("rows.json can't be read",)),
    Damage("base.json bad", lambda run, _: (run.path / "base.json").write_text("{"), ("base.json can't be read",), 1),
    Damage("run.json gone", lambda run, _: (run.path / "run.json").unlink(), ("There are no runs",), 2),
    Damage("run.json empty", lambda run, _: (run.path / "run.json").write_bytes(b""), ("run.json can't be read",), 2),
    Damage("run.json of odd types", lambda run, _: (run.path / "run.json").write_text('{"gpu":"no","recipe":[1]}'),
           ("model: is missing",), 2),
    Damage("changes.json bad", lambda run, _: (run.path / "changes.json").write_text("{"), ("changes.json can't",), 2),
    Damage("events cut in the middle", lambda run, _: cut(run.events, 0.6), ("Going on from checkpoint-6",), 0, False),
    Damage("events gone", lambda run, _: run.events.unlink(), ("Going on from checkpoint-6",), 0, False),
    Damage("events of NULs", lambda run, _: run.events.write_bytes(bytes(5000) + b"\n"),
           ("Going on from checkpoint-6",), 0, False),
    Damage("a pipe in place of the events", lambda run, _: in_place(run.events, os.mkfifo),
           ("no regular file",), 2),
    Damage("a folder in place of the events", lambda run, _: in_place(run.events, os.mkdir),
           ("no regular file",), 2),
    Damage("the lock is garbage", lambda run, _: run.lock.write_bytes(os.urandom(99)), ("Going on from",)),
    Damage("the lock names a living stranger", lambda run, _: run.lock.write_text(f'{{"pid":{os.getpid()}}}'),
           ("Going on from",)),
    Damage("the data have changed", more_rows, ("have changed since this run began",), 0, False),
    Damage("the data are gone", lambda _, house: house.rows().unlink(), ("sums.jsonl",), 1),
    Damage("the base has other weights", change_weights, ("were changed since",), 1),
    Damage("the base computes otherwise", change_config, ("rope_theta was", "trained with"), 1),
    Damage("the model's config.json is broken", rewrite_base("config.json", "{"), ("config.json",), 1),
    Damage("the model has no tokenizer", rewrite_base("tokenizer.json", None), ("tokenizer",), 1),
    Damage("the model lacks its weights", rewrite_base("model.safetensors", None), ("holds no model",), 1),
]  # fmt: skip


@pytest.fixture(scope="session")
def killed(zygote: Path, tmp_path_factory: pytest.TempPathFactory) -> House:
    """A home with a run that was killed at step 7, to be copied."""
    home = House(tmp_path_factory.mktemp("killed"), zygote)
    run, said = home.train("run", "at_step(7, send(KILL))")
    assert said.status == 1, said.all
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["checkpoint-3", "checkpoint-6"]
    return home


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.name)
def test_damage(house: House, killed: House, undisturbed: dict[int, float | None], damage: Damage) -> None:
    shutil.copytree(killed.folder, house.folder, dirs_exist_ok=True)
    run = house.run("run")
    os.utime(run.lock, (0, 0))  # a copy that shows a new sign of life counts as alive
    info = json.loads((run.path / "run.json").read_text())
    info["recipe"]["data"]["source"] = str(house.rows())
    (run.path / "run.json").write_text(json.dumps(info))
    damage.act(run, house)
    said = house.fitune("resume", "run")
    story = said.all + (run.log.read_text()[-3000:] if run.log.is_file() else "")
    assert "Traceback" not in said.all, story
    assert "a fault in the software" not in said.all, story
    assert said.status == damage.exit_status, story
    for part in damage.says:
        assert part in said.all, story
    listed = house.fitune("runs")
    assert listed.status == 0, listed.all
    assert "Traceback" not in listed.all
    if damage.exit_status == 0:
        assert run.has_adapter()
        assert max(losses(run)) == STEPS
        if damage.same:
            assert losses(run) == pytest.approx(undisturbed, rel=1e-6)
