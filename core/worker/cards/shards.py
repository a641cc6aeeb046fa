"""A model of which each card holds a part (FSDP2): the cards gather a layer before it computes, and drop it after.

accelerate splits the model when the trainer begins, layer by layer, and unsloth keeps its kernels and the 4-bit weights
whole in it. Here is what makes the files of such a training those of one card: from them it goes on on any number.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback

from fitune.core.worker.cards.rank import rank


def whole_adapter(model: Any) -> dict[str, Tensor]:
    """The trained weights as one card would hold them, in host RAM. Each rank must call this."""
    return {name: _whole(weight) for name, weight in _trained(model).items()}


def split_layers_alone(trainer: Any) -> None:
    """Keep embedding and output head whole, where they are not trained: gathered each time, they would take more.

    The head is needed from the end of the forward pass to the begin of the backward pass, so each card holds it. The
    input embedding goes to host RAM once the layers are split, unless it is the head, too.
    """
    embedding, head = trainer.model.get_input_embeddings(), trainer.model.get_output_embeddings()
    whole = [part for part in (head, embedding) if part and not any(w.requires_grad for w in part.parameters())]
    # Unsloth asks for evaluation in 16 bits; for that transformers would first put the whole model on each card.
    trainer.args.bf16_full_eval = trainer.args.fp16_full_eval = False
    trainer.accelerator.state.fsdp_plugin.ignored_modules = whole
    if head in whole:
        head.to(trainer.args.device)
    if embedding in whole and (head is None or embedding.weight is not head.weight):
        trainer.add_callback(EmbeddingInRam(embedding, trainer.args.device))


class EmbeddingInRam(TrainerCallback):
    """Looks tokens up in host RAM, and sends what is found to the card."""

    def __init__(self, embedding: Any, device: torch.device) -> None:
        self.embedding, self.device = embedding, device

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Begin now, when the model is split: before, it may be moved to the card with the rest."""
        self.embedding.to("cpu")
        self.embedding.register_forward_pre_hook(self._ids_to_weight)
        # Before the hooks that are there: one makes what comes out a leaf of the backward pass, which ends there.
        self.embedding.register_forward_hook(lambda module, inputs, found: found.to(self.device), prepend=True)

    def _ids_to_weight(self, module: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(each.to(module.weight.device) for each in inputs)


def keep_files_of_one_card(trainer: Any) -> None:
    """Make the trainer write, and read, the checkpoints of a training on one card."""
    trainer.save_model = lambda folder, _internal_call=False: _save_model(trainer, Path(folder))
    trainer._save_optimizer_and_scheduler = lambda folder: _save_optimizer(trainer, Path(folder))
    trainer._load_from_checkpoint = lambda folder, model=None: _load_model(trainer, Path(folder))
    trainer._load_optimizer_and_scheduler = lambda folder: _load_optimizer(trainer, Path(folder))


def _save_model(trainer: Any, folder: Path) -> None:
    tensors = whole_adapter(trainer.model)
    if rank() == 0:
        trainer.model.save_pretrained(folder, state_dict=tensors)
        trainer.processing_class.save_pretrained(folder)


def _load_model(trainer: Any, folder: Path) -> None:
    from safetensors.torch import load_file

    tensors = load_file(folder / "adapter_model.safetensors")
    with torch.no_grad():
        for name, weight in _adapter(trainer.model).items():
            weight.copy_(_shared(tensors[name], weight))


def _save_optimizer(trainer: Any, folder: Path) -> None:
    content = trainer.optimizer.state_dict()
    state = {index: {key: _whole(value) for key, value in of.items()} for index, of in content["state"].items()}
    if rank() == 0:
        torch.save({**content, "state": state}, folder / "optimizer.pt")
        torch.save(trainer.lr_scheduler.state_dict(), folder / "scheduler.pt")


def _load_optimizer(trainer: Any, folder: Path) -> None:
    content = torch.load(folder / "optimizer.pt", map_location="cpu", weights_only=True)
    weights = [weight for group in trainer.optimizer.param_groups for weight in group["params"]]
    for index, values in content["state"].items():
        of_weight = weights[index]
        values.update(
            {key: _shared(value, of_weight) for key, value in values.items() if value.shape == of_weight.shape}
        )
    trainer.optimizer.load_state_dict(content)
    trainer.lr_scheduler.load_state_dict(torch.load(folder / "scheduler.pt", weights_only=True))


def _adapter(model: Any) -> Mapping[str, Tensor]:
    """The trained weights of a model, whole or split, by their names in an adapter's file."""
    from peft import get_peft_model_state_dict

    named: Mapping[str, Tensor] = get_peft_model_state_dict(model, _trained(model), save_embedding_layers=False)
    return named


def _trained(model: Any) -> dict[str, Tensor]:
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def _whole(tensor: Tensor) -> Tensor:
    """A tensor that may be split over the cards, as a whole and in host RAM. Each rank must call this."""
    from torch.distributed.tensor import DTensor

    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().cpu()


def _shared(whole: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, split as another one is, if that is."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(like, DTensor):
        return whole.to(like.device)
    return distribute_tensor(whole.to(like.device, like.dtype), like.device_mesh, like.placements)
