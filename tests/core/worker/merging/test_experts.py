"""Adapters on the experts of a mixture are merged into files that hold the experts together, or one by one."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fitune.core.errors import UserError
from fitune.core.runs.run import Run
from tests.core.worker.conftest import train_here
from tests.core.worker.merging.test_merge import adapt, merge_here, weights

pytestmark = pytest.mark.train

TEXT = {
    "hidden_size": 64, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "num_experts_per_tok": 2, "vocab_size": 320, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2,
}  # fmt: skip
MIXTURES: dict[str, dict[str, Any]] = {
    "qwen3_moe": {"head_dim": 16, "num_experts": 4, "moe_intermediate_size": 32},
    "olmoe": {"num_experts": 4},
    "mixtral": {"num_local_experts": 4},
    "gpt_oss": {"head_dim": 16, "num_local_experts": 4},
}
ON_EXPERTS = ["q_proj", "gate_proj", "up_proj", "down_proj"]


@pytest.fixture
def make_mixture(tokenizer: Any, tmp_path: Path) -> Callable[[str], Path]:
    """Makes a folder with a tiny mixture of a family."""

    def make(family: str) -> Path:
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        torch.manual_seed(0)
        folder = tmp_path / family
        config = AutoConfig.for_model(family, **TEXT, **MIXTURES[family])
        AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return make


@pytest.mark.parametrize("family", MIXTURES)
@pytest.mark.parametrize("lora", [{}, {"use_rslora": True, "rank_pattern": {"q_proj": 2}}], ids=["plain", "pattern"])
def test_each_experts_matrix_is_what_peft_makes_of_it(
    family: str,
    lora: dict[str, Any],
    make_mixture: Callable[[str], Path],
    make_run: Callable[..., Run],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    monkeypatch.setattr("fitune.core.worker.merging.tensors.BLOCK_WEIGHTS", 1000)  # several parts of each
    monkeypatch.setattr("fitune.core.worker.merging.compare_answers.WRITTEN_TOKENS", 16)
    folder = make_mixture(family)
    run = make_run(model={"id": str(folder)})
    experts = [f"mlp.experts.{name}" for name in ("gate_up_proj", "down_proj")]
    tuned = adapt(run, folder, target_modules=["q_proj"], target_parameters=experts, **lora)
    tuned.merge_and_unload().save_pretrained(tmp_path / "by_peft")
    merge_here(run)
    merged, expected, base = weights(run.merged), weights(tmp_path / "by_peft"), weights(folder)
    assert merged.keys() == expected.keys() == base.keys()
    for name, tensor in merged.items():
        torch.testing.assert_close(tensor.float(), expected[name], rtol=2**-8, atol=1e-6)
        changed = ".experts" in name and "bias" not in name
        assert not changed or (tensor.float() - base[name]).abs().max() > 0.01


@pytest.mark.usefixtures("unasked")
@pytest.mark.parametrize("family", ["qwen3_moe", "gpt_oss"])
def test_a_mixture_whose_experts_were_trained_is_merged_and_proven(
    family: str, make_mixture: Callable[[str], Path], make_run: Callable[..., Run]
) -> None:
    folder = make_mixture(family)
    run = make_run(model={"id": str(folder)}, lora={"target_modules": ON_EXPERTS, "dropout": 0})
    train_here(run)
    merge_here(run)
    end = run.state().end
    assert (end.proof or {})["passed"]  # type: ignore[union-attr]


def test_an_adapter_of_another_number_of_experts_does_not_fit(
    make_mixture: Callable[[str], Path], make_run: Callable[..., Run]
) -> None:
    from safetensors.torch import load_file, save_file

    run = make_run(model={"id": str(make_mixture("qwen3_moe"))})
    adapt(run, make_mixture("qwen3_moe"), target_modules=[], target_parameters=["mlp.experts.down_proj"])
    file = run.adapter / "adapter_model.safetensors"
    tensors = load_file(file)
    fewer = {name: copy.deepcopy(t[:4] if "lora_A" in name else t[:, :4]).contiguous() for name, t in tensors.items()}
    save_file(fewer, file)
    with pytest.raises(UserError, match="2 of the 2 tensors that the adapter changes are not tensors of their own"):
        merge_here(run)
