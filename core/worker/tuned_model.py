"""A trained model in memory: the base with its adapter, which can be switched off."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fitune.core.recipe import Recipe
from fitune.core.worker.chats.template import PromptOptions
from fitune.core.worker.chats.time_limit import limit_template
from fitune.core.worker.device import compute_dtype
from fitune.core.worker.images.processor import ImageProcessor
from fitune.core.worker.models import ModelFiles
from fitune.core.worker.training import model_with_adapter


@dataclass(frozen=True, slots=True)
class TunedModel:
    """The base model with an adapter, its tokenizer, and the tokens that end an answer."""

    model: Any
    tokenizer: Any
    stops: list[int]
    biases: tuple[tuple[Any, Any], ...] = ()
    """Each trained bias with the base's own: PEFT leaves the trained one in when the adapter is off."""
    options: PromptOptions = field(default_factory=PromptOptions)
    """Of the run's recipe."""
    images: ImageProcessor | None = None
    """Of a model that sees, where rows hold images."""

    @contextmanager
    def as_base(self) -> Iterator[None]:
        """Switch the adapter off for the block, so that the model is the base."""
        trained = [bias.data for bias, _ in self.biases]
        for bias, own in self.biases:
            bias.data = own
        try:
            with self.model.disable_adapter():
                yield
        finally:
            for (bias, _), data in zip(self.biases, trained, strict=True):
                bias.data = data


def load(recipe: Recipe, source: ModelFiles, adapter: Path) -> TunedModel:
    """Load the base, stored as in the training, with the adapter in a folder, which holds the tokenizer too."""
    from peft import PeftModel
    from transformers import AutoTokenizer

    from fitune.core.worker.chats.stop_tokens import stop_ids

    base = model_with_adapter.base_model(recipe, source, compute_dtype())
    named = base.named_parameters() if recipe.lora.bias != "none" else ()
    biases = tuple((bias, bias.detach().clone()) for name, bias in named if name.endswith("bias"))
    model = PeftModel.from_pretrained(base, adapter).eval()
    tokenizer = AutoTokenizer.from_pretrained(adapter, trust_remote_code=recipe.model.trust_remote_code)
    limit_template(tokenizer)
    options = PromptOptions(recipe.data.thinking, recipe.data.template_options)
    return TunedModel(model, tokenizer, stop_ids(tokenizer, source.path, options), biases, options)
