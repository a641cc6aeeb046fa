"""A split by tokens changes neither loss nor gradient, whether rows are padded or laid end to end."""

import random
from typing import Any

import pytest

pytestmark = pytest.mark.train
LENGTHS = (90, 7, 33, 12, 64, 5, 21, 48)
MOST_TOKENS = 100


def small() -> Any:
    """An untrained model of two layers, in fp64 so that only an error can make a difference."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    sizes = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **sizes, **heads)).double()


def batch(laid_out: bool) -> dict[str, Any]:
    """Rows of LENGTHS, of which the second half is trained on, as TRL puts them together; laid out as Unsloth does."""
    import torch
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    dice = random.Random(1)
    rows = [{"input_ids": [dice.randrange(3, 300) for _ in range(length)]} for length in LENGTHS]
    rows = [
        {**row, "labels": [-100] * (len(row["input_ids"]) // 2) + row["input_ids"][len(row["input_ids"]) // 2 :]}
        for row in rows
    ]
    fill_to = 16 if laid_out else None
    inputs = DataCollatorForLanguageModeling(0, padding_free=laid_out, pad_to_multiple_of=fill_to)(rows)
    return {**inputs, "packed_seq_lengths": torch.tensor(LENGTHS, dtype=torch.int32)} if laid_out else inputs


class Trainer:
    """Takes a step as transformers' Trainer does: the loss is a sum over the trained tokens of the whole step."""

    def __init__(self, model: Any, fill_to: int) -> None:
        self.model, self.tokens = model, list[int]()
        self.data_collator = type("Collator", (), {"pad_to_multiple_of": fill_to})

    def training_step(self, model: Any, inputs: dict[str, Any], trained_tokens: Any) -> Any:
        self.tokens.append(inputs["input_ids"].numel())
        known = {name: value for name, value in inputs.items() if name != "packed_seq_lengths"}
        loss = model(**known, num_items_in_batch=trained_tokens, use_cache=False).loss
        loss.backward()
        return loss.detach()


def step(laid_out: bool, most_tokens: int | None) -> tuple[float, list[Any], list[int]]:
    """Loss, gradients and the tokens of each micro-batch."""
    from fitune.core.worker.rows.micro_batches import split_steps

    model, inputs = small(), batch(laid_out)
    trainer = Trainer(model, 16 if laid_out else 1)
    if most_tokens:
        split_steps(trainer, most_tokens)
    trained = int((inputs["labels"][:, 1:] != -100).sum())
    loss = trainer.training_step(model, inputs, trained)
    return float(loss), [each.grad for each in model.parameters()], trainer.tokens


@pytest.mark.parametrize("laid_out", [False, True])
def test_a_split_changes_neither_loss_nor_gradient(laid_out: bool) -> None:
    import torch

    whole_loss, whole, one = step(laid_out, None)
    loss, parts, several = step(laid_out, MOST_TOKENS)
    assert len(one) == 1
    assert len(several) > 2
    assert max(several) <= MOST_TOKENS + 15  # filled up to a multiple of 16
    assert loss == pytest.approx(whole_loss, rel=1e-12)
    for part, other in zip(parts, whole, strict=True):
        torch.testing.assert_close(part, other, rtol=1e-9, atol=1e-12)


def test_every_row_is_in_one_micro_batch_whole() -> None:
    from fitune.core.worker.rows.micro_batches import micro_batches

    found = micro_batches(batch(laid_out=True), MOST_TOKENS, 16)
    assert sorted(int(length) for part in found for length in part["packed_seq_lengths"]) == sorted(LENGTHS)
    assert all(part["input_ids"].shape[1] % 16 == 0 for part in found)
    assert all(part["input_ids"].shape == part["labels"].shape == part["position_ids"].shape for part in found)
