"""Builds a model on torch's meta device from its config.json: all of its modules, and none of its weights."""

import json
import logging
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fitune.core.errors import UserError
from fitune.core.worker.architecture.model_class import model_class
from fitune.core.worker.architecture.purpose import refuse_other_purposes, refuse_seeing_ahead

SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size")
REASON_CHARACTERS = 300
NO_PART_OF_THE_SHAPE = ("quantization_config", "compression_config", "quantization", "auto_map")


def build(values: Mapping[str, Any], source: str | None = None) -> Any:
    """The model of a config.json on the meta device. Raises UserError where transformers can't build it.

    source: folder or Hub id whose own code may run (model.trust_remote_code); None runs none.
    """
    import torch

    logging.disable(logging.WARNING)
    config = _config(values, source)
    refuse_other_purposes(config)
    kind = model_class(config)
    try:
        with torch.device("meta"):
            model = kind.from_config(config, dtype=torch.bfloat16, trust_remote_code=source is not None)
        model.get_input_embeddings()
    except Exception as error:  # whatever a constructor raises for values that no model has
        raise _refused(values, error) from error
    refuse_seeing_ahead(model)
    if not hasattr(model, "prepare_inputs_for_generation"):
        message = f"{type(model).__name__}, the class of the model_type {config.model_type!r}, writes no text."
        raise UserError(message, "Choose a language model.")
    return model


def _config(values: Mapping[str, Any], source: str | None) -> Any:
    from transformers import CONFIG_MAPPING, AutoConfig

    if source is not None and "auto_map" in values:
        try:
            return AutoConfig.from_pretrained(source, trust_remote_code=True)
        except Exception as error:  # whatever that code raises, or the search for it
            message = f"The model's own code can't be run: {_reason(error)}."
            raise UserError(message, "Fetch its .py files again, or take a copy that transformers reads.") from error
    model_type = values.get("model_type")
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        named = f"the model_type {model_type[:60]!r}" if isinstance(model_type, str) else "no model_type"
        hint = "Update fitune, or choose another model."
        if "auto_map" in values:
            hint = (
                "The repository brings its own code: read it, and set model.trust_remote_code = true if you trust it."
            )
        raise UserError(f"Its config.json names {named}, which transformers does not know.", hint)
    kept = {key: value for key, value in values.items() if key not in NO_PART_OF_THE_SHAPE}
    try:
        with tempfile.TemporaryDirectory() as folder:  # as a file: transformers writes infinity in its own way
            Path(folder, "config.json").write_text(json.dumps(kept))
            config = CONFIG_MAPPING[model_type].from_pretrained(folder)
    except Exception as error:  # as above
        raise _refused(values, error) from error
    _refuse_unread_sizes(values, config)
    return config


def _refuse_unread_sizes(values: Mapping[str, Any], config: Any) -> None:
    """Raise UserError for sizes at the top of a config.json where transformers looks for them in text_config: it would
    take those of another model."""
    text = config.get_text_config()
    unread = [
        name
        for name in SIZES
        if name in values and "text_config" not in values and getattr(text, name, values[name]) != values[name]
    ]
    if unread:
        message = f"transformers does not read {', '.join(unread)} at the top of a {config.model_type} config.json."
        raise UserError(message, "Take a copy of the model that was written for transformers: it has a text_config.")


def _refused(values: Mapping[str, Any], error: Exception) -> UserError:
    model_type, reason = values.get("model_type"), _reason(error)
    if isinstance(error, NotImplementedError):
        return UserError(f"A {model_type} model has no table of words that it reads.", "Choose a language model.")
    if isinstance(error, ImportError) and (package := re.search(r"requires the ([\w.-]+) library", reason)):
        hint = f"Add it to the environment of fitune: uv pip install {package[1]}"
        return UserError(f"A {model_type} model needs the package {package[1]}, which is not installed.", hint)
    message = f"transformers can't build a {model_type} model from its config.json: {reason}."
    return UserError(message, "Download the model's config.json again.")


def _reason(error: Exception) -> str:
    """What a constructor complains of. The check of a whole config names a part of it; that of a field, whose name is
    in the sentence, says it twice."""
    said = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, KeyError):
        return f"it knows no {said}"[:REASON_CHARACTERS]
    said = re.sub(r"^Class validation error for validator 'validate_(\w+)': (\w+: )?", r"\1: ", said)
    said = re.sub(r"^Validation error for field '\w+': (\w+: )?", "", said).partition(". Errors: ")[0]
    return said[:REASON_CHARACTERS].rstrip(".")
