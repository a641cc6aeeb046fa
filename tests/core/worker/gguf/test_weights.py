"""A GGUF file holds the merged model's weights, or its proof says which are not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.core.worker.gguf.gguf_files import TensorChange, write_gguf

pytestmark = pytest.mark.train


@pytest.fixture
def prove(tiny_model: Path, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Writes a file and proves it, without llama.cpp: {check: (passed, got)}."""
    from fitune.core.worker.gguf import proof as gguf_proof

    monkeypatch.setattr("fitune.core.worker.gguf.run_in_llama_cpp.installed", lambda: False)

    def proven(
        kind: str, change: TensorChange | None = None, cut: int | None = None
    ) -> dict[str, tuple[bool | None, str]]:
        file = tmp_path / "m.gguf"
        write_gguf(file, tiny_model, kind, change)
        if cut is not None:
            file.write_bytes(file.read_bytes()[:cut])
        proof = gguf_proof.prove(file, kind, tiny_model, tokenizer, [2], [], None)
        assert proof.numbers.get("rounding", 0) >= 0
        return {check.check: (check.passed, check.got) for check in proof.checks}

    return proven


@pytest.mark.parametrize("kind", ["f16", "bf16", "q8_0"])
def test_a_sound_file_of_each_kind_passes(prove: Callable[..., Any], kind: str) -> None:
    checks = prove(kind)
    assert [passed for passed, _ in checks.values()] == [True] * 7 + [None]
    assert checks["weights"][1].endswith("of that at most")


def one_weight(off: float) -> TensorChange:
    """Changes a single weight of one matrix by so much."""

    def change(tensors: dict[str, Any], told: dict[str, Any]) -> None:
        tensors["blk.1.ffn_up.weight"] = tensors["blk.1.ffn_up.weight"].copy()
        tensors["blk.1.ffn_up.weight"][3, 5] += off

    return change


def rows_in_halves(tensors: dict[str, Any], told: dict[str, Any]) -> None:
    keys = tensors["blk.0.attn_k.weight"]
    tensors["blk.0.attn_k.weight"] = keys.reshape(2, len(keys) // 4, 2, -1).swapaxes(1, 2).reshape(keys.shape)


def no_numbers(tensors: dict[str, Any], told: dict[str, Any]) -> None:
    tensors["output_norm.weight"] = tensors["output_norm.weight"] * float("nan")


def swapped(tensors: dict[str, Any], told: dict[str, Any]) -> None:
    up, gate = "blk.0.ffn_up.weight", "blk.0.ffn_gate.weight"
    tensors[up], tensors[gate] = tensors[gate], tensors[up]


def lost(tensors: dict[str, Any], told: dict[str, Any]) -> None:
    del tensors["blk.0.ffn_down.weight"]


def added(tensors: dict[str, Any], told: dict[str, Any]) -> None:
    tensors["blk.9.ffn_down.weight"] = tensors["blk.0.ffn_down.weight"]


def turned(tensors: dict[str, Any], told: dict[str, Any]) -> None:
    tensors["blk.0.ffn_down.weight"] = tensors["blk.0.ffn_down.weight"].T.copy()


@pytest.mark.parametrize(
    ("kind", "change", "check", "got"),
    [
        ("f16", one_weight(0.001), "weights", "blk.1.ffn_up.weight is "),
        ("bf16", one_weight(0.002), "weights", "blk.1.ffn_up.weight is "),
        ("q8_0", one_weight(0.02), "weights", "blk.1.ffn_up.weight is "),
        ("q8_0", rows_in_halves, "weights", "blk.0.attn_k.weight is "),
        ("f16", no_numbers, "weights", "output_norm.weight is inf times that off"),
        ("f16", swapped, "weights", "blk.0.ffn_"),
        ("f16", lost, "tensors", "20, but 1 wrong, such as blk.0.ffn_down.weight"),
        ("f16", added, "tensors", "22, but 1 wrong, such as blk.9.ffn_down.weight"),
        ("f16", turned, "tensors", "21, but 1 wrong, such as blk.0.ffn_down.weight"),
    ],
)
def test_a_wrong_tensor_is_named(
    prove: Callable[..., Any], kind: str, change: TensorChange, check: str, got: str
) -> None:
    checks = prove(kind, change)
    assert checks[check][0] is False
    assert checks[check][1].startswith(got)
    assert [name for name, (passed, _) in checks.items() if passed is False] == [check]


@pytest.mark.parametrize(
    ("key", "value", "check", "got"),
    [
        ("template", None, "chat template", "another"),
        ("template", "{{ messages }}", "chat template", "another"),
        ("eos", None, "marks that end an answer", "none"),
        ("eos", 0, "marks that end an answer", "<|endoftext|>"),
        ("type", 2, "type of weights", "q4_0"),
    ],
)
def test_what_it_says_of_itself_is_that_of_the_training(
    prove: Callable[..., Any], key: str, value: Any, check: str, got: str
) -> None:
    checks = prove("f16", lambda tensors, told: told.update({key: value}))
    assert checks[check] == (False, got)


def test_a_token_in_anothers_place_is_found_though_texts_stay_as_long(prove: Callable[..., Any]) -> None:
    def shift(tensors: dict[str, Any], told: dict[str, Any]) -> None:
        told["tokens"] = told["tokens"][1:] + told["tokens"][:1]

    passed, got = prove("f16", shift)["vocabulary"]
    assert passed is False
    assert "259 of 259 are others, such as '<|im_start|>'" in got


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.1, 0.5, 0.9, 0.999])
def test_a_file_that_was_cut_off_anywhere_is_not_whole(prove: Callable[..., Any], tmp_path: Path, share: float) -> None:
    prove("q8_0")
    size = (tmp_path / "m.gguf").stat().st_size
    checks = prove("q8_0", cut=int(size * share))
    assert list(checks) == ["file"]
    assert checks["file"][0] is False


def test_an_architecture_whose_changes_are_not_known_is_not_judged(prove: Callable[..., Any]) -> None:
    passed, got = prove("f16", lambda tensors, told: told.update(arch="mamba"))["weights"]
    assert passed is None
    assert "does not know how llama.cpp stores mamba" in got


@pytest.mark.parametrize(
    ("arch", "name", "stored"),
    [
        ("gemma3", "blk.0.attn_norm.weight", [1.5, 3.0]),
        ("qwen3", "blk.0.attn_norm.weight", [0.5, 2.0]),
        ("gemma3", "blk.0.attn_q.bias", [0.5, 2.0]),
    ],
)
def test_gemmas_norms_are_kept_as_weight_plus_one(arch: str, name: str, stored: list[float]) -> None:
    import torch

    from fitune.core.worker.gguf.weights import _as_stored

    assert _as_stored(arch, name, torch.tensor([0.5, 2.0]), {}).tolist() == stored


def test_the_experts_of_a_layer_are_one_tensor_in_their_order(tmp_path: Path) -> None:
    from fitune.core.worker.gguf.weights import sources_of
    from fitune.core.worker.merging.tensors import TensorLocation

    names = [f"model.layers.0.mlp.experts.{number}.up_proj.weight" for number in range(12)]
    locations = {name: TensorLocation(tmp_path / name, "BF16", (2, 2), 0, 8) for name in sorted(names)}
    sources, homeless = sources_of(
        locations | {"odd": next(iter(locations.values()))}, "qwen3moe", {"num_hidden_layers": 1}
    )
    assert [location.file.name for location in sources["blk.0.ffn_up_exps.weight"]] == names
    assert homeless == ["odd"]


def test_a_tied_head_need_not_be_there(prove: Callable[..., Any], tiny_model: Path, tmp_path: Path) -> None:
    def without_head(tensors: dict[str, Any], told: dict[str, Any]) -> None:
        del tensors["output.weight"]

    assert prove("f16", without_head)["tensors"][0] is False
    path = tiny_model / "config.json"
    before = path.read_text()
    try:
        path.write_text(json.dumps(json.loads(before) | {"tie_word_embeddings": True}))
        assert prove("f16", without_head)["tensors"][0] is True
    finally:
        path.write_text(before)


@pytest.mark.parametrize(
    ("arch", "names"),
    [
        ("llama", ["model.text_model.layers.0.mlp.up_proj", "model.vision_model.layers.0.fc1", "model.connector.proj"]),
        (
            "mistral3",
            ["model.language_model.layers.0.mlp.up_proj", "model.vision_tower.conv", "multi_modal_projector.x"],
        ),
        ("qwen3", ["language_model.model.layers.0.mlp.up_proj", "visual.blocks.0.fc1", "audio_tower.conv1"]),
    ],
)
def test_of_a_model_that_also_sees_the_text_part_is_looked_for(arch: str, names: list[str]) -> None:
    from fitune.core.worker.gguf.weights import sources_of
    from fitune.core.worker.merging.tensors import TensorLocation

    locations = {f"{name}.weight": TensorLocation(Path("x"), "BF16", (4, 4), 0, 32) for name in names}
    sources, unnamed = sources_of(locations, arch, {"num_hidden_layers": 1})
    assert (list(sources), unnamed) == (["blk.0.ffn_up.weight"], [])
