"""Describes a model's parts: walks over its modules, and counts each parameter once."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from fitune.core.errors import UserError
from fitune.core.memory import Experts, Layer, Linear, Mixer, Shape
from fitune.core.worker.architecture.targets import (
    ROUTED_EXPERT,
    decoder_path,
    find_targets,
    is_linear,
    names_taken_for_experts,
    text_model,
)

USED_EXPERTS = ("num_experts_per_tok", "num_experts_per_token", "moe_topk", "top_k_experts", "moe_k", "top_k")
"""Names in configs for the number of experts that one token is sent to."""

PLACES_BEFORE = 2
"""Rows that some tables of places have before the first token's (OPT)."""
HEAD_NORMS = ("q_norm", "k_norm", "v_norm", "q_layernorm", "k_layernorm")
"""Names of norms of queries, keys and values."""


@dataclass(slots=True)
class Part:
    """Parameters that were found in a layer, or outside all of them."""

    linears: list[Linear] = field(default_factory=list)
    routed: list[Experts] = field(default_factory=list)
    others: int = 0


def describe(model: Any) -> Shape:
    """The parts of a model. It may be on the meta device."""
    prefix, text = text_model(model)
    config, listed = text.config, _layers_path(model)
    adapted = _adapted(model)
    parts: dict[int | None, Part] = {}
    sizes: Counter[str] = Counter()
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    vocab = _number(config, "vocab_size", embedding.weight.shape[0])
    tied = head is None or head.weight is embedding.weight
    for path, module, name, parameter in _parameters(model):
        if module is embedding or (tied and module is head and name == "weight"):
            sizes["embedding"] += parameter.numel()
        elif module is head:
            sizes["head"] += parameter.numel()
        elif not _is_inside(path, prefix):
            sizes["tower"] += parameter.numel()
        elif type(module).__name__.endswith("Embedding") and parameter.shape[0] >= vocab:
            sizes["lookups"] += parameter.numel()
        else:
            index, inner = _place(path, listed)
            _add(parts.setdefault(index, Part()), path, inner, module, name, parameter, path in adapted)
    for path, module in _sharing(model, prefix, {head, embedding}):
        index, inner = _place(path, listed)
        linear = Linear(inner, module.in_features, module.out_features, False, path in adapted, shared=True)
        parts.setdefault(index, Part()).linears.append(linear)
    outside = parts.pop(None, Part())
    layers = [_layer(parts.get(index, Part()), module, config, index) for index, module in _layers(model, listed)]
    if not layers:
        layers, outside = [_layer(outside, text, config, 0)], Part()
    kinds = list(dict.fromkeys(layers))
    heads = _number(config, "num_attention_heads", 1)
    hidden = _number(config, "hidden_size", embedding.weight.shape[1])
    return Shape(
        model_type=model.config.model_type,
        hidden=hidden,
        heads=heads,
        kv_heads=_number(config, "num_key_value_heads", heads),
        head_dim=_number(config, "head_dim", max(1, hidden // heads)),
        vocab=vocab,
        tied=tied,
        kinds=tuple(kinds),
        order=tuple(kinds.index(layer) for layer in layers),
        layers_path=listed or "",
        window=_window(config),
        embedding=sizes["embedding"],
        head=sizes["head"],
        lookups=sizes["lookups"],
        outside=tuple(outside.linears),
        outside_others=outside.others + sum(each.weights for each in outside.routed),
        tower=sizes["tower"],
        embedding_path=next((path for path, module in model.named_modules() if module is embedding), ""),
        positions=table_of_places(model),
        reserved=tuple(sorted(names_taken_for_experts(model))),
    )


def table_of_places(model: Any) -> int | None:
    """The tokens for which a model has a table of places, learned (GPT-2, OPT) or made once (CodeGen); None where their
    places are computed for rows of any length, as rotary ones, or no matter."""
    from torch.nn import Embedding

    text, words = text_model(model)[1], model.get_input_embeddings()
    most = getattr(text.config, "max_position_embeddings", None)
    if not isinstance(most, int) or any("Rotary" in type(module).__name__ for module in text.modules()):
        return None
    tables = [table for table in text.buffers() if table.ndim == 2]
    tables += [module.weight for module in text.modules() if isinstance(module, Embedding) and module is not words]
    return most if any(most <= table.shape[0] <= most + PLACES_BEFORE for table in tables) else None


def _parameters(model: Any) -> Iterator[tuple[str, Any, str, Any]]:
    """(path of the module, module, name, parameter) of each parameter; a shared one once."""
    seen: set[int] = set()
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield path, module, name, parameter


def _sharing(model: Any, prefix: str, tables: set[Any]) -> Iterator[tuple[str, Any]]:
    """The text model's matrices that use another module's weights, without head and embedding."""
    from torch.nn import Linear as TorchLinear

    seen: set[int] = set()
    for path, module in model.named_modules():
        if isinstance(module, TorchLinear) and _is_inside(path, prefix) and module not in tables:
            if id(module.weight) in seen:
                yield path, module
            seen.add(id(module.weight))


def _adapted(model: Any) -> set[str]:
    try:
        return set(find_targets(model, "all-linear").modules)
    except UserError:  # a model without matrices: its size is known all the same
        return set()


def _layers_path(model: Any) -> str | None:
    try:
        return decoder_path(model)
    except UserError:
        return None


def _layers(model: Any, listed: str | None) -> list[tuple[int, Any]]:
    return [] if listed is None else list(enumerate(model.get_submodule(listed)))


def _is_inside(path: str, prefix: str) -> bool:
    return not prefix or path == prefix or path.startswith(prefix + ".")


def _place(path: str, listed: str | None) -> tuple[int | None, str]:
    """The index of the layer that a path lies in, and the path in it; None is outside the layers."""
    found = re.match(re.escape(listed) + r"\.(\d+)(\.|$)", path) if listed is not None else None
    return (int(found[1]), path[found.end() :]) if found else (None, path)


def _is_packed(module: Any) -> bool:
    from torch.nn import Linear as TorchLinear
    from transformers.pytorch_utils import Conv1D

    return type(module) is TorchLinear or isinstance(module, Conv1D)


def _add(part: Part, path: str, inner: str, module: Any, name: str, parameter: Any, adapted: bool) -> None:
    """Count a parameter of the text model in a part of it."""
    if name == "weight" and is_linear(module):
        outputs, inputs = parameter.shape if hasattr(module, "in_features") else reversed(parameter.shape)
        if ROUTED_EXPERT.search(path):
            _add_expert(part, re.sub(r"\.\d+", "", inner), inputs, outputs)
        else:
            linear = Linear(inner, inputs, outputs, module.bias is not None, adapted, _is_packed(module))
            part.linears.append(linear)
    elif name == "bias" and is_linear(module) and not ROUTED_EXPERT.search(path):
        pass  # counted with its matrix
    elif parameter.ndim == 3 and "experts" in path.rpartition(".")[2]:
        count, rows, columns = parameter.shape
        part.routed.append(Experts(f"{inner}.{name}", count, rows, columns))
    else:
        part.others += parameter.numel()


def _add_expert(part: Part, path: str, inputs: int, outputs: int) -> None:
    """Count one more expert that is a module of its own."""
    for index, each in enumerate(part.routed):
        if (each.path, each.inputs, each.outputs) == (path, inputs, outputs):
            part.routed[index] = Experts(path, each.count + 1, inputs, outputs, fused=False)
            return
    part.routed.append(Experts(path, 1, inputs, outputs, fused=False))


def _layer(part: Part, module: Any, config: Any, index: int) -> Layer:
    used = next((value for name in USED_EXPERTS if isinstance(value := getattr(config, name, None), int)), 0)
    count = max((each.count for each in part.routed), default=0)
    mixer = _mixer(module, config, index)
    norms, routed = _norms(module, part.linears), tuple(part.routed)
    return Layer(tuple(part.linears), part.others, norms, routed, min(used or count, count), mixer, _scan(module))


def _norms(layer: Any, linears: list[Linear]) -> int:
    """Elements a token that pass through a layer's norms: the size of each, and where it is one of a head, all heads of
    the queries, keys or values that it is named for. That of values has no weight (Gemma 3n and 4)."""
    outputs = {linear.path: linear.outputs for linear in linears}
    total = 0
    for path, module in layer.named_modules():
        weight: Any = getattr(module, "weight", None)
        if "Norm" in type(module).__name__ and (weight is None or weight.ndim == 1):
            parent, _, name = path.rpartition(".")
            normed = outputs.get(f"{parent}.{name[:1]}_proj", 0) if name in HEAD_NORMS else 0
            total += max(0 if weight is None else weight.shape[0], normed)
    return total


def _scan(layer: Any) -> int:
    for module in layer.modules():
        if hasattr(module, "A_log") and hasattr(module, "D") and hasattr(module, "ssm_state_size"):
            parts = module.chunk_size * module.num_heads if hasattr(module, "chunk_size") else module.intermediate_size
            return int(parts * module.ssm_state_size)
    return 0


def _mixer(layer: Any, config: Any, index: int) -> Mixer:
    """How a layer mixes tokens, by what its config says of it and by the modules in it."""
    modules = list(layer.modules())
    kinds = getattr(config, "layer_types", None)
    kind = kinds[index] if isinstance(kinds, (list, tuple)) and index < len(kinds) else ""
    if any(hasattr(module, "A_log") for module in modules):
        return "mamba" if any(hasattr(module, "D") and hasattr(module, "A_log") for module in modules) else "linear"
    if any("Attention" in type(module).__name__ for module in modules):
        if kind:
            return "window" if "sliding" in kind or "chunked" in kind else "full"
        return "window" if _window(config) and getattr(config, "use_sliding_window", True) else "full"
    return "conv" if any("Conv" in type(module).__name__ for module in modules) else "none"


def _window(config: Any) -> int | None:
    windows = (_number(config, name, 0) for name in ("sliding_window", "attention_chunk_size"))
    return next((window for window in windows if window), None)


def _number(config: Any, name: str, default: int) -> int:
    """A whole number of a config; where layers differ in it, the largest."""
    value = _value(config, name)
    if isinstance(value, (list, tuple)):
        value = max((each for each in value if isinstance(each, int)), default=None)
    return value if isinstance(value, int) and value > 0 else default


def _value(config: Any, name: str) -> Any:
    """A value of a config; where the layers differ in it (Gemma 4), those of all layers."""
    if config.is_heterogeneous:
        return [getattr(each, name, None) for each in config.per_layer_config]
    return getattr(config, name, None)
