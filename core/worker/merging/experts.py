"""Adapters on the experts of a mixture: one pair of matrices holds those of all of a layer (peft ParamWrapper)."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from fitune.core.worker.merging.file_names import Held


@dataclass(frozen=True, slots=True)
class Experts:
    """A layer's experts in an adapter, and which of their weights a tensor of the files holds."""

    count: int
    """Experts in the layer: A is [count x rank, in], B is [out, rank x count]."""
    rank: int
    outputs_first: bool
    """True if the model's parameter is experts x out x in, else experts x in x out."""
    scale: float
    """alpha / r, or what takes its place with rsLoRA."""
    first: int = 0
    """The range of the experts that the tensor holds, the last one not included."""
    last: int | None = None
    alone: bool = False
    """True if the tensor is a matrix of one expert."""
    top: int = 0
    """The range of the outputs that it holds then."""
    bottom: int | None = None

    def rows(self, first: int, last: int) -> "Experts":
        """The part of these rows of the tensor."""
        if self.alone:
            return replace(self, top=self.top + first, bottom=self.top + last)
        return replace(self, first=self.first + first, last=self.first + last)

    def delta(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """What the adapter's matrices A and B add to the tensor: peft's get_delta_weight, for this part alone."""
        a = a.view(self.count, self.rank, -1)[self.first : self.last]
        b = b.view(-1, self.rank, self.count)[self.top : self.bottom, :, self.first : self.last]
        order = "ore,eri->eoi" if self.outputs_first else "ore,eri->eio"
        product = torch.einsum(order, b, a) * self.scale
        return product[0] if self.alone else product


def experts_in_adapter(model: nn.Module, config: Any) -> dict[str, tuple[str, Experts]]:
    """The experts that an adapter changes, by its own name of the module: their parameter in the model, and the layout.

    model: without weights. config: PEFT's LoraConfig, which says it once PEFT has put the adapter on the model.
    """
    from peft import inject_adapter_in_model
    from peft.tuners.lora import ParamWrapper

    with torch.device("meta"):
        adapted = inject_adapter_in_model(config, copy.deepcopy(model))
    found = {}
    for path, module in adapted.named_modules():
        if isinstance(module, ParamWrapper) and module.get_param().ndim == 3:
            owner = path
            while owner.endswith(".base_layer"):
                owner = owner.removesuffix(".base_layer")
            layout = Experts(
                module.num_experts, module.r["default"], module._did_swap_in_out_features, module.scaling["default"]
            )
            found[path] = (f"{owner}.{module.parameter_name}", layout)
    return found


def parts_in_files(experts: Experts, held: list[Held], outputs: int) -> Iterator[tuple[str, Experts]]:
    """The tensors of the files that hold a layer's experts, each with its part of them. outputs: of the parameter."""
    for each in held:
        if each.expert is None:
            yield each.name, replace(experts, last=experts.count)
        elif experts.outputs_first:
            rows, expert = outputs // each.parts, each.expert
            top = rows * each.part
            alone = replace(experts, first=expert, last=expert + 1, alone=True, top=top, bottom=top + rows)
            yield each.name, alone
