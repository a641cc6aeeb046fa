"""Families other than Llama, tiny, with TRL on the CPU: what is adapted, and that files which don't fit are refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fitune.core.errors import UserError
from fitune.core.runs.run import Run
from tests.core.worker.conftest import losses, train_here

pytestmark = pytest.mark.train

TEXT = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 320, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
TOWER = {"hidden_size": 32, "intermediate_size": 48, "depth": 2, "num_heads": 2, "out_hidden_size": 64}
STATES = {"mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 16, "mamba_n_groups": 1}
FAMILIES: dict[str, dict[str, Any]] = {
    "qwen3_vl": {
        "text_config": {**TEXT, "head_dim": 16},
        "vision_config": {**TOWER, "deepstack_visual_indexes": [0]},
    },
    "qwen3_5": {
        "text_config": {
            **TEXT, "head_dim": 16, "layer_types": ["linear_attention", "full_attention"], "linear_num_key_heads": 2,
            "linear_num_value_heads": 4, "linear_key_head_dim": 16, "linear_value_head_dim": 16,
        },
        "vision_config": TOWER,
    },
    "granitemoehybrid": {
        **TEXT, **STATES, "shared_intermediate_size": 96, "num_local_experts": 0, "num_experts_per_tok": 0,
        "layer_types": ["mamba", "attention"],
    },
    "granitemoe": {**TEXT, "num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen3_moe": {**TEXT, "head_dim": 16, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32},
}  # fmt: skip


@pytest.fixture
def make_model(tokenizer: Any, tmp_path: Path) -> Callable[[str], Path]:
    """Makes a folder with a tiny model of a family."""

    def make(family: str) -> Path:
        import torch
        from transformers import AutoConfig

        from fitune.core.worker.architecture.model_class import model_class

        torch.manual_seed(0)
        config = AutoConfig.for_model(family, **FAMILIES[family])
        folder = tmp_path / family
        model_class(config).from_config(config, dtype=torch.float32).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return make


@pytest.mark.usefixtures("unasked")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_trains_and_its_adapter_fits_the_model_that_transformers_loads(
    family: str, make_model: Callable[[str], Path], make_run: Callable[..., Run]
) -> None:
    from peft import PeftModel
    from safetensors import safe_open
    from transformers import AutoConfig

    from fitune.core.worker.architecture.model_class import model_class

    folder = make_model(family)
    run = make_run(model={"id": str(folder)}, train={"max_steps": 4, "grad_accum": 1})
    train_here(run)
    assert losses(run)[4] < losses(run)[1]
    with safe_open(run.adapter / "adapter_model.safetensors", "pt") as file:
        names = set(file.keys())
    assert names
    assert not [name for name in names if ".visual." in name or ".experts." in name or "lm_head" in name]
    base = model_class(AutoConfig.from_pretrained(folder)).from_pretrained(folder)
    loaded = PeftModel.from_pretrained(base, run.adapter)
    assert len(names) == sum("lora_" in name for name, _ in loaded.named_parameters())


def test_a_model_whose_files_lack_tensors_is_refused_before_the_first_step(
    make_model: Callable[[str], Path], make_run: Callable[..., Run]
) -> None:
    from safetensors.torch import load_file, save_file

    folder = make_model("qwen3_moe")
    tensors = load_file(folder / "model.safetensors")
    lost = next(name for name in tensors if name.endswith("q_proj.weight"))
    del tensors[lost]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    run = make_run(model={"id": str(folder)})
    with pytest.raises(UserError, match=rf"tensors missing \(1\): {lost}"):
        train_here(run)
    assert not losses(run)


def test_a_tensor_of_another_size_is_refused(make_model: Callable[[str], Path], make_run: Callable[..., Run]) -> None:
    from safetensors.torch import load_file, save_file

    folder = make_model("granitemoehybrid")
    tensors = load_file(folder / "model.safetensors")
    lost = next(name for name in tensors if name.endswith("q_proj.weight"))
    tensors[lost] = tensors[lost][:32].contiguous()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=rf"tensors of another size \(1\): {lost}"):
        train_here(make_run(model={"id": str(folder)}))


def test_towers_and_the_output_head_keep_their_precision() -> None:
    from transformers import AutoConfig

    from fitune.core.worker.architecture.model_class import outside_text

    vision = AutoConfig.for_model("qwen3_vl", **FAMILIES["qwen3_vl"])
    assert outside_text(vision, remote_code=False) == ["lm_head", "model.visual"]
    text = AutoConfig.for_model("qwen3_moe", **FAMILIES["qwen3_moe"])
    assert outside_text(text, remote_code=False) is None


def test_a_class_that_unsloth_puts_in_the_place_of_transformers_own_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText
    from transformers.models import qwen3_vl
    from transformers.models.qwen3_vl import modeling_qwen3_vl as module

    from fitune.core.worker.architecture.model_class import classes_forgotten, outside_text

    name = "Qwen3VLForConditionalGeneration"
    own = type(name, (getattr(module, name),), {})
    monkeypatch.delattr(qwen3_vl, name, raising=False)  # asked for by another test
    config = AutoConfig.for_model("qwen3_vl", **FAMILIES["qwen3_vl"])
    with classes_forgotten():
        outside_text(config, remote_code=False)
    monkeypatch.setattr(module, name, own)
    with classes_forgotten(), torch.device("meta"):
        assert type(AutoModelForImageTextToText.from_config(config)) is own
