"""A run that goes on on other cards than it began on: on more, on fewer, or on another machine's."""

from dataclasses import asdict, replace

from fitune.core import runs
from fitune.core.errors import UserError
from fitune.core.forecast import budget_document, resolve
from fitune.core.jobs.training import foresee, gpu_infos, refuse, with_decisions
from fitune.core.machine import host
from fitune.core.recipe import Recipe, changes_between, parse
from fitune.core.recipe.load import with_overrides
from fitune.core.records import from_json
from fitune.core.runs import BudgetInfo, Run


def move(run: Run, recipe: Recipe, gpus: str) -> dict[str, object]:
    """Make a run that has ended go on on other cards; a step takes the same rows as before.

    recipe: the run's, with what else changes. gpus: how many, "all", or their numbers with commas between. Returns all
    changes of the run's recipe, by `group.key`. Raises UserError if the run is alive, if the cards are not here or too
    small, or if they can't go on from its checkpoints.
    """
    if run.holder_pid() is not None:
        raise UserError(f"{run.name} is running ({run.held_by()}).", f"Stop it first: fitune stop {run.name}")
    base, old = run.path.parent.parent, run.recipe()
    machine = host.detect(base / "runs")
    chosen = f"[{gpus}]" if "," in gpus else gpus
    tree, _ = with_overrides(recipe.model_dump(mode="json"), [f"run.gpus={chosen}"])
    resolved = resolve(parse(tree, "--gpus"), machine)
    found = foresee(resolved, machine, base)
    if found and found.verdict == "over":
        refuse(found)
    resolved = with_decisions(resolved, found)
    if run.newest_checkpoint() and resolved.recipe.train.optimizer != old.train.optimizer:
        raise UserError(
            f"{run.name} can't go on with its model split over the cards: its checkpoints hold the states of "
            f"{old.train.optimizer}.",
            "Choose cards of which each can hold the whole model.",
        )
    cards = gpu_infos(resolved)
    info = replace(
        run.info(),
        budget=from_json(BudgetInfo, asdict(budget_document(found))) if found else None,
        gpu=cards[0] if cards else None,
        gpus=cards if len(cards) > 1 else (),
        ranks=resolved.ranks,
    )
    runs.rewrite(run, info)
    return changes_between(old, resolved.recipe)
