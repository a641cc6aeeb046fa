"""What is tried when the card's memory does not do: settings that cost time and leave the result as it is."""

from typing import Any

from fitune.core.diagnose import HOST_IS_FULL, Failure, KnownFailure, diagnose
from fitune.core.recipe import Recipe
from fitune.core.runs import EventLog, Recovered, Run
from fitune.core.worker.cards.rank import ranks
from fitune.core.worker.training.recovery.leaving import Restart


def next_remedy(recipe: Recipe, is_loading: bool = False) -> tuple[dict[str, Any], str] | None:
    """The change of the recipe that gives up least speed, by `group.key`, and its cost in words; None if none is left.

    Each is applied once at most, so that a training is started anew a few times and not for ever. is_loading: the
    weights themselves found no room, so layers go to host RAM first; what remains for the rows comes after.
    """
    train = recipe.train
    unsloth = train.backend == "unsloth"
    offloads = unsloth and train.offload_layers is None and recipe.model.quant != "int8"
    if is_loading and offloads:
        changes: dict[str, Any] = {"train.offload_layers": "auto"}
        if train.checkpointing == "off":  # which goes with no layer in host RAM
            changes["train.checkpointing"] = "unsloth"
        return changes, "layers are fetched from host RAM"
    if train.checkpoint_skip_layers is not None:
        return {"train.checkpoint_skip_layers": None}, "the activations of all layers are computed twice"
    if train.checkpointing == "off" or (unsloth and train.checkpointing == "on"):
        value = "unsloth" if unsloth else "on"
        return {"train.checkpointing": value}, "activations are computed twice, about a third more time"
    if train.micro_batch > 1 and train.objective != "kto":  # which compares the rows of a micro-batch
        rows = train.micro_batch * train.grad_accum
        return {"train.micro_batch": 1, "train.grad_accum": rows}, "rows are taken one by one, with the same batch"
    if offloads:
        return {"train.offload_layers": "auto"}, "layers are fetched from host RAM"
    return None


def restart_with_less(error: Exception, run: Run, recipe: Recipe, log: EventLog, fits_tokens: int | None) -> None:
    """Raise Restart with the next remedy if the card's memory ran out, and KnownFailure if no remedy is left.

    fits_tokens: the most tokens that one pass has held, 0 if none has; None while the model is loaded.
    """
    failure = diagnose(error)
    if ranks() > 1:  # the other processes can't start anew with this one
        return
    if failure.kind != "oom" or failure.hint == HOST_IS_FULL:  # less on the card is more in the host's RAM
        return
    found = next_remedy(recipe, is_loading=fits_tokens is None)
    if found is None:
        fitted = f"What fitted: {fits_tokens:,} tokens at once. " if fits_tokens else ""
        hint = (
            f"{fitted}Close what else uses the card (nvidia-smi lists it) and resume, or start a new run with a "
            "shorter model.max_seq_length, a smaller model or quant = nf4: fitune fit RECIPE names what fits."
        )
        message = f"The card's memory ran out, and every setting that saves some is in use. {failure.message}"
        raise KnownFailure(Failure("oom", message, hint)) from error
    changes, cost = found
    run.change(changes)
    names = ", ".join(f"{name} = {'nothing' if value is None else value}" for name, value in changes.items())
    begins = "from its last checkpoint " if run.newest_checkpoint() else ""
    message = f"The card's memory ran out. The training starts anew {begins}with {names}: {cost}."
    log.write(Recovered(kind="oom", message=message, set=changes))
    raise Restart from error
