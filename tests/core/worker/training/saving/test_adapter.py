"""An adapter as it is saved: on the plain base it is the model that was trained, however it was started."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fitune.core.runs.run import Run
from tests.core.worker.conftest import losses, train_here
from tests.core.worker.merging.test_merge import merge_here
from tests.core.worker.training.test_train import stop_at

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("unasked")]
IDS = tuple(range(3, 40))


@pytest.fixture
def trained_logits(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the model in memory makes of IDS each time that its adapter is saved."""
    import torch

    from fitune.core.worker.training.saving import adapter

    seen: list[Any] = []
    save = adapter.save

    def look(run: Run, model: Any, *rest: Any) -> None:
        with torch.no_grad():
            training = model.training
            seen.append(model.eval()(torch.tensor([IDS])).logits)
            model.train(training)
        save(run, model, *rest)

    monkeypatch.setattr(adapter, "save", look)
    return seen


def on_plain_base(run: Run, base: Path) -> Any:
    """The logits of the saved adapter on its base, by PEFT alone."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), run.adapter)
    with torch.no_grad():
        return model.eval()(torch.tensor([IDS])).logits


def settings(run: Run) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((run.adapter / "adapter_config.json").read_text())
    return told


@pytest.mark.parametrize(
    ("lora", "rank", "alpha"),
    [
        ({"init": "default"}, 16, 16),
        ({"init": "gaussian"}, 16, 16),
        ({"init": "orthogonal"}, 16, 16),
        ({"init": "pissa"}, 32, 32),
        ({"init": "olora"}, 32, 32),
        ({"init": "pissa", "rslora": True, "alpha": 8}, 32, 8 * 2**0.5),
        ({"init": "olora", "dora": True}, 32, 32),
        ({"init": "pissa", "r": 48, "layers": (1,)}, 96, 32),  # k_proj and v_proj have 32 rows only
    ],
    ids=str,
)
def test_on_the_plain_base_it_is_the_model_that_was_trained(
    make_run: Callable[..., Run],
    tiny_model: Path,
    trained_logits: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    lora: dict[str, Any],
    rank: int,
    alpha: float,
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    monkeypatch.setattr("fitune.core.worker.merging.compare_answers.WRITTEN_TOKENS", 16)
    run = make_run(lora=lora, train={"max_steps": 4})
    train_here(run)
    torch.testing.assert_close(on_plain_base(run, tiny_model), trained_logits[0], rtol=1e-4, atol=1e-4)
    base = AutoModelForCausalLM.from_pretrained(tiny_model)(torch.tensor([IDS])).logits
    assert (base - trained_logits[0]).abs().max() > 0.01
    assert (settings(run)["r"], settings(run)["lora_alpha"]) == (rank, pytest.approx(alpha))
    assert settings(run)["init_lora_weights"] == {"default": True, "pissa": True, "olora": True}.get(
        lora["init"], lora["init"]
    )
    merge_here(run)
    assert json.loads((run.merged / "proof.json").read_text())["passed"]


def test_biases_that_were_trained_stay_in_a_converted_adapter(
    make_run: Callable[..., Run], biased_model: Path, trained_logits: list[Any]
) -> None:
    import torch

    lora = {"init": "pissa", "bias": "all"}
    run = make_run(model={"id": str(biased_model)}, lora=lora, train={"max_steps": 3})
    train_here(run)
    torch.testing.assert_close(on_plain_base(run, biased_model), trained_logits[0], rtol=1e-4, atol=1e-4)


def test_a_stop_and_a_resume_change_nothing_in_it(make_run: Callable[..., Run]) -> None:
    import torch
    from safetensors.torch import load_file

    lora = {"init": "pissa"}
    whole, halved = make_run(run={"name": "whole"}, lora=lora), make_run(run={"name": "halved"}, lora=lora)
    train_here(whole)
    stop_at(halved, 4)
    train_here(halved)
    assert max(losses(halved)) < 8
    train_here(halved)
    assert losses(halved) == losses(whole)
    found, expected = (load_file(run.adapter / "adapter_model.safetensors") for run in (halved, whole))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_resume_where_the_weights_are_cut_otherwise_goes_on_from_the_first_cut(
    make_run: Callable[..., Run], tiny_model: Path, trained_logits: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    whole, halved = (make_run(run={"name": name}, lora={"init": "pissa"}) for name in ("whole", "halved"))
    train_here(whole)
    stop_at(halved, 4)
    train_here(halved)
    from fitune.core.worker.training import model_with_adapter

    settings = model_with_adapter._adapter_settings  # as another machine might cut them, only far more so
    cut = {"init_lora_weights": "olora"}
    monkeypatch.setattr(model_with_adapter, "_adapter_settings", lambda *known: {**settings(*known), **cut})
    train_here(halved)
    assert losses(halved) == pytest.approx(losses(whole), rel=1e-3)
    torch.testing.assert_close(on_plain_base(halved, tiny_model), trained_logits[-1], rtol=1e-4, atol=1e-4)


def test_a_base_at_16_bits_moves_the_answers_by_its_rounding_only(
    make_run: Callable[..., Run], tiny_model: Path, tmp_path: Path
) -> None:
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from fitune.core.worker.models import ModelFiles
    from fitune.core.worker.training.saving import adapter

    def base() -> Any:
        return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.bfloat16)

    run = make_run(lora={"init": "pissa"})
    torch.manual_seed(1)
    config = LoraConfig(r=16, lora_alpha=16, target_modules="all-linear", init_lora_weights="pissa",
                        task_type="CAUSAL_LM")  # fmt: skip
    model = get_peft_model(base(), config)
    adapter.remember_start(run, model)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.02 * torch.randn_like(parameter)
    adapter.save(run, model, AutoTokenizer.from_pretrained(tiny_model), ModelFiles(tiny_model, "a/b", "c0ffee"))
    plain = PeftModel.from_pretrained(base(), run.adapter)
    ids = torch.tensor([IDS])
    with torch.no_grad():
        trained, found, untrained = (each(ids).logits.float() for each in (model, plain, base()))
    assert (trained - found).abs().mean() < (trained - untrained).abs().mean() / 20


def test_a_start_is_put_back_where_weights_lie_the_other_way_round(make_run: Callable[..., Run]) -> None:
    """GPT-2 keeps a layer's weights as [in, out]."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import GPT2Config, GPT2LMHeadModel

    from fitune.core.worker.training.saving import adapter

    def model(init: str) -> Any:
        torch.manual_seed(0)
        base = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=32, n_layer=1, n_head=2, n_positions=64))
        config = LoraConfig(r=8, target_modules=["c_attn", "c_proj"], init_lora_weights=init, fan_in_fan_out=True)
        return get_peft_model(base, config).eval()

    run = make_run(lora={"init": "pissa"})
    first, again = model("pissa"), model("pissa_niter_1")  # as another machine might, only less exactly
    adapter.remember_start(run, first)
    adapter.remember_start(run, again)
    held, found = first.state_dict(), again.state_dict()
    for name, matrix in held.items():
        torch.testing.assert_close(found[name], matrix, rtol=1e-4, atol=1e-5)


def test_older_transformers_know_the_words_of_the_tokenizers_settings(tokenizer: Any, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    from fitune.core.worker.training.saving.adapter import name_tokenizer_for_all

    tokenizer.save_pretrained(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    assert json.loads(path.read_bytes())["tokenizer_class"] == "TokenizersBackend"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"extra_special_tokens": ["<|im_start|>"]}))
    name_tokenizer_for_all(tmp_path)
    settings = json.loads(path.read_bytes())
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert settings["additional_special_tokens"] == ["<|im_start|>"]
    assert "extra_special_tokens" not in settings
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert "<|im_start|>" in again.all_special_tokens
    assert again.chat_template == tokenizer.chat_template
