"""Changes of a recipe as options of a command, which the command takes."""

from collections.abc import Callable

from fitune.core.recipe import Recipe, changed, options
from fitune.core.recipe.load import parse, with_overrides


def test_changes_as_options_are_taken_by_a_command(recipe: Callable[..., Recipe]) -> None:
    changes = {
        "train.tiled_mlp": True, "run.shard": False, "train.micro_batch": 1, "train.lr": 2e-5, "train.optimizer": "sgd",
        "train.offload_layers": None,
    }  # fmt: skip
    own = recipe()
    pairs = options(changes).split("--set ")[1:]
    assert pairs[0] == "train.tiled_mlp=true "
    tree, problems = with_overrides(own.model_dump(mode="json"), [pair.strip() for pair in pairs])
    assert not problems
    assert parse(tree, "options") == changed(own, {name: value for name, value in changes.items() if value is not None})
