"""A base model whose files are missing or damaged is refused before it is loaded, with the file's name."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from fitune.core.errors import BadInput
from fitune.core.worker.architecture.base_files import refuse_damaged

Damage = Callable[[Path], object]


def tensors(size: int = 64, name: str = "q.weight", dtype: str = "BF16") -> bytes:
    head = json.dumps({name: {"dtype": dtype, "shape": [size // 2], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(head)) + head + bytes(size)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "tokenizer.json").write_text("{}")
    for name in ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"):
        (tmp_path / name).write_bytes(tensors())
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    return tmp_path


def test_a_whole_model_is_let_pass(folder: Path) -> None:
    refuse_damaged(folder)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda at: (at / "config.json").write_text("{"), r"config\.json: is no valid JSON"),
        (lambda at: (at / "config.json").write_text("[]"), r"config\.json: names no model_type"),
        (
            lambda at: (at / "config.json").write_text('{"model_type": "llama", "num_hidden_layers": 100000000}'),
            "num_hidden_layers: must be between 1 and",
        ),
        (lambda at: (at / "config.json").unlink(), r"config\.json: can't be read: No such file"),
        (lambda at: (at / "model-00002-of-00002.safetensors").unlink(), "model-00002-of-00002.safetensors: is missing"),
        (lambda at: (at / "model-00001-of-00002.safetensors").write_bytes(tensors()[:-9]), "00001-of-.*: is cut off"),
        (lambda at: (at / "model-00001-of-00002.safetensors").write_bytes(bytes(99)), "00001.*is no safetensors file"),
        (lambda at: (at / "model-00001-of-00002.safetensors").write_text("version https://git-lfs"), "00001.*cut off"),
        (lambda at: (at / "model.safetensors.index.json").write_text("[3]"), "index.json: does not say"),
        (lambda at: (at / "tokenizer.json").unlink(), "holds no tokenizer"),
    ],
)
def test_damage_is_told_with_its_file(folder: Path, damage: Damage, said: str) -> None:
    damage(folder)
    with pytest.raises(BadInput, match=said):
        refuse_damaged(folder)


@pytest.mark.parametrize(
    ("name", "dtype"), [("q.weight", "F8_E4M3"), ("experts.gate_up_proj", "F8_E5M2"), ("q.qweight", "I32"),
                        ("q.weight", "U8")],
)  # fmt: skip
def test_quantized_weights_are_refused_where_config_json_does_not_tell_of_them(
    folder: Path, name: str, dtype: str
) -> None:
    (folder / "model-00002-of-00002.safetensors").write_bytes(tensors(name=name, dtype=dtype))
    with pytest.raises(BadInput, match=rf"00002.*is quantized.*{name} \({dtype}\)"):
        refuse_damaged(folder)
    (folder / "config.json").write_text('{"model_type": "llama", "quantization_config": {"quant_method": "any"}}')
    refuse_damaged(folder)


@pytest.mark.parametrize(("name", "dtype"), [("attn.bias", "U8"), ("position_ids", "I64"), ("q.weight", "F32")])
def test_masks_and_places_as_whole_numbers_are_no_weights(folder: Path, name: str, dtype: str) -> None:
    (folder / "model-00002-of-00002.safetensors").write_bytes(tensors(name=name, dtype=dtype))
    refuse_damaged(folder)


def test_all_damage_is_told_at_once(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    (folder / "tokenizer.json").unlink()
    (folder / "model-00001-of-00002.safetensors").write_bytes(b"")
    with pytest.raises(BadInput) as told:
        refuse_damaged(folder)
    assert len(told.value.problems) == 3
