"""`fitune tune-lr`: what the race has found, as its user sees it."""

from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from fitune.core import jobs
from fitune.core.recipe import Recipe
from fitune.core.records import to_json
from fitune.core.runs import EventLog, Finished, Started
from fitune.core.runs.run import Run
from fitune.core.score import Lap, Race
from fitune.tui.commands.scoring import tune_lr
from fitune.tui.text import curve
from tests import fake_worker
from tests.tui.conftest import Fitune

LAPS = (
    Lap(1e-4, 10, (2.0, 1.9, 1.8), 1.8, 5.0),
    Lap(2e-4, 10, (2.0, 1.4, 1.0), 1.1, 5.0),
    Lap(4e-4, 10, (2.0, 1.2, 0.9), 1.0, 5.0),
    Lap(8e-4, 10, (2.0, float("nan")), None, 5.0),
)


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"question": "a?", "answer": "b"}\n' * 40)
    path = tmp_path / "r.toml"
    path.write_text(f'[model]\nid = "Qwen/Qwen3-8B"\n[data]\nsource = "{rows}"\n')
    return path


@pytest.fixture
def raced(fitune_home: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """What `jobs.tune_lr` starts: a race that is over."""
    run = Run(fake_worker.make_run(fitune_home))
    log = EventLog(run.events, "tune-lr")
    log.write(Started())
    log.write(Finished(best_lr=4e-4))
    monkeypatch.setattr(jobs, "tune_lr", lambda *_: run)
    return run


def won_by(raced: Run, best_lr: float | None) -> None:
    (raced.path / "race.json").write_bytes(orjson.dumps(to_json(Race(LAPS, best_lr))))


def test_the_race_is_told_with_its_time_its_curves_and_the_way_on(
    fitune: Fitune, raced: Run, recipe_file: Path
) -> None:
    won_by(raced, 4e-4)
    status, out, err = fitune("tune-lr", str(recipe_file), "--minutes", "7", "--set", "lora.r=8")
    assert status == 0
    assert "7 min together (--minutes)" in err
    assert "HELD-OUT LOSS" in out
    (second,) = [line for line in out.splitlines() if line.startswith("2e-4")]
    assert second.split()[1:4] == ["10", "1.000", "1.100"]
    assert second.endswith("█▄▂")
    assert "The best rate is 4e-4.\n" in err
    assert f"fitune train {recipe_file} --set lora.r=8 --set train.lr=0.0004" in err


@pytest.mark.parametrize(("best", "side", "centre"), [(8e-4, "highest", "0.0008"), (1e-4, "lowest", "5e-05")])
def test_a_winner_at_the_edge_asks_for_more_time_or_another_race(
    fitune: Fitune, raced: Run, recipe_file: Path, best: float, side: str, centre: str
) -> None:
    won_by(raced, best)
    _, _, err = fitune("tune-lr", str(recipe_file))
    assert f"It is the {side} of the race, which had no time for one beyond it: give it more --minutes" in err
    assert f"--set train.lr={centre}" in err


@pytest.mark.parametrize(
    ("replay", "step", "said"),
    [
        (0, None, "starts anew with it: its warm-up is longer than the trainings of the race"),
        (0.1, None, "starts anew with it: the race was without the general rows of data.replay"),
        (0, 10, "goes on from step 10 of the race"),
    ],
)
def test_the_winner_is_trained_from_where_it_can_be(
    fitune: Fitune,
    raced: Run,
    recipe_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    replay: float,
    step: int | None,
    said: str,
) -> None:
    won_by(raced, 4e-4)
    started: list[Recipe] = []

    def start(recipe: Recipe, prepare: Callable[[Run], None], **_: object) -> int:
        started.append(recipe)
        prepare(raced)
        return 0

    monkeypatch.setattr(tune_lr, "start", start)
    monkeypatch.setattr(jobs, "go_on", lambda *_: step)
    status, _, err = fitune("tune-lr", str(recipe_file), "--train", "--set", f"data.replay={replay}")
    assert status == 0
    assert [each.train.lr for each in started] == [4e-4]
    assert said in err
    assert "not to be compared with those of the race" in " ".join(err.split())


def test_no_winner_is_a_failure(fitune: Fitune, raced: Run, recipe_file: Path) -> None:
    won_by(raced, None)
    status, _, err = fitune("tune-lr", str(recipe_file))
    assert status == 1
    assert "Every rate diverged" in err


def test_curves_compare_on_one_scale() -> None:
    assert curve([4, 3, 2, 1, 0], 0, 4, width=5) == "█▆▅▃▁"
    assert curve([2, 2], 0, 4) == "▅▅"
    assert curve(list(range(100)), 0, 99, width=4, unicode=False) == ".=+#"
    assert curve([], 0, 1) == ""


def test_a_race_without_held_out_rows_is_refused_before_it_loads_a_model(fitune: Fitune, recipe_file: Path) -> None:
    status, _, err = fitune("tune-lr", str(recipe_file), "--set", "data.eval_fraction=0")
    assert status == 2
    assert 'data.eval_fraction = 0: a race needs held-out rows to judge by. Set it to "auto".' in err


def test_rates_within_noise_of_the_winner_are_named(fitune: Fitune, raced: Run, recipe_file: Path) -> None:
    won_by(raced, 4e-4)
    assert "can't be told" not in fitune("tune-lr", str(recipe_file))[2]
    (raced.path / "race.json").write_bytes(orjson.dumps(to_json(Race(LAPS, 4e-4, (2e-4, 8e-4)))))
    _, _, err = fitune("tune-lr", str(recipe_file))
    assert "The best rate is 4e-4. 2e-4, 8e-4 can't be told from it: what lies between them is within chance." in err
