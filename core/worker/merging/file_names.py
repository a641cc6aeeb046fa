"""The tensors of a model's files that hold each of its parameters: transformers renames and joins them as it loads."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

EXPERT = re.compile(r"(?:^|\.)experts\.(\d+)\.")


@dataclass(frozen=True, slots=True)
class Held:
    """A tensor of the files that holds a parameter, or one expert's part of it."""

    name: str
    expert: int | None = None
    """The expert whose matrix it is, where the parameter joins those of all experts; None where it is all of it."""
    part: int = 0
    """Its place among the matrices of that expert which the parameter joins, one below the other: gate, then up."""
    parts: int = 1
    """How many there are."""


def files_of_parameters(names: Iterable[str], model: nn.Module) -> dict[str, list[Held]]:
    """The tensors of the files, of these names, for each parameter that is stored as it is or expert by expert.

    Parameters that transformers makes in another way as it loads are left out.
    """
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

    conversions = get_model_conversion_mapping(model)
    renamings = [step for step in conversions if isinstance(step, WeightRenaming)]
    converters = [step for step in conversions if isinstance(step, WeightConverter)]
    patterns = {pattern: step for step in converters for pattern in step.source_patterns}
    state = model.state_dict()
    found: dict[str, list[Held]] = {}
    for name in names:
        parameter, pattern = rename_source_key(name, renamings, converters, model.base_model_prefix, state)
        if pattern is None:
            found.setdefault(parameter, []).append(Held(name))
        elif (expert := EXPERT.search(name)) and _joins_experts(patterns[pattern]):
            sources = patterns[pattern].source_patterns
            held = Held(name, int(expert[1]), sources.index(pattern), len(sources))
            found.setdefault(parameter, []).append(held)
    return found


def holds_experts(model: nn.Module) -> bool:
    """True if the files of such a model hold its experts in a way that `files_of_parameters` finds."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter

    steps = [step for step in get_model_conversion_mapping(model) if isinstance(step, WeightConverter)]
    return all(_joins_experts(step) for step in steps if any("experts" in name for name in step.target_patterns))


def _joins_experts(converter: Any) -> bool:
    """True if the matrices of all experts are laid side by side, those of one expert one below the other."""
    from transformers.core_model_loading import Concatenate, MergeModulelist

    steps = [(type(step), getattr(step, "dim", None)) for step in converter.operations]
    return steps in ([(MergeModulelist, 0)], [(MergeModulelist, 0), (Concatenate, 1)])
