"""Packed rows never see each other: found by trying on real layers, and where the trainer refuses."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fitune.core.recipe.load import Recipe
from fitune.core.runs import EventLog, Phase, Warned
from fitune.core.runs.run import Run
from fitune.core.tokens.packing import SEEN_THROUGH
from tests.core.worker.conftest import losses, train_here
from tests.events import data_of

pytestmark = pytest.mark.train


OWN_SIZES = {
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "xglm": {"ffn_dim": 64},
    "gpt_oss": {"num_local_experts": 4},
}


def small(kind: str) -> Any:
    """An untrained model of two layers."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    sizes = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    sizes |= OWN_SIZES.get(kind, {}) | ({} if kind == "mamba" else heads)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes))


@pytest.mark.parametrize(
    ("kind", "apart"),
    [
        ("llama", True), ("qwen3", True), ("gemma2", True), ("mistral", True), ("mamba", False), ("opt", False),
        ("bloom", False), ("gpt_oss", False), ("xglm", False),
    ],
)  # fmt: skip
def test_packed_rows_stay_apart_where_attention_knows_positions(kind: str, apart: bool) -> None:
    from fitune.core.worker.training.packing import rows_stay_apart

    model = small(kind)
    assert apart or kind == "mamba" or kind in SEEN_THROUGH["trl"], "so the forecast knows it"
    if kind == "mamba":  # takes no positions: what is left of a row flows into the next
        forward = model.forward
        model.forward = lambda position_ids=None, **known: forward(**known)
    model.train()
    assert rows_stay_apart(model) == apart
    assert model.training


LLAMA, LFM2 = "meta-llama/Llama-3.1-8B-Instruct", "LiquidAI/LFM2.5-1.2B-Instruct"


def warnings(log: Path) -> list[str]:
    return [each.kind for each in data_of(log, Warned)]


@pytest.mark.parametrize(
    ("asked", "rows", "model", "apart", "packed", "why", "said"),
    [
        (True, 20_000, LLAMA, False, False, "not_apart", ["packing"]),
        (True, 20_000, LFM2, True, False, "not_apart", ["packing"]),
        ("auto", 20_000, LFM2, True, False, "larger_steps", []),
        ("auto", 200, LLAMA, False, False, "larger_steps", []),
        (False, 20_000, LFM2, False, False, "refused", []),
        (True, 200, LLAMA, True, True, "asked", []),
    ],
)
def test_what_was_chosen_and_the_gain_are_told(
    tmp_path: Path, recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch,
    asked: Any, rows: int, model: str, apart: bool, packed: bool, why: str, said: list[str],
) -> None:  # fmt: skip
    from fitune.core.worker.training import packing

    monkeypatch.setattr(packing, "rows_stay_apart", lambda _: apart)
    log = tmp_path / "events.jsonl"
    wanted = recipe(
        model={"id": model, "max_seq_length": 100},
        data={"packing": asked},
        train={"backend": "trl", "checkpointing": "on"},
    )
    assert packing.choose(wanted, None, [{"input_ids": [1] * 10}] * rows, EventLog(log, "train")) == packed
    told = data_of(log, Phase)
    assert told == [Phase(name="prepare", rows=rows, packed=packed, packing=why, packing_gain=10.0)]
    assert warnings(log) == said


def test_a_real_run_is_packed_where_it_is_asked_for(make_run: Callable[..., Run]) -> None:
    train = {"max_steps": None, "grad_accum": 1, "eval_every": None}
    run = make_run(train=train, model={"max_seq_length": 512}, data={"packing": True})
    train_here(run)
    assert run.state().phase.packed
    assert len(losses(run)) <= 4


@pytest.mark.parametrize("agrees", [True, False])
def test_a_trainer_that_refuses_to_pack_gets_the_rows_one_by_one(tmp_path: Path, agrees: bool) -> None:
    from fitune.core.worker.training.packing import to_sets, unpack_if_refused

    rows = [{"input_ids": [1, 2, 3], "labels": [-100, 2, 3]}] * 6
    train_set, eval_set = to_sets(rows, rows[:2], 12, packed=True)
    assert eval_set is not None
    trainer = SimpleNamespace(args=SimpleNamespace(packing=agrees), train_dataset=train_set, eval_dataset=eval_set)
    unpack_if_refused(trainer, rows, rows[:2], 12, EventLog(tmp_path / "events.jsonl", "train"))
    assert (len(trainer.train_dataset), len(trainer.eval_dataset)) == ((2, 2) if agrees else (6, 2))
    assert warnings(tmp_path / "events.jsonl") == ([] if agrees else ["packing"])


def test_unsloth_is_told_that_rows_are_cut_so_that_it_pads_none() -> None:
    from fitune.core.worker.training.packing import to_sets

    rows = [{"input_ids": [1, 2, 3], "labels": [-100, 2, 3]}] * 6
    train_set, eval_set = to_sets(rows, rows[:2], 12, packed=False)
    assert eval_set is not None
    # Unsloth reads it from the set's own dictionary (models/rl.py, _unsloth_attests).
    assert [vars(each)["_unsloth_truncated_to"] for each in (train_set, eval_set)] == [12, 12]
    packed, _ = to_sets(rows, [], 12, packed=True)
    assert "_unsloth_truncated_to" not in vars(packed)


@pytest.mark.parametrize(
    ("flat", "model_type", "tokens"), [(True, "llama", 64), (True, "gemma3_text", 47), (False, "llama", 2 * 40)]
)
def test_only_rows_end_to_end_in_layers_of_unsloth_are_filled_up(flat: bool, model_type: str, tokens: int) -> None:
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    from fitune.core.worker.training.packing import pad_flat_batches

    collator = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=flat)
    pad_flat_batches(SimpleNamespace(data_collator=collator), model_type)
    batch = collator([{"input_ids": [1] * 40}, {"input_ids": [1] * 7}])
    assert batch["input_ids"].numel() == tokens
    assert int((batch["labels"] != -100).sum()) == (45 if flat else 47)
