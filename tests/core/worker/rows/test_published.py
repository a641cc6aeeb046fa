"""Published files train as they are: nothing is set but where they lie."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fitune.core.runs.run import Run
from tests.core.worker.conftest import losses, train_here

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("unasked")]
DATA = Path(__file__).parents[3] / "data"


@pytest.mark.parametrize("file", ["gsm8k_excerpt.jsonl", "alpaca_seed_excerpt.jsonl"])
def test_published_rows_train_with_no_option_but_their_source(make_run: Callable[..., Run], file: str) -> None:
    short = {"max_steps": 1, "grad_accum": 1, "eval_every": None, "save_every": None}
    run = make_run(data={"source": str(DATA / file)}, train=short, model={"max_seq_length": 1024})
    train_here(run)
    assert list(losses(run)) == [1]
    assert run.current()[0] == "finished"
