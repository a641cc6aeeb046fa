"""The fields that may change when a training goes on from a checkpoint, and the reason why the others may not."""

from collections.abc import Sequence
from typing import Any

from fitune.core.errors import BadInput, Problem
from fitune.core.recipe.changes import changes_between
from fitune.core.recipe.fields import Recipe
from fitune.core.recipe.load import parse, with_overrides

MAY_CHANGE = frozenset(
    {
        "train.lr", "train.micro_batch", "train.grad_accum", "train.micro_tokens", "train.checkpointing",
        "train.checkpoint_skip_layers", "train.tiled_mlp", "train.offload_layers",
        "train.max_grad_norm", "train.eval_every", "train.save_every", "train.save_minutes",
        "train.keep_checkpoints", "train.report_to", "run.vram_limit_gib",
        "run.max_hours", "run.stop_at", "run.pause_above_c", "run.copy_to",
    }
)  # fmt: skip
NO_STEP_YET = frozenset({"model.max_seq_length"})
"""These, and all of train, may change while there is no checkpoint."""
_WHY_NOT = {
    "model": "the adapter belongs to the model as it was loaded",
    "lora": "the adapter has had its form since the first step",
    "data": "the rows that were trained on, and their order, belong to the steps that are done",
    "train": "the steps that are done were taken with it",
    "run": "the run has its folder and its card since its start",
}


_RATE = "For example half of what it is: run.json in its folder says it."


def changes_on_resume(recipe: Recipe, pairs: Sequence[str], has_checkpoint: bool) -> dict[str, Any]:
    """The changes that `group.key=value` pairs make to the recipe of a run that goes on, by `group.key`.

    The batch of a step stays: of train.micro_batch and train.grad_accum, one that is not given follows the other.
    Raises BadInput with each pair that is no valid setting or can't change any more.
    """
    tree, problems = with_overrides(recipe.model_dump(mode="json"), pairs)
    given = [pair.partition("=")[0].strip() for pair in pairs]
    problems += [_refusal(name) for name in dict.fromkeys(given) if not may_change(name, has_checkpoint)]
    batch = recipe.train.micro_batch * recipe.train.grad_accum
    if "train.lr" in given and tree["train"].get("lr") == "auto":
        problems.append(Problem("--set train.lr", "must be a number in a run that goes on.", _RATE))
    if has_checkpoint:
        problems += _keep_batch(tree["train"], given, batch)
    try:
        new = parse(tree, "recipe", overridden=frozenset(given))
    except BadInput as error:
        raise BadInput([*problems, *error.problems]) from None
    if problems:
        raise BadInput(problems)
    return changes_between(recipe, new)


def may_change(name: str, has_checkpoint: bool = True) -> bool:
    """True if a field, as `group.key`, may change when a training goes on."""
    group, _, key = name.partition(".")
    if name in MAY_CHANGE or group == "deliver" or not key or group not in _WHY_NOT:
        return True  # what is no field at all is told by `parse`
    return not has_checkpoint and (name in NO_STEP_YET or group == "train")


def _refusal(name: str) -> Problem:
    fix = "Start a new run for that. Here may change: " + ", ".join(sorted(MAY_CHANGE)) + "."
    return Problem(f"--set {name}", f"can't change in a run that goes on: {_WHY_NOT[name.partition('.')[0]]}.", fix)


def _keep_batch(train: dict[str, Any], given: Sequence[str], batch: int) -> list[Problem]:
    """Set the half of the split that is not given, so that the batch stays; the problem if it can't."""
    split = {"micro_batch": "grad_accum", "grad_accum": "micro_batch"}
    for one, other in split.items():
        value = train[one]
        if f"train.{one}" in given and f"train.{other}" not in given and _divides(value, batch):
            train[other] = batch // value
    micro_batch, grad_accum = train["micro_batch"], train["grad_accum"]
    if not (isinstance(micro_batch, int) and isinstance(grad_accum, int)) or micro_batch * grad_accum == batch:
        return []
    text = f"a step of this run trains {batch} rows, and {micro_batch} x {grad_accum} are {micro_batch * grad_accum}."
    fix = f"Choose a split of {batch}, such as --set train.micro_batch=1 --set train.grad_accum={batch}."
    return [Problem("--set train.micro_batch", text, fix)]


def _divides(value: Any, batch: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0 and batch % value == 0
