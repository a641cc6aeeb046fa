"""Variants of LoRA with TRL on the CPU: each learns, goes on from a checkpoint with the same losses, and is merged."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fitune.core.errors import UserError
from fitune.core.runs.run import Run
from tests.core.worker.conftest import losses, train_here

pytestmark = pytest.mark.train

VARIANTS: dict[str, dict[str, Any]] = {
    "lora+": {"lora": {"lr_ratio": 8.0}},
    "lora+ in 8 bits": {"lora": {"lr_ratio": 8.0}, "train": {"optimizer": "adamw_8bit"}},
    "lora-fa": {"train": {"optimizer": "lora_fa"}},
    "rank pattern": {"lora": {"rank_pattern": {"down_proj": 4, "layers.0.self_attn.q_proj": 2}}},
    "embedding and head": {"lora": {"modules_to_save": ["embed_tokens", "lm_head"]}},
    "head of a model in 4 bits": {"model": {"quant": "nf4"}, "lora": {"modules_to_save": ["lm_head"]}},
    "some layers": {"lora": {"layers": [1]}},
    "all weights": {"train": {"weights": "all", "lr": 1e-3}},
    "all weights with Adafactor": {"train": {"weights": "all", "lr": 1e-3, "optimizer": "adafactor"}},
}


@pytest.fixture
def tied_model(tokenizer: Any, tmp_path: Path) -> Path:
    """A two-layer Llama whose head is its embedding, as a folder."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, bos_token_id=1, eos_token_id=2, pad_token_id=0,
        tie_word_embeddings=True,
    )  # fmt: skip
    folder = tmp_path / "tied"
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def merged_and_proven(run: Run) -> bool:
    """Merge a run; whether its proof passed."""
    from tests.core.worker.merging.test_merge import merge_here

    merge_here(run)
    return bool((run.state().end.proof or {})["passed"])  # type: ignore[union-attr]


def trained_and_resumed(run: Run) -> tuple[dict[int, float], dict[int, float]]:
    """The losses of a training of six steps, and those of the same that goes on from its checkpoint of step 3."""
    train_here(run)
    whole = losses(run)
    shutil.rmtree(run.checkpoints / "checkpoint-6")
    train_here(run)
    return whole, losses(run)


@pytest.fixture
def make_variant(make_run: Callable[..., Run]) -> Callable[..., Run]:
    """Makes a run of six steps, with a checkpoint at every third; keyword arguments name groups of the recipe."""

    def make(**groups: dict[str, Any]) -> Run:
        steps = {"max_steps": 6, "save_every": 3, "scheduler": "constant", "patience": 0}
        groups["train"] = {**steps, **groups.get("train", {})}
        groups["lora"] = {"dropout": 0, **groups.get("lora", {})}
        return make_run(**groups)

    return make


@pytest.mark.usefixtures("unasked")
@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_learns_resumes_and_is_merged(name: str, make_variant: Callable[..., Run]) -> None:
    run = make_variant(**VARIANTS[name])
    whole, resumed = trained_and_resumed(run)
    assert whole[6] < whole[1]
    assert resumed == pytest.approx(whole, abs=2e-3)
    assert merged_and_proven(run)


@pytest.mark.usefixtures("unasked")
@pytest.mark.parametrize("modules", [["embed_tokens"], ["lm_head"], ["embed_tokens", "lm_head"]], ids=str)
def test_one_matrix_for_input_and_output_stays_one(
    modules: list[str], tied_model: Path, make_variant: Callable[..., Run]
) -> None:
    from safetensors.torch import load_file

    run = make_variant(model={"id": str(tied_model)}, lora={"modules_to_save": modules})
    whole, resumed = trained_and_resumed(run)
    assert resumed == pytest.approx(whole, abs=2e-3)
    assert merged_and_proven(run)
    before, after = (load_file(folder / "model.safetensors") for folder in (tied_model, run.merged))
    assert "lm_head.weight" not in after
    name = "model.embed_tokens.weight"
    assert (before[name] - after[name].float()).abs().max() > 1e-3


@pytest.mark.usefixtures("unasked")
def test_lora_plus_gives_the_second_matrix_its_own_rate_after_a_resume_too(make_variant: Callable[..., Run]) -> None:
    import torch

    run = make_variant(**VARIANTS["lora+"])
    trained_and_resumed(run)
    state = torch.load(run.checkpoints / "checkpoint-6" / "optimizer.pt", weights_only=True)
    assert [group["lr"] for group in state["param_groups"] if group["params"]] == pytest.approx([1e-2, 8e-2])


@pytest.mark.usefixtures("unasked")
def test_lora_fa_leaves_the_first_matrix_as_it_was(make_variant: Callable[..., Run]) -> None:
    from safetensors.torch import load_file

    run = make_variant(train={"optimizer": "lora_fa"})
    train_here(run)
    early, late = (load_file(run.checkpoints / f"checkpoint-{step}" / "adapter_model.safetensors") for step in (3, 6))
    for name, tensor in early.items():
        assert tensor.equal(late[name]) is ("lora_A" in name), name


def test_states_of_lora_fa_go_where_its_weights_are() -> None:
    """From a checkpoint they are read into host RAM."""
    import torch

    from fitune.core.worker.training.variants.optimizers import put_states_beside_weights

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(2, device="meta"))], lr=1.0)
    optimizer.state["layers.0.lora"] = {"step": 3, "exp_avg_B": torch.zeros(2)}
    put_states_beside_weights(optimizer)
    state = optimizer.state["layers.0.lora"]
    assert (state["step"], state["exp_avg_B"].device.type) == (3, "meta")


def test_lora_fa_on_experts_is_refused(make_run: Callable[..., Run], tokenizer: Any, tmp_path: Path) -> None:
    from transformers import MixtralConfig, MixtralForCausalLM

    sizes = {"vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "num_local_experts": 2}
    MixtralForCausalLM(MixtralConfig(**sizes, **heads)).save_pretrained(tmp_path / "mixture")
    tokenizer.save_pretrained(tmp_path / "mixture")
    lora = {"target_modules": ["q_proj", "down_proj"], "dropout": 0}
    run = make_run(model={"id": str(tmp_path / "mixture")}, lora=lora, train={"optimizer": "lora_fa"})
    with pytest.raises(UserError, match="lora_fa can't train an adapter on the experts"):
        train_here(run)


def test_loftq_needs_a_card(make_run: Callable[..., Run]) -> None:
    with pytest.raises(UserError, match="loftq needs an NVIDIA card"):
        train_here(make_run(model={"quant": "nf4"}, lora={"init": "loftq", "dropout": 0}))


@pytest.mark.usefixtures("unasked")
def test_all_weights_are_trained_in_32_bits_and_the_base_stays_at_hand(
    tied_model: Path, make_variant: Callable[..., Run]
) -> None:
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    from fitune.core.worker import tuned_model
    from fitune.core.worker.models import ModelFiles

    train = {"weights": "all", "lr": 1e-3, "score": "auto"}
    run = make_variant(model={"id": str(tied_model)}, train=train)
    train_here(run)
    assert run.state().score
    kept, before = load_file(run.adapter / "adapter_model.safetensors"), load_file(tied_model / "model.safetensors")
    for name, tensor in before.items():
        trained = kept[f"base_model.model.{name}"]
        assert trained.dtype == torch.float32
        assert not trained.equal(tensor), name
    source = ModelFiles(tied_model, str(tied_model), None)
    tuned = tuned_model.load(run.recipe(), source, run.adapter)
    ids = torch.arange(20).unsqueeze(0)
    with torch.no_grad():
        with tuned.as_base():
            base = tuned.model(ids).logits
        after = tuned.model(ids).logits
        plain = AutoModelForCausalLM.from_pretrained(tied_model, dtype=torch.float32)(ids).logits
    torch.testing.assert_close(base, plain)
    assert (after - base).abs().max() > 0.1

    assert merged_and_proven(run)
    merged = load_file(run.merged / "model.safetensors")
    assert all(tensor.equal(kept[f"base_model.model.{name}"]) for name, tensor in merged.items())
    again = AutoModelForCausalLM.from_pretrained(run.merged, dtype="auto")
    assert again.dtype == torch.float32
    with torch.no_grad():
        torch.testing.assert_close(again(ids).logits, after)


def test_of_a_model_that_sees_only_the_text_is_trained() -> None:
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    from fitune.core.worker.architecture.targets import all_weights
    from tests.core.worker.training.test_families import FAMILIES

    for family in ("qwen3_vl", "qwen3_5"):
        config = AutoConfig.for_model(family, **FAMILIES[family])
        with torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(config)
        paths = tuple(f"{path}." for path in all_weights(model)["modules_to_save"])
        left_out = [name for name, _ in model.named_parameters() if not name.startswith(paths)]
        assert left_out
        assert all(".visual." in name for name in left_out), family


@pytest.mark.usefixtures("unasked")
@pytest.mark.parametrize(
    ("objective", "groups"),
    [
        ("dpo", {"lora": {"modules_to_save": ["lm_head"]}}),
        ("dpo", {"train": {"weights": "all"}}),
        ("kto", {"train": {"weights": "all"}}),
        ("orpo", {"train": {"weights": "all"}}),
    ],
)
def test_modules_that_are_trained_whole_learn_from_comparisons(
    objective: str, groups: dict[str, dict[str, Any]], make_variant: Callable[..., Run], tmp_path: Path
) -> None:
    pairs = ({"prompt": f"{n} and 1?", "chosen": f"It is {n + 1}.", "rejected": "Who knows?"} for n in range(20))
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    groups["train"] = {"objective": objective, "lr": 1e-3, **groups.get("train", {})}
    run = make_variant(data={"source": str(tmp_path / "pairs.jsonl")}, **groups)
    whole, resumed = trained_and_resumed(run)
    assert objective != "dpo" or whole[1] == pytest.approx(0.693, abs=1e-3)
    assert whole[6] < 0.95 * whole[1]
    assert resumed == pytest.approx(whole, abs=2e-3)
