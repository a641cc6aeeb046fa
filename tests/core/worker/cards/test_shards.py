"""A model split over cards: what is split, that it learns the same, and that its files are those of one card."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.core.worker.cards.together import together

pytestmark = pytest.mark.train

STEPS = 3


def test_a_split_model_learns_what_a_whole_one_does_and_leaves_its_files(tiny_model: Path, tmp_path: Path) -> None:
    """Two steps split, saved, loaded into another split model for a third; one card takes the same three."""
    together(1, _train_whole, tiny_model, tmp_path / "whole")
    together(2, _train_split, tiny_model, tmp_path)

    import torch
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    whole, split = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("whole", "split"))
    assert whole.keys() == split.keys()
    for name, expected in whole.items():
        assert torch.allclose(split[name], expected, atol=1e-5), name
    states = [torch.load(tmp_path / name / "optimizer.pt", weights_only=True)["state"] for name in ("whole", "split")]
    assert states[0].keys() == states[1].keys()
    for index, of in states[0].items():
        for key, value in of.items():
            assert torch.allclose(states[1][index][key], value, atol=1e-6), (index, key)
    ids = torch.arange(3, 20)[None]
    plain = AutoModelForCausalLM.from_pretrained(tiny_model)
    before = plain(ids).logits
    after = PeftModel.from_pretrained(plain, tmp_path / "split")(ids).logits
    assert (after - before).abs().max() > 1e-3


def _trainer(folder: Path) -> Any:
    """The parts of a trainer that a split model needs, with an adapter whose start is always the same."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(7)
    base = AutoModelForCausalLM.from_pretrained(folder)
    base.enable_input_require_grads()
    model: Any = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], lr=1e-2)
    plugin = SimpleNamespace(ignored_modules=None)
    callbacks: list[Any] = []
    return SimpleNamespace(
        model=model,
        optimizer=optimizer,
        lr_scheduler=torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0),
        processing_class=AutoTokenizer.from_pretrained(folder),
        args=SimpleNamespace(device=torch.device("cpu")),
        accelerator=SimpleNamespace(state=SimpleNamespace(fsdp_plugin=plugin)),
        callbacks=callbacks,
        add_callback=callbacks.append,
    )


def _step(trainer: Any, number: int) -> None:
    import torch

    ids = torch.arange(5 + number, 45 + number).reshape(2, 20)
    trainer.model(input_ids=ids, labels=ids).loss.backward()
    trainer.optimizer.step()
    trainer.optimizer.zero_grad()
    trainer.lr_scheduler.step()


def _train_whole(model: Path, folder: Path) -> None:
    import torch

    trainer = _trainer(model)
    for number in range(STEPS):
        _step(trainer, number)
    trainer.model.save_pretrained(folder)
    torch.save(trainer.optimizer.state_dict(), folder / "optimizer.pt")


def _train_split(model: Path, folder: Path) -> None:
    from fitune.core.worker.cards.rank import wait_for_all

    first, second = _split(model), _split(model)
    for number in range(STEPS - 1):
        _step(first, number)
    (folder / "middle").mkdir(exist_ok=True)
    first.save_model(folder / "middle")
    first._save_optimizer_and_scheduler(folder / "middle")
    wait_for_all()
    second._load_from_checkpoint(folder / "middle")
    second._load_optimizer_and_scheduler(folder / "middle")
    _step(second, STEPS - 1)
    (folder / "split").mkdir(exist_ok=True)
    second.save_model(folder / "split")
    second._save_optimizer_and_scheduler(folder / "split")
    wait_for_all()


def _split(folder: Path) -> Any:
    """A trainer whose layers are split over the ranks, as accelerate does it; the rest is whole."""
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor

    from fitune.core.worker.cards import shards

    trainer = _trainer(folder)
    shards.split_layers_alone(trainer)
    shards.keep_files_of_one_card(trainer)
    model = trainer.model
    before = dict(model.named_parameters())
    ignored = {each for part in trainer.accelerator.state.fsdp_plugin.ignored_modules for each in part.parameters()}
    inner = model.base_model.model.model
    for layer in inner.layers:
        fully_shard(layer, ignored_params=ignored)
    fully_shard(inner.embed_tokens, ignored_params=ignored)
    fully_shard([inner.norm, model.get_output_embeddings()], ignored_params=ignored, reshard_after_forward=False)
    fully_shard(model, ignored_params=ignored)
    for callback in trainer.callbacks:
        callback.on_train_begin()
    after = dict(model.named_parameters())
    whole = {name for name, weight in after.items() if not isinstance(weight, DTensor)}
    assert whole == {"base_model.model.model.embed_tokens.weight", "base_model.model.lm_head.weight"}
    old = {id(weight): after[name] for name, weight in before.items()}
    for group in trainer.optimizer.param_groups:
        group["params"] = [old[id(weight)] for weight in group["params"]]
    return trainer
