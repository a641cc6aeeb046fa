"""Apply an adapter to a model's tensors, some rows at a time: PEFT computes each merged weight."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from fitune.core.errors import UserError
from fitune.core.worker.architecture.model_class import model_class
from fitune.core.worker.merging.experts import Experts, experts_in_adapter, parts_in_files
from fitune.core.worker.merging.file_names import Held, files_of_parameters
from fitune.core.worker.merging.tensors import TensorLocation, header, layout_of, locate_tensors, read

PREFIX = "base_model.model."
MARK = ".lora_"
MOVING_INITS = ("pissa", "olora", "corda", "loftq")
"""Initialisations that change the base, too (PEFT's init_lora_weights)."""


@dataclass(slots=True)
class TensorChange:
    """The adapter's change of one tensor of the model."""

    module: str
    lora: dict[str, TensorLocation] = field(default_factory=dict)
    """Its matrices by PEFT's names: lora_A.weight, lora_B.weight, lora_magnitude_vector ..."""
    whole: TensorLocation | None = None
    """The tensor itself, if it was fully trained: biases, modules_to_save, embeddings."""
    transposed: bool = False
    """True if the tensor is inputs x outputs, as transformers' Conv1D has it (GPT-2)."""
    experts: Experts | None = None
    """The part of a mixture's experts that the tensor holds; None where it holds none."""

    @property
    def by_rows(self) -> bool:
        """True if a row of the result depends on that row of the base alone. An embedding's DoRA works by columns."""
        return not self.transposed and not any(name.startswith("lora_embedding") for name in self.lora)

    def rows(self, first: int, last: int) -> "TensorChange":
        """The change of these rows of the tensor: all of A, and their part of B, of DoRA's magnitudes or of `whole`."""
        if self.experts:
            return replace(self, experts=self.experts.rows(first, last))
        lora = {
            name: location if name.startswith("lora_A") else location.rows(first, last)
            for name, location in self.lora.items()
        }
        return TensorChange(self.module, lora, self.whole and self.whole.rows(first, last))


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter on disk."""

    config: Any
    """PEFT's LoraConfig."""
    changes: dict[str, TensorChange]
    """By the name of the model's parameter: model.layers.0.self_attn.q_proj.weight."""


@dataclass(frozen=True, slots=True)
class MergePlan:
    """The plan of a merge; all dicts have the tensor names of the base's files."""

    base: dict[str, TensorLocation]
    layout: dict[str, TensorLocation]
    """Type and size of each merged tensor; identical to `base` unless that is at 32 bits, or all weights were trained.
    """
    changes: dict[str, TensorChange]
    config: Any
    """PEFT's LoraConfig."""

    @property
    def bytes(self) -> int:
        return sum(location.bytes for location in self.layout.values())


def open_adapter(folder: Path) -> Adapter:
    """Read an adapter's settings and changes. Raises UserError if it is no LoRA adapter."""
    from peft import LoraConfig, PeftConfig

    config = PeftConfig.from_pretrained(folder)
    if not isinstance(config, LoraConfig):
        raise UserError(f"{folder} is no LoRA adapter, but {config.peft_type}.")
    if str(config.init_lora_weights).startswith(MOVING_INITS):
        raise UserError(
            f"{folder} was saved unconverted by a training with init {config.init_lora_weights}: it fits a base whose "
            "weights were changed, and merged into the unchanged base it would make another model.",
            "Use the adapter as it is, since PEFT changes the base when it loads it, or train again with fitune.",
        )
    if config.lora_bias:
        message = f"{folder} holds biases of its own (lora_bias), which fitune does not merge."
        raise UserError(message, "Use the adapter as it is.")
    file = folder / "adapter_model.safetensors"
    if not file.is_file():
        raise UserError(f"{folder} holds no {file.name}.", "An adapter in another format was saved by another program.")
    config.init_lora_weights = False  # layers made from it get the stored weights
    config.fan_in_fan_out = False  # they are outputs x inputs, also those of a Conv1D
    changes: dict[str, TensorChange] = {}
    for key, location in header(file):
        name = key.removeprefix(PREFIX)
        module, separator, matrix = name.partition(MARK)
        if separator:
            changes.setdefault(f"{module}.weight", TensorChange(module)).lora[separator[1:] + matrix] = location
        else:
            name = name.replace(".base_layer.", ".").replace(".modules_to_save.", ".")
            changes.setdefault(name, TensorChange(name.rpartition(".")[0])).whole = location
    return Adapter(config, changes)


def plan_merge(adapter: Adapter, base: Path, remote_code: bool) -> MergePlan:
    """Plan the merge of each tensor. Raises UserError if the base lacks a tensor that the adapter changes."""
    from peft.utils.constants import DUMMY_TARGET_MODULES
    from transformers import AutoConfig

    locations = locate_tensors(base)
    config = AutoConfig.from_pretrained(base, trust_remote_code=remote_code)
    with torch.device("meta"):
        model = model_class(config).from_config(config, trust_remote_code=remote_code)
    adapter = once_where_tied(adapter, model)
    changes = match_base_tensors(adapter, locations, model)
    trained_all = adapter.config.target_modules == DUMMY_TARGET_MODULES
    return MergePlan(locations, layout_of(locations, changes if trained_all else ()), changes, adapter.config)


def match_base_tensors(adapter: Adapter, base: dict[str, TensorLocation], model: nn.Module) -> dict[str, TensorChange]:
    """The adapter's changes by the tensor names of the base's files, which may differ from the model's.

    model: the base's architecture, without weights. Raises UserError if a changed tensor is not one of the files'.
    """
    files = files_of_parameters(base, model)
    state = model.state_dict()
    on_experts = any(parameter not in state for parameter in adapter.changes)
    experts = experts_in_adapter(model, adapter.config) if on_experts else {}
    changes: dict[str, TensorChange] = {}
    unmatched: list[str] = []
    for parameter, change in adapter.changes.items():
        if change.module in experts:
            owner, layout = experts[change.module]
            parts = _expert_changes(change, layout, files.get(owner, []), state[owner])
            fits = bool(parts) and all(_fits_experts(part, base[name]) for name, part in parts.items())
        else:
            parts = {held.name: change for held in files.get(parameter, []) if held.expert is None}
            fits = len(parts) == 1 and _fits(change, base[next(iter(parts))], model, parameter)
            change.transposed = fits and isinstance(model.get_submodule(change.module), Conv1D)
        if fits:
            changes |= parts
        else:
            unmatched.append(parameter)
    if unmatched:
        raise UserError(
            f"{len(unmatched)} of the {len(adapter.changes)} tensors that the adapter changes are not tensors of their "
            f"own in the base model's files, such as {unmatched[0]}.",
            "Use the adapter as it is (fitune push uploads it): PEFT loads it onto the base model.",
        )
    return changes


def _expert_changes(
    change: TensorChange, layout: Experts, held: list[Held], parameter: torch.Tensor
) -> dict[str, TensorChange]:
    """The change of each tensor of the files that holds experts of a layer."""
    outputs = parameter.shape[1 if layout.outputs_first else 2]
    return {
        name: TensorChange(change.module, change.lora, experts=part)
        for name, part in parts_in_files(layout, held, outputs)
    }


def _fits_experts(change: TensorChange, location: TensorLocation) -> bool:
    """True if the tensor has the shape of what the adapter adds to it."""
    assert change.experts
    a, b = (torch.empty(change.lora[name].shape, device="meta") for name in ("lora_A.weight", "lora_B.weight"))
    ranks = change.experts.count * change.experts.rank
    return a.shape[0] == b.shape[1] == ranks and location.shape == tuple(change.experts.delta(a, b).shape)


def once_where_tied(adapter: Adapter, model: nn.Module) -> Adapter:
    """The adapter with one change of a tensor that the model shares between input and output (tied weights), where that
    was trained whole and as one. Raises UserError if it has changes of it that differ."""
    tied = getattr(model, "all_tied_weights_keys", None) or {}
    shared = {*tied.keys(), *tied.values()} & adapter.changes.keys()
    if not shared:
        return adapter
    if not (adapter.config.ensure_weight_tying and all(adapter.changes[name].whole for name in shared)):
        raise UserError(
            f"The adapter changes {min(shared)}, which this model shares between its input and its output: merged, "
            "both would change.",
            "Use the adapter as it is, or train without lm_head and embed_tokens in lora.target_modules.",
        )
    copies = {name for name, original in tied.items() if original in adapter.changes}
    return Adapter(adapter.config, {name: change for name, change in adapter.changes.items() if name not in copies})


def blocks_of(
    location: TensorLocation, change: TensorChange | None
) -> Iterator[tuple[TensorLocation, TensorChange | None]]:
    """A tensor and its change in blocks of rows that can be merged independently, or undivided."""
    undivided = (
        not location.weights
        or not location.shape
        or location.bytes % location.shape[0]
        or (change and not change.by_rows)
    )
    for first, last in [] if undivided else location.blocks():
        yield location.rows(first, last), change and change.rows(first, last)
    if undivided:
        yield location, change


def with_change(
    location: TensorLocation, change: TensorChange, config: Any, dtype: torch.dtype, device: str
) -> torch.Tensor:
    """The base's tensor, or rows of it, with the adapter merged: computed in fp32, rounded once to dtype, on the CPU.

    Raises UserError if the result is not finite.
    """
    weight = read(change.whole or location).to(device).float()
    if change.experts:
        a, b = (read(change.lora[name]).to(weight) for name in ("lora_A.weight", "lora_B.weight"))
        weight += change.experts.delta(a, b)
    elif change.lora and change.transposed:
        weight = _merged(weight.T.contiguous(), change, config).T.contiguous()
    elif change.lora:
        weight = _merged(weight, change, config)
    result = weight.to(dtype)
    least, most = result.aminmax()
    if not max(-least, most) < torch.inf:  # which is so of NaN too
        raise UserError(
            f"{change.module} holds infinite numbers or NaN with the adapter merged.",
            "Its training diverged: train again with a lower train.lr.",
        )
    return result.cpu()


@torch.no_grad()
def _merged(weight: torch.Tensor, change: TensorChange, config: Any) -> torch.Tensor:
    """The layer's weight, changed in place, with its matrices merged by PEFT, which supports rsLoRA, DoRA and more."""
    from peft.tuners import lora
    from peft.utils.other import get_pattern_key

    embedding = any(name.startswith("lora_embedding") for name in change.lora)
    with torch.device("meta"):
        rows, columns = weight.shape
        layer = nn.Embedding(rows, columns) if embedding else nn.Linear(columns, rows, bias=False)
    layer.weight = nn.Parameter(weight, requires_grad=False)
    matrices = {name: read(location).to(weight) for name, location in change.lora.items()}
    rank = next(matrix.shape[0] for name, matrix in matrices.items() if "_A" in name)
    alpha = config.alpha_pattern.get(get_pattern_key(config.alpha_pattern, change.module), config.lora_alpha)
    wrapped = (lora.Embedding if embedding else lora.Linear)(layer, "default", config, r=rank, lora_alpha=alpha)
    if matrices.keys() == {"lora_A.weight", "lora_B.weight"} and not wrapped.lora_variant:
        # The same sum as PEFT's merge, which passes over the weight three times.
        return weight.addmm_(matrices["lora_B.weight"], matrices["lora_A.weight"], alpha=wrapped.scaling["default"])
    known = dict(wrapped.named_parameters())
    for name, matrix in matrices.items():
        head, _, tail = name.partition(".")
        tail = tail or ("weight" if head == "lora_magnitude_vector" else "")
        known[f"{head}.default.{tail}".rstrip(".")].data = matrix
    wrapped.merge()
    return wrapped.get_base_layer().weight.data


def _fits(change: TensorChange, location: TensorLocation, model: nn.Module, parameter: str) -> bool:
    """True if the change fits the tensor: the right shape, and a layer type that PEFT merges as assumed."""
    if change.whole and change.whole.shape != location.shape:
        return False
    if not change.lora:
        return True
    layer = model.get_submodule(parameter.removesuffix(".weight"))
    if "lora_embedding_A" in change.lora:
        shape = (change.lora["lora_embedding_A"].shape[1], change.lora["lora_embedding_B"].shape[0])
        return isinstance(layer, nn.Embedding) and shape == location.shape
    outputs, inputs = change.lora["lora_B.weight"].shape[0], change.lora["lora_A.weight"].shape[1]
    if isinstance(layer, Conv1D):
        return location.shape == (inputs, outputs)
    return isinstance(layer, nn.Linear) and location.shape == (outputs, inputs)
