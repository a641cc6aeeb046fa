"""Training on rows with images, with TRL on the CPU."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fitune.core.runs.run import Run
from tests.core.worker.conftest import losses, train_here

pytestmark = pytest.mark.train


@pytest.mark.parametrize("family", ["qwen2_5_vl", "gemma3"])
def test_a_model_learns_from_images(
    family: str, seeing_model: Callable[[str], Path], image_rows: Path, make_run: Callable[..., Run]
) -> None:
    run = make_run(
        model={"id": str(seeing_model(family))},
        data={"source": str(image_rows), "eval_fraction": 0.2, "image_pixels": 4000},
        train={"max_steps": 6, "grad_accum": 1, "eval_every": 3},
    )
    train_here(run)
    assert losses(run)[6] < losses(run)[1]
