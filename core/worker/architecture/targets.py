"""What an adapter is put on: the matrices that "all-linear" means, or those that a recipe names, in a model's tree.

The loader asks it of the real model, the shape job of the model on the meta device: so what is trained is what was
counted. Only the text model is searched: image and audio towers, and what joins them to it, stay as they are.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fitune.core.errors import UserError
from fitune.core.memory import are_named_experts, is_named

SPECIAL_LINEARS = frozenset({"Llama4Router", "PhimoeTopKRouter", "DeepseekV4GroupedLinear"})
"""Subclasses of nn.Linear in transformers 5.17 that return a tuple, or multiply by blocks: LoRA does not fit them."""
ROUTED_EXPERT = re.compile(r"\.experts\.(\w+\.)?\d+(\.|$)")
"""The path of a matrix that belongs to one expert of a mixture."""


@dataclass(frozen=True, slots=True)
class Targets:
    """Paths in a model of all that gets a LoRA pair, in the terms of peft's LoraConfig."""

    modules: tuple[str, ...]
    """target_modules: matrices."""
    parameters: tuple[str, ...]
    """target_parameters: fused experts, the weights of all experts of a layer in one tensor of three dimensions."""


def find_targets(model: Any, wanted: str | tuple[str, ...], layers: tuple[int, ...] | None = None) -> Targets:
    """What lora.target_modules and lora.layers choose in a model. `wanted`: "all-linear", or names of modules.

    "all-linear" is every matrix of the text model but the output head. The experts of a mixture belong to it in no
    case, however they are stored; a recipe that wants them names them (gate_proj, up_proj, down_proj). As in peft, a
    name fits each path that it ends. Raises UserError if nothing is chosen.
    """
    reserved = names_taken_for_experts(model)
    linears = [
        path for path, module in text_modules(model) if is_linear(module) and path.rpartition(".")[2] not in reserved
    ]
    experts = tuple(path for path, _ in expert_parameters(model))
    if wanted == "all-linear":
        left_out = paths_never_adapted(model)
        modules = [path for path in linears if path not in left_out and not ROUTED_EXPERT.search(path)]
        parameters = []
    else:
        modules = [path for path in (*linears, *_embeddings(model)) if is_named(path, wanted)]
        parameters = [path for path in experts if are_named_experts(path, wanted)]
    if layers is not None:
        chosen = tuple(f"{decoder_path(model)}.{index}." for index in layers)
        modules = [path for path in modules if path.startswith(chosen)]
        parameters = [path for path in parameters if path.startswith(chosen)]
    if not modules and not parameters:
        there = ", ".join(sorted({path.rpartition(".")[2] for path in (*linears, *experts)}))
        raise UserError("lora.target_modules and lora.layers choose nothing in this model.", f"It has {there}.")
    return Targets(tuple(modules), tuple(parameters))


def short_names(model: Any, paths: tuple[str, ...]) -> list[str]:
    """The paths as target_modules: one name ("q_proj") for all paths that end so, if it fits nothing else."""
    chosen, short = set(paths), []
    by_name: dict[str, set[str]] = {}
    for path, _ in model.named_modules():
        by_name.setdefault(path.rpartition(".")[2], set()).add(path)
    for name in dict.fromkeys(path.rpartition(".")[2] for path in paths):
        fits = by_name[name]
        short += [name] if fits <= chosen and not name.isdigit() else sorted(fits & chosen)
    return short


def whole_modules(model: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """What lora.modules_to_save means in a model, in the terms of peft's LoraConfig: the paths of the modules that are
    trained whole, and whether input and output have one matrix, which must stay one."""
    if not names:
        return {}
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    wanted = [{"embed_tokens": embedding, "lm_head": head}[name] for name in names]
    paths = [path for path, module in model.named_modules() if any(module is each for each in wanted)]
    return {"modules_to_save": paths, "ensure_weight_tying": head.weight is embedding.weight}


def all_weights(model: Any) -> dict[str, Any]:
    """Every weight of the text model, in the terms of peft's LoraConfig: an adapter of no matrices, beside modules that
    are trained whole, each the outermost that has weights of its own."""
    from peft.utils.constants import DUMMY_TARGET_MODULES

    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    ends = [(path, module) for path, module in model.named_modules() if module is head or module is embedding]
    paths: dict[str, None] = {}
    for path, module in (*ends, *text_modules(model)):
        inside = any(path.startswith(f"{each}.") for each in paths)
        if not inside and next(module.parameters(recurse=False), None) is not None:
            paths[path] = None
    tied = head is not None and head.weight is embedding.weight
    return {"target_modules": DUMMY_TARGET_MODULES, "modules_to_save": list(paths), "ensure_weight_tying": tied}


def text_modules(model: Any) -> Iterator[tuple[str, Any]]:
    """Each module of the text model, with its path in the whole model."""
    prefix, text = text_model(model)
    yield from text.named_modules(prefix=prefix)


def text_model(model: Any) -> tuple[str, Any]:
    """The part of a model that reads and writes text, and its path: the whole one ("") where there is no other."""
    from transformers import PreTrainedModel

    config = model.config.get_text_config(decoder=True)
    if config is model.config:
        return "", model
    for path, module in model.named_modules():
        if path and isinstance(module, PreTrainedModel) and type(module.config) is type(config):
            return path, module
    return "", model


def decoder_path(model: Any) -> str:
    """The path of the list of decoder layers: in the text model the outermost list with the most layers."""
    from torch.nn import ModuleList

    _, text = text_model(model)
    count = getattr(text.config, "num_hidden_layers", 0)
    lists = [path for path, module in text_modules(model) if isinstance(module, ModuleList) and len(module) == count]
    if not lists:
        raise UserError("lora.layers: the layers of this model were not found.", "Remove lora.layers.")
    return min(lists, key=lambda path: path.count("."))


def expert_parameters(model: Any) -> Iterator[tuple[str, Any]]:
    """The text model's fused experts, with their paths: tensors of experts x inputs x outputs."""
    for path, module in text_modules(model):
        if "experts" in path.rpartition(".")[2]:
            for name, parameter in module.named_parameters(recurse=False):
                if parameter.ndim == 3:
                    yield f"{path}.{name}", parameter


def is_linear(module: Any) -> bool:
    """True for a matrix that takes a LoRA pair. transformers' Conv1D (GPT-2) is one, in spite of its name."""
    from torch.nn import Linear
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, (Linear, Conv1D)) and type(module).__name__ not in SPECIAL_LINEARS


def names_taken_for_experts(model: Any) -> frozenset[str]:
    """Names that peft 0.21 takes for a mixture's experts, with twice the rank, wherever they stand in it: in some
    architectures no adapter of a shared expert or a dense layer can be loaded again (transformers_weight_conversion.py,
    _convert_peft_config_moe)."""
    from peft.utils import transformers_weight_conversion as conversion

    family = conversion._MODEL_TO_CONVERSION_PATTERN.get(model.config.model_type, model.config.model_type)
    return frozenset(conversion._MOE_TARGET_MODULE_MAPPING.get(family, ()))


def paths_never_adapted(model: Any) -> set[str]:
    """Paths of the output head, and of the output matrices of Mamba mixers: their kernels read the weight itself, so
    an adapter would never be trained (peft refuses it for some of them, tuners_utils.py)."""
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    heads = {
        path
        for path, module in model.named_modules()
        if module is head or (is_linear(module) and module.weight is getattr(embedding, "weight", None))
    }
    return heads | {
        f"{path}.out_proj" for path, module in text_modules(model) if hasattr(module, "A_log") and hasattr(module, "D")
    }


def _embeddings(model: Any) -> Iterator[str]:
    """The paths of the input embedding and, where it is no part of the text model, of the output head."""
    linears = {path for path, module in text_modules(model) if is_linear(module)}
    wanted = (model.get_input_embeddings(), model.get_output_embeddings())
    for path, module in model.named_modules():
        if path not in linears and any(module is each for each in wanted):
            yield path
