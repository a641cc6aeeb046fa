"""Which of a model's tensors an adapter changes, and what each becomes: PEFT computes it, some rows at a time."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fitune.core.errors import UserError
from fitune.core.worker.merging.tensors import Slot, header, read, slots_in

PREFIX = "base_model.model."
MARK = ".lora_"
MOVING_STARTS = ("pissa", "olora", "corda", "loftq")
"""Ways to begin that change the base, too (PEFT's init_lora_weights)."""


@dataclass(slots=True)
class Change:
    """What an adapter holds for one tensor of the model."""

    module: str
    lora: dict[str, Slot] = field(default_factory=dict)
    """Its matrices by PEFT's names: lora_A.weight, lora_B.weight, lora_magnitude_vector ..."""
    whole: Slot | None = None
    """The tensor itself, where it was trained as a whole: biases, modules_to_save, embeddings."""

    @property
    def by_rows(self) -> bool:
        """Whether a row of the result follows from that row of the base alone. An embedding's DoRA is by columns."""
        return not any(name.startswith("lora_embedding") for name in self.lora)

    def rows(self, first: int, last: int) -> "Change":
        """What changes these rows of the tensor: all of A, and their part of B, of DoRA's lengths or of the whole."""
        lora = {name: slot if name.startswith("lora_A") else slot.rows(first, last) for name, slot in self.lora.items()}
        return Change(self.module, lora, self.whole and self.whole.rows(first, last))


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter on disk."""

    config: Any
    """PEFT's LoraConfig."""
    changes: dict[str, Change]
    """By the name of the model's parameter: model.layers.0.self_attn.q_proj.weight."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a merged model is made of; all by the names of the tensors in the base's files."""

    base: dict[str, Slot]
    layout: dict[str, Slot]
    """Type and size of each merged tensor; the very `base` unless that is at 32 bits."""
    changes: dict[str, Change]
    config: Any
    """PEFT's LoraConfig."""

    @property
    def bytes(self) -> int:
        return sum(slot.bytes for slot in self.layout.values())


def open_adapter(folder: Path) -> Adapter:
    """An adapter's settings and what it changes. Raises UserError if it is not one of LoRA."""
    from peft import LoraConfig, PeftConfig

    config = PeftConfig.from_pretrained(folder)
    if not isinstance(config, LoraConfig):
        raise UserError(f"{folder} is no LoRA adapter, but {config.peft_type}.")
    if str(config.init_lora_weights).startswith(MOVING_STARTS):
        raise UserError(
            f"{folder} was saved unconverted by a training that began with {config.init_lora_weights}: it fits a base "
            "that was moved, and merged into the model itself it would make another one.",
            "Use the adapter as it is, PEFT moves the base when it loads it, or train again with fitune.",
        )
    if config.lora_bias:
        message = f"{folder} holds biases of its own (lora_bias), which fitune does not merge."
        raise UserError(message, "Use the adapter as it is.")
    file = folder / "adapter_model.safetensors"
    if not file.is_file():
        raise UserError(f"{folder} holds no {file.name}.", "An adapter in another format was saved by another program.")
    config.init_lora_weights = False  # layers are made of it to be filled with what is stored
    changes: dict[str, Change] = {}
    for key, slot in header(file):
        name = key.removeprefix(PREFIX)
        module, mark, matrix = name.partition(MARK)
        if mark:
            changes.setdefault(f"{module}.weight", Change(module)).lora[mark[1:] + matrix] = slot
        else:
            name = name.replace(".base_layer.", ".").replace(".modules_to_save.", ".")
            changes.setdefault(name, Change(name.rpartition(".")[0])).whole = slot
    return Adapter(config, changes)


def planned(adapter: Adapter, base: Path, remote_code: bool) -> Plan:
    """What becomes of each tensor of the base. Raises UserError if something that the adapter changes is not there."""
    from transformers import AutoConfig, AutoModelForCausalLM

    slots = slots_in(base)
    layout = {name: slot.at_16_bits() for name, slot in slots.items()} if is_fp32(slots) else slots
    config = AutoConfig.from_pretrained(base, trust_remote_code=remote_code)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=remote_code)
    refuse_shared(model, adapter)
    return Plan(slots, layout, homes(adapter, slots, model), adapter.config)


def is_fp32(base: dict[str, Slot]) -> bool:
    """Whether most of the weights are stored at 32 bits, so that a 16-bit copy must be rounded."""
    wide = sum(slot.weights for slot in base.values() if slot.dtype == "F32")
    return 2 * wide > sum(slot.weights for slot in base.values())


def homes(adapter: Adapter, base: dict[str, Slot], model: nn.Module) -> dict[str, Change]:
    """The adapter's changes by the name that the tensor has in the base's files, which may differ from the model's.

    model: the base's architecture, without weights. Raises UserError if one has no place of its own there.
    """
    names = _file_names(base, model)
    found: dict[str, Change] = {}
    lost: list[str] = []
    for parameter, change in adapter.changes.items():
        name = names.get(parameter)
        if name is None or not _fits(change, base[name], model, parameter):
            lost.append(parameter)
        else:
            found[name] = change
    if lost:
        raise UserError(
            f"{len(lost)} of the {len(adapter.changes)} tensors that the adapter changes have no place of their own in "
            f"the base model's files, such as {lost[0]}.",
            "Use the adapter as it is (fitune push uploads it): PEFT loads it onto the base model.",
        )
    return found


def refuse_shared(model: nn.Module, adapter: Adapter) -> None:
    """Raise UserError if the adapter changes one of two tensors that the model keeps as one."""
    tied = getattr(model, "all_tied_weights_keys", None) or {}
    shared = {*tied.keys(), *tied.values()} & adapter.changes.keys()
    if shared:
        raise UserError(
            f"The adapter changes {min(shared)}, which this model shares between its input and its output: merged, "
            "both would change.",
            "Use the adapter as it is, or train without lm_head and embed_tokens in lora.target_modules.",
        )


def pieces(slot: Slot, change: Change | None) -> Iterator[tuple[Slot, Change | None]]:
    """A tensor and what changes it, in blocks of rows where each becomes what it becomes by itself, or whole."""
    whole = not slot.weights or not slot.shape or slot.bytes % slot.shape[0] or (change and not change.by_rows)
    for first, last in [] if whole else slot.blocks():
        yield slot.rows(first, last), change and change.rows(first, last)
    if whole:
        yield slot, change


def changed(slot: Slot, change: Change, config: Any, dtype: torch.dtype, device: str) -> torch.Tensor:
    """The base's tensor, or rows of it, with the adapter in it: computed in fp32, rounded once to dtype, on the CPU.

    Raises UserError if the result is not finite.
    """
    weight = read(change.whole or slot).to(device).float()
    if change.lora:
        weight = _merged(weight, change, config)
    rounded = weight.to(dtype)
    least, most = rounded.aminmax()
    if not max(-least, most) < torch.inf:  # which is so of NaN too
        raise UserError(
            f"{change.module} holds numbers that are infinite or none at all with the adapter in it.",
            "Its training went astray: train again with a lower train.lr.",
        )
    return rounded.cpu()


@torch.no_grad()
def _merged(weight: torch.Tensor, change: Change, config: Any) -> torch.Tensor:
    """The layer's weight, changed in place, with its matrices merged: PEFT knows rsLoRA, DoRA and what comes next."""
    from peft.tuners import lora
    from peft.utils.other import get_pattern_key

    embedding = any(name.startswith("lora_embedding") for name in change.lora)
    with torch.device("meta"):
        rows, columns = weight.shape
        layer = nn.Embedding(rows, columns) if embedding else nn.Linear(columns, rows, bias=False)
    layer.weight = nn.Parameter(weight, requires_grad=False)
    matrices = {name: read(slot).to(weight) for name, slot in change.lora.items()}
    rank = next(matrix.shape[0] for name, matrix in matrices.items() if "_A" in name)
    alpha = config.alpha_pattern.get(get_pattern_key(config.alpha_pattern, change.module), config.lora_alpha)
    wrapped = (lora.Embedding if embedding else lora.Linear)(layer, "default", config, r=rank, lora_alpha=alpha)
    if matrices.keys() == {"lora_A.weight", "lora_B.weight"} and not wrapped.lora_variant:
        # The sum that PEFT's merge makes, too, which goes over the weight thrice.
        return weight.addmm_(matrices["lora_B.weight"], matrices["lora_A.weight"], alpha=wrapped.scaling["default"])
    known = dict(wrapped.named_parameters())
    for name, matrix in matrices.items():
        head, _, tail = name.partition(".")
        tail = tail or ("weight" if head == "lora_magnitude_vector" else "")
        known[f"{head}.default.{tail}".rstrip(".")].data = matrix
    wrapped.merge()
    return wrapped.get_base_layer().weight.data


def _file_names(base: dict[str, Slot], model: nn.Module) -> dict[str, str]:
    """The file's name of each parameter of the model that is stored as itself, not fused or split when loaded."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

    steps = get_model_conversion_mapping(model)
    renamings = [step for step in steps if isinstance(step, WeightRenaming)]
    converters = [step for step in steps if isinstance(step, WeightConverter)]
    state = model.state_dict()
    names = {}
    for name in base:
        parameter, converter = rename_source_key(name, renamings, converters, model.base_model_prefix, state)
        if converter is None:
            names[parameter] = name
    return names


def _fits(change: Change, slot: Slot, model: nn.Module, parameter: str) -> bool:
    """Whether the tensor can take the change: of the right shape, and in a layer that multiplies as PEFT assumes."""
    if change.whole and change.whole.shape != slot.shape:
        return False
    if not change.lora:
        return True
    layer = model.get_submodule(parameter.removesuffix(".weight"))
    if "lora_embedding_A" in change.lora:
        shape = (change.lora["lora_embedding_A"].shape[1], change.lora["lora_embedding_B"].shape[0])
        return isinstance(layer, nn.Embedding) and shape == slot.shape
    shape = (change.lora["lora_B.weight"].shape[0], change.lora["lora_A.weight"].shape[1])
    return isinstance(layer, nn.Linear) and shape == slot.shape
