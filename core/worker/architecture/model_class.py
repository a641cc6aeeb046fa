"""The class of transformers that a model is loaded as, and the check that its files fill it."""

import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from fitune.core.errors import UserError
from fitune.core.worker.architecture.targets import text_model

PACKAGE = re.compile(r"transformers\.models\.\w+")
TENSORS_NAMED = 3
"""Tensors that a message about incomplete files names."""


def model_class(config: Any) -> Any:
    """The auto class for a config: a model that also sees is loaded with its towers, so that its adapter fits it where
    it is used with images, too. All others are causal language models, those of a repository's own code as well.

    Raises UserError for a model that writes no text.
    """
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    if type(config) in AutoModelForImageTextToText._model_mapping:
        return AutoModelForImageTextToText
    if type(config) in AutoModelForCausalLM._model_mapping or "AutoModelForCausalLM" in getattr(config, "auto_map", {}):
        return AutoModelForCausalLM
    message = f"transformers has no class that goes on with a text for the model_type {config.model_type!r}."
    raise UserError(message, "Choose a language model.")


def outside_text(config: Any, remote_code: bool) -> list[str] | None:
    """The modules of a model that keep 16 bits when it is quantized: towers for images and sound, what joins them to
    the text model, and the output head. None for a text model, whose head transformers finds by itself."""
    import torch

    with torch.device("meta"):
        model = model_class(config).from_config(config, trust_remote_code=remote_code)
    return beside_text(model) or None


def beside_text(model: Any) -> list[str]:
    """The paths of the modules beside a model's text part, the output head among them; none in a text model."""
    text_path, _ = text_model(model)
    if not text_path:
        return []
    beside, parent = list[str](), ""
    for step in text_path.split("."):
        children = model.get_submodule(parent).named_children()
        beside += [f"{parent}.{name}".lstrip(".") for name, _ in children if name != step]
        parent = f"{parent}.{step}".lstrip(".")
    return beside


def choose_expert_layout(folder: Path) -> None:
    """Make Unsloth load gpt-oss as its files hold the experts.

    For 4 bits it expects a matrix for each expert, as in the repositories that Unsloth quantized. 16-bit files have
    all experts of a layer in one tensor: its matrices would stay random numbers.
    """
    config = json.loads((folder / "config.json").read_bytes())
    one_by_one = (config.get("quantization_config") or {}).get("quant_method") == "bitsandbytes"
    os.environ["UNSLOTH_GPT_OSS_BNB4BIT_DISABLE"] = "0" if one_by_one else "1"


def keep_towers_whole(folder: Path, remote_code: bool) -> None:
    """Make Unsloth leave in 16 bits, when it quantizes the model in a folder, what the other backend does. It knows
    towers by names of its own, and not those of Idefics 3 and SmolVLM. What a repository has quantized stays so."""
    from transformers import AutoConfig, AutoModelForImageTextToText
    from unsloth_zoo.peft_utils import SKIP_QUANTIZATION_MODULES

    config = AutoConfig.from_pretrained(folder, trust_remote_code=remote_code)
    if type(config) not in AutoModelForImageTextToText._model_mapping or hasattr(config, "quantization_config"):
        return
    with classes_forgotten():
        found = outside_text(config, remote_code) or []
    for path in found:
        if path not in SKIP_QUANTIZATION_MODULES:
            SKIP_QUANTIZATION_MODULES.append(path)


@contextmanager
def classes_forgotten() -> Iterator[None]:
    """Have transformers forget the classes of models that it looks up in this block: its packages keep what was asked
    of them, and Unsloth, as it loads a model, puts its own classes into the modules behind them. Left there, those of
    transformers would train instead, with three copies of all logits: 6 GiB for 4,096 tokens of Gemma 3 4B (H200)."""
    before = {name: set(vars(package)) for name, package in _model_packages()}
    try:
        yield
    finally:
        for name, package in _model_packages():
            for new in set(vars(package)) - before.get(name, set()):
                if isinstance(getattr(package, new), type):
                    delattr(package, new)


def _model_packages() -> list[tuple[str, ModuleType]]:
    """The packages of transformers' families that are imported, each by its name."""
    return [(name, module) for name, module in sys.modules.items() if PACKAGE.fullmatch(name)]


@contextmanager
def whole_model(name: str) -> Iterator[None]:
    """Raise UserError if transformers loads a model in this block whose files lack tensors, or have them in other
    sizes: it would fill them with random numbers, and only log it.

    name: the model, for the message.
    """
    from transformers import modeling_utils

    report = modeling_utils.log_state_dict_report

    def refuse_gaps(model: Any, *rest: Any, loading_info: Any, **named: Any) -> None:
        missing, sizes = sorted(loading_info.missing_keys), sorted(str(key[0]) for key in loading_info.mismatched_keys)
        if (missing or sizes) and not loading_info.conversion_errors:
            raise _incomplete(name, type(model).__name__, missing, sizes)
        report(model, *rest, loading_info=loading_info, **named)

    modeling_utils.log_state_dict_report = refuse_gaps
    try:
        yield
    finally:
        modeling_utils.log_state_dict_report = report


def _incomplete(name: str, class_name: str, missing: list[str], sizes: list[str]) -> UserError:
    faults = [
        f"{fault} ({len(tensors)}): {', '.join(tensors[:TENSORS_NAMED])}{' ...' * (len(tensors) > TENSORS_NAMED)}"
        for tensors, fault in ((missing, "missing"), (sizes, "of another size"))
        if tensors
    ]
    return UserError(
        f"The files of {name} don't fill its model ({class_name}); tensors {'; tensors '.join(faults)}. Trained so, "
        "they would be random numbers.",
        "Fetch its files again, or take another copy of the model: config.json and the weights don't belong together.",
    )
