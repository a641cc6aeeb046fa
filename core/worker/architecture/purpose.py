"""Refuses models of another purpose than to go on with a text: they would load, and train to no use."""

from collections.abc import Iterable, Mapping
from typing import Any

from fitune.core.errors import UserError
from fitune.core.worker.architecture.targets import text_model

CHOOSE = "Choose a language model: one whose config.json says ...ForCausalLM or ...ForConditionalGeneration."
OTHER_PURPOSES = (
    "", "FOR_MASKED_LM_", "FOR_MULTIPLE_CHOICE_", "FOR_NEXT_SENTENCE_PREDICTION_", "FOR_QUESTION_ANSWERING_",
    "FOR_SEQUENCE_CLASSIFICATION_", "FOR_TOKEN_CLASSIFICATION_",
)  # fmt: skip
"""Lists of classes in transformers' models/auto/modeling_auto.py."""


def refuse_other_purposes(config: Any) -> None:
    """Raise UserError for what a model's config says of it: two halves, or a class that gives scores or vectors."""
    if getattr(config.get_text_config(), "is_encoder_decoder", False) or getattr(config, "is_encoder_decoder", False):
        message = f"A {config.model_type} model has two halves, one that reads and one that writes (encoder, decoder)."
        raise UserError(message, "fitune trains models that go on with a text by themselves: choose one of these.")
    name = next(iter(getattr(config, "architectures", None) or ()), None)
    if not isinstance(name, str) or not _writes_nothing(name):
        return
    if not name.endswith("Model"):
        raise UserError(f"Its config.json says {name}: that class writes no text.", CHOOSE)
    if not getattr(config.get_text_config(), "tie_word_embeddings", False):
        raise UserError(f"Its config.json says {name}: a model without the part that chooses words.", CHOOSE)


def refuse_seeing_ahead(model: Any) -> None:
    """Raise UserError for a model in which each word sees those behind it (BERT, EmbeddingGemma): trained to go on with
    a text, it would read the answer off it. It may be on the meta device."""
    _, text = text_model(model)
    both_ways = getattr(text.config, "use_bidirectional_attention", None)
    asked = both_ways or getattr(text.config, "is_decoder", None) is False
    causal = [flag for module in text.modules() if isinstance(flag := getattr(module, "is_causal", None), bool)]
    if asked and causal and not any(causal):
        message = f"In this {model.config.model_type} model each word sees the words behind it, too."
        raise UserError(message, f"So it can't learn to write them. {CHOOSE}")


def _writes_nothing(name: str) -> bool:
    """True if transformers lists a class of this name among those for another purpose only. By its lists of names: a
    class that is asked for here would be trained in place of Unsloth's (model_class.py, classes_forgotten)."""
    from transformers.models.auto import modeling_auto as auto

    def is_in(lists: Iterable[Mapping[str, Any]]) -> bool:
        return any(name == each or (isinstance(each, tuple) and name in each) for one in lists for each in one.values())

    writing = (auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)
    return not is_in(writing) and is_in(getattr(auto, f"MODEL_{purpose}MAPPING_NAMES") for purpose in OTHER_PURPOSES)
