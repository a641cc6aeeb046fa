"""The image tower in a training: it stays as it is, so nothing is kept of its pass for a backward one."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch

from fitune.core.worker.architecture.model_class import beside_text


def without_gradients(model: Any) -> None:
    """Make a model's tower, and what joins it to the text model, run without gradients.

    transformers, peft and Unsloth make the outputs of embeddings ask for them, those of a tower's patches too: its
    layers would be kept, and gone through backwards, for weights that are frozen.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    head = base.get_output_embeddings()
    for path in beside_text(base):
        module = base.get_submodule(path)
        if module is not head:
            module.forward = _only_forward(module)


def _only_forward(module: Any) -> Callable[..., Any]:
    """A module's pass without gradients, and without what its layers keep to be computed again: Unsloth would move the
    first one's input to host RAM, and turns that on anew before each training."""
    recomputing = [each for each in module.modules() if hasattr(each, "gradient_checkpointing")]
    forward = module.forward

    @wraps(forward)
    def run(*args: Any, **named: Any) -> Any:
        for each in recomputing:
            each.gradient_checkpointing = False
        with torch.no_grad():
            return forward(*args, **named)

    return run
