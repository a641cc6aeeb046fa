"""The matrices of a model that get a LoRA pair."""

from collections import Counter
from dataclasses import dataclass

from fitune.core.errors import UserError
from fitune.core.memory.shapes import Shape, are_named_experts, is_named, rank_of
from fitune.core.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Adapted:
    """Matrices of one size that get a LoRA pair each."""

    inputs: int
    outputs: int
    rank: int
    times: int
    """How many there are."""
    experts: int = 1
    """Matrices in one: a layer's fused experts have a pair of as many times the rank (peft tuners/lora, ParamWrapper).
    """


def adapted_matrices(shape: Shape, recipe: Recipe, unsloth: bool) -> tuple[Adapted, ...]:
    """What lora.target_modules and lora.layers choose, as core/worker/architecture/targets.py does in the model.

    unsloth: a table of words that is named gets no pair, as Unsloth trains it whole. Raises UserError if nothing is
    chosen.
    """
    if recipe.trains_all:
        return ()
    wanted, layers = recipe.lora.target_modules, recipe.lora.layers
    lora = recipe.lora
    counts: Counter[tuple[int, int, int, int]] = Counter()
    for index, path, linear in shape.placed:
        if layers is not None and index not in layers:
            continue
        if linear.adapted if wanted == "all-linear" else is_named(path, wanted):
            counts[linear.inputs, linear.outputs, rank_of(path, lora.r, lora.rank_pattern), 1] += 1
    for index, layer in enumerate(shape.layers) if wanted != "all-linear" else ():
        for experts in layer.routed if layers is None or index in layers else ():
            if experts.fused and are_named_experts(experts.path, wanted):
                counts[experts.inputs, experts.outputs, lora.r, experts.count] += 1
    for linear in shape.outside if layers is None else ():
        if linear.adapted if wanted == "all-linear" else is_named(linear.path, wanted):
            counts[linear.inputs, linear.outputs, rank_of(linear.path, lora.r, lora.rank_pattern), 1] += 1
    if wanted != "all-linear" and layers is None and not unsloth and is_named(shape.embedding_path, wanted):
        rank = rank_of(shape.embedding_path, lora.r, lora.rank_pattern)
        counts[shape.embedding // shape.hidden, shape.hidden, rank, 1] += 1
    if not counts:
        names = {linear.name for linear, _ in shape.matrices}
        names |= {experts.name for layer in shape.layers for experts in layer.routed}
        hint = f"It has {', '.join(sorted(names))} in layers 0 to {len(shape.layers) - 1}."
        if wanted != "all-linear" and set(wanted) & {"embed_tokens", "lm_head"}:
            hint += " lora.modules_to_save trains embed_tokens or lm_head beside these."
        raise UserError(f"lora.target_modules and lora.layers choose nothing in {shape.name}.", hint)
    return tuple(
        Adapted(inputs, outputs, rank, times, experts) for (inputs, outputs, rank, experts), times in counts.items()
    )


def idle_choices(shape: Shape, recipe: Recipe) -> tuple[str, ...]:
    """What lora.target_modules and lora.layers name that the model does not have, as sentences: peft is silent as long
    as another name fits."""
    if recipe.trains_all:
        return ()
    lora, last = recipe.lora, len(shape.layers) - 1
    names = () if lora.target_modules == "all-linear" else lora.target_modules
    found = []
    if absent := [name for name in names if not _has(shape, name)]:
        found.append(f"lora.target_modules: the model has no {', '.join(absent)}; only the others are trained.")
    if beyond := [str(index) for index in lora.layers or () if index > last]:
        found.append(f"lora.layers: the model has layers 0 to {last}, and no {', '.join(beyond)}.")
    return tuple(found)


def _has(shape: Shape, name: str) -> bool:
    """True if a matrix, routed experts or a table of words has this name."""
    outside = (*(linear.path for linear in shape.outside), shape.embedding_path, "lm_head")
    paths = (*(path for _, path, _ in shape.placed), *outside, *shape.reserved)
    experts = (experts.path for layer in shape.kinds for experts in layer.routed)
    return any(is_named(path, [name]) for path in paths) or any(are_named_experts(path, [name]) for path in experts)
