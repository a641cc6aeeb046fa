"""LoftQ: an adapter that begins with what the base model lost when it was rounded to 4 bits (arXiv 2310.08659)."""

from typing import Any

from fitune.core.errors import UserError
from fitune.core.worker.models import ModelFiles


def fill_with_rounding(model: Any, source: ModelFiles) -> None:
    """Fill the adapter of a model in 4 bits by PEFT's own search, which reads the 16-bit weights of its files.

    Raises UserError without a card, or where the files name their tensors in another way than the model.
    """
    import torch
    from peft.utils.loftq_utils import replace_lora_weights_loftq
    from safetensors import SafetensorError

    other = 'Set lora.init = "default".'
    if not torch.cuda.is_available():
        raise UserError("lora.init = loftq needs an NVIDIA card: PEFT computes it on one.", other)
    try:
        replace_lora_weights_loftq(model, str(source.path / "model.safetensors"), callback=_divide_by_strength)
    except (KeyError, SafetensorError) as error:
        message = f"lora.init = loftq: PEFT does not find the weights of {source.name} in its files ({error})."
        raise UserError(message, other) from error


def _divide_by_strength(model: Any, name: str) -> bool:
    """Divide the adapter of a module by what its output is multiplied with (alpha / r), and keep it.

    PEFT 0.21 fills it as if that were 1: with alpha = 2 r nothing was won, and with rslora the error grew fivefold.
    """
    layer = model.get_base_model().get_submodule(name)
    layer.lora_B["default"].weight.data /= layer.scaling["default"]
    return True
