"""A run goes on on other cards: what changes, and what is refused."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fitune.core import jobs, runs
from fitune.core.errors import BadInput, UserError
from fitune.core.machine import host
from fitune.core.machine.host import Machine
from fitune.core.recipe import Recipe
from fitune.core.runs import Run, RunInfo
from tests.core.forecast.test_several_cards import L8, L70, box

Make = Callable[..., Recipe]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Callable[[Machine], None]:
    """Makes a machine the one that the tests run on."""

    def put(machine: Machine) -> None:
        monkeypatch.setattr(host, "detect", lambda *_, **__: machine)

    return put


@pytest.fixture
def make(recipe: Make, fitune_home: Path) -> Callable[..., Run]:
    def make(model: str = L8, gpus: Any = 1, **train: Any) -> Run:
        asked = recipe(
            model={"id": model, "max_seq_length": 1024},
            train={"backend": "unsloth", "lr": 2e-4, "micro_batch": 2, "grad_accum": 4, **train},
            run={"gpus": gpus, "shard": False},
        )
        return runs.create(asked, fitune_home, RunInfo(ranks=gpus))

    return make


def test_a_run_on_one_card_goes_on_on_two_and_back(make: Callable[..., Run], here: Callable[[Machine], None]) -> None:
    here(box(24, 24))
    run = make()
    changes = jobs.move(run, run.recipe(), "2")
    run.change(changes)
    assert changes == {"run.gpus": 2}
    info = run.info()
    assert ([card.uuid for card in info.cards], info.ranks) == (["GPU-0", "GPU-1"], 2)
    assert info.budget
    assert "links" in {part["name"] for part in info.budget.parts}
    back = jobs.move(run, run.recipe(), "1")
    assert back == {"run.gpus": 1}
    assert ([card.uuid for card in run.info().cards], run.info().ranks) == (["GPU-0"], 1)
    assert jobs.move(run, run.recipe(), "1,0") == {"run.gpus": [1, 0]}
    assert [card.uuid for card in run.info().cards] == ["GPU-1", "GPU-0"]


def test_the_rows_of_a_step_stay(make: Callable[..., Run], here: Callable[[Machine], None]) -> None:
    here(box(24, 24))
    run = make(micro_batch=8, grad_accum=1)
    assert jobs.move(run, run.recipe(), "all") == {"run.gpus": "all", "train.micro_batch": 4, "train.grad_accum": 2}


@pytest.mark.parametrize(
    ("gpus", "said"),
    [("3", "this machine has 2"), ("x", "--gpus"), ("0,0", "twice"), ("0,7", "no card of this machine")],
)
def test_cards_that_are_not_there_change_nothing(
    make: Callable[..., Run], here: Callable[[Machine], None], gpus: str, said: str
) -> None:
    here(box(24, 24))
    run = make()
    with pytest.raises((UserError, BadInput), match=said):
        jobs.move(run, run.recipe(), gpus)
    assert run.info().ranks == 1


def test_a_run_that_is_alive_stays_where_it_is(make: Callable[..., Run], here: Callable[[Machine], None]) -> None:
    here(box(24, 24))
    run = make()
    held = "import sys, time; from pathlib import Path; from fitune.core.runs import take_lock"
    script = f"{held}; take_lock(Path(sys.argv[1]), 'train'); print('held', flush=True); time.sleep(60)"
    other = subprocess.Popen([sys.executable, "-c", script, str(run.lock)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="is running"):
            jobs.move(run, run.recipe(), "2")
    finally:
        other.kill()
        other.wait()


def test_cards_that_have_no_room_are_refused(make: Callable[..., Run], here: Callable[[Machine], None]) -> None:
    here(box(24, 8))
    run = make(L70)
    with pytest.raises(UserError, match="needs about"):
        jobs.move(run, run.recipe(), "2")
    assert run.info().ranks == 1
