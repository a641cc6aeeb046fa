"""LoftQ on the CPU: PEFT names the card by "cuda", so its few lines are read with "cpu" in that place."""

import inspect
from pathlib import Path

import pytest

from fitune.core.recipe.load import parse
from fitune.core.worker.models import ModelFiles

pytestmark = pytest.mark.train


@pytest.mark.parametrize(("alpha", "rslora"), [(8, False), (16, False), (32, True)])
def test_the_adapter_makes_up_for_the_rounding_whatever_its_strength(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, alpha: float, rslora: bool
) -> None:
    import torch
    from bitsandbytes.functional import dequantize_4bit
    from peft.utils import loftq_utils
    from safetensors.torch import load_file

    from fitune.core.worker.training import model_with_adapter

    source = inspect.getsource(loftq_utils._loftq_init_new)
    assert 'else "cuda"' in source
    names = dict(vars(loftq_utils))
    exec(source.replace('else "cuda"', 'else "cpu"').replace("clear_device_cache()", "pass"), names)
    monkeypatch.setattr(loftq_utils, "_loftq_init_new", names["_loftq_init_new"])
    tree = {
        "model": {"id": str(tiny_model), "quant": "nf4"},
        "lora": {"r": 8, "alpha": alpha, "rslora": rslora, "init": "loftq"},
        "data": {"source": "-"},
        "train": {"backend": "trl", "checkpointing": "on"},
    }
    files = ModelFiles(tiny_model, "tiny", None)
    monkeypatch.setattr(model_with_adapter, "compute_dtype", lambda: "float32")
    base = model_with_adapter.base_model
    monkeypatch.setattr(model_with_adapter, "base_model", lambda *given: with_a_card(base(*given), monkeypatch))
    model = model_with_adapter.load(parse(tree, "test"), files).model

    whole = load_file(tiny_model / "model.safetensors")
    for name, layer in model.get_base_model().named_modules():
        if hasattr(layer, "lora_A"):
            rounded = dequantize_4bit(layer.base_layer.weight.data, layer.base_layer.weight.quant_state)
            lost = whole[f"{name}.weight"] - rounded
            assert torch.linalg.norm(lost - layer.get_delta_weight("default")) < 0.9 * torch.linalg.norm(lost), name


def with_a_card(model: object, monkeypatch: pytest.MonkeyPatch) -> object:
    """The loaded model; from now on torch says that there is a card."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    return model
