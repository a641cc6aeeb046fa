"""Hand-offs of a recipe for several cards."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from fitune.core.deliver import handoff
from fitune.core.deliver.handoff.spec import TrainingSpec, from_recipe
from fitune.core.recipe import Recipe

Make = Callable[..., Recipe]


def spec(recipe: Recipe) -> TrainingSpec:
    return from_recipe(recipe, Path("my-run.toml"))


@pytest.mark.parametrize(("gpus", "cards"), [("auto", 2), (1, 2), (4, 4), ([0, 2, 3], 3)])
def test_accelerate_gets_as_many_cards_as_the_recipe_says_and_two_at_least(recipe: Make, gpus: Any, cards: int) -> None:
    files = handoff.files_for("accelerate", [spec(recipe(run={"gpus": gpus}, train={"grad_accum": 12}))])
    for name in ("ddp.yaml", "fsdp2.yaml"):
        assert yaml.safe_load(files[name])["num_processes"] == cards
    assert f"--num_machines 2 --num_processes {2 * cards}" in files["ddp.yaml"]


def test_a_queue_gets_the_cards_and_starts_a_process_on_each(recipe: Make, tmp_path: Path) -> None:
    files = handoff.files_for("slurm", [spec(recipe(run={"gpus": 4}))])
    text = files["job.sbatch"]
    assert "#SBATCH --gpus=4\n" in text
    assert "#SBATCH --mem=128G\n" in text
    assert text.endswith("accelerate launch --multi_gpu --num_processes 4 run.py\n")
    assert "GRAD_ACCUM //= CARDS" in files["run.py"], "a step takes the same rows"
    path = tmp_path / "job.sbatch"
    path.write_text(text)
    subprocess.run(["bash", "-n", str(path)], check=True)
    alone = handoff.files_for("slurm", [spec(recipe())])
    assert "#SBATCH --gpus=1\n" in alone["job.sbatch"]
    assert "GRAD_ACCUM //= CARDS" not in alone["run.py"]


def test_a_script_for_one_card_says_so(recipe: Make) -> None:
    several, one = (handoff.files_for("script", [spec(recipe(run={"gpus": gpus}))])["run.py"] for gpus in (2, "auto"))
    assert "run.gpus: this script trains on one card; --to accelerate is for several." in several
    assert "run.gpus" not in one
