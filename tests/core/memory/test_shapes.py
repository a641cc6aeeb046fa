"""Shapes: counts agree exactly with the real classes, and what can't be known is refused."""

import copy
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from fitune.core.errors import BadInput, UserError
from fitune.core.memory import shapes
from fitune.core.memory.shapes import known
from fitune.core.records import to_json
from tests.core.memory.shape_configs import CONFIGS, PARAMS

LLAMA = CONFIGS["Llama-3.1-8B"]
SHIPPED = {
    "HuggingFaceTB/SmolLM2-135M-Instruct": 134_515_008,
    "HuggingFaceTB/SmolLM2-360M-Instruct": 361_821_120,
    "HuggingFaceTB/SmolLM2-1.7B-Instruct": 1_711_376_384,
    "meta-llama/Llama-3.2-1B-Instruct": 1_235_814_400,
    "meta-llama/Llama-3.2-3B-Instruct": 3_212_749_824,
    "meta-llama/Llama-3.1-8B-Instruct": 8_030_261_248,
    "meta-llama/Llama-3.3-70B-Instruct": 70_553_706_496,
    "Qwen/Qwen2.5-0.5B-Instruct": 494_032_768,
    "Qwen/Qwen2.5-1.5B-Instruct": 1_543_714_304,
    "Qwen/Qwen2.5-3B-Instruct": 3_085_938_688,
    "Qwen/Qwen2.5-7B-Instruct": 7_615_616_512,
    "Qwen/Qwen2.5-14B-Instruct": 14_770_033_664,
    "Qwen/Qwen2.5-32B-Instruct": 32_763_876_352,
    "Qwen/Qwen2.5-72B-Instruct": 72_706_203_648,
    "Qwen/Qwen3-0.6B": 596_049_920,
    "Qwen/Qwen3-1.7B": 1_720_574_976,
    "Qwen/Qwen3-4B": 4_022_468_096,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "Qwen/Qwen3-14B": 14_768_307_200,
    "Qwen/Qwen3-32B": 32_762_123_264,
    "mistralai/Mistral-7B-Instruct-v0.3": 7_248_023_552,
    "google/gemma-2-2b-it": 2_614_341_888,
    "google/gemma-2-9b-it": 9_241_705_984,
    "google/gemma-3-1b-it": 999_885_952,
    "microsoft/Phi-3-mini-4k-instruct": 3_821_079_552,
    "microsoft/phi-4": 14_659_507_200,
    "google/gemma-4-26B-A4B-it": 25_805_933_872,
    "google/gemma-4-31B-it": 31_273_086_512,
    "google/gemma-4-E2B-it": 5_104_297_504,
    "google/gemma-4-E4B-it": 7_941_100_832,
    "mistralai/Ministral-3-3B-Base-2512": 3_849_090_048,
    "mistralai/Ministral-3-8B-Base-2512": 8_918_026_240,
    "mistralai/Ministral-3-14B-Base-2512": 13_945_031_680,
    "openai/gpt-oss-20b": 20_914_757_184,
    "openai/gpt-oss-120b": 116_829_156_672,
    "Qwen/Qwen3-30B-A3B": 30_532_122_624,
    "Qwen/Qwen3-VL-2B-Instruct": 2_127_532_032,
    "Qwen/Qwen3-VL-4B-Instruct": 4_437_815_808,
    "Qwen/Qwen3-VL-8B-Instruct": 8_767_123_696,
    "Qwen/Qwen3-VL-32B-Instruct": 33_357_390_064,
    "Qwen/Qwen3-VL-30B-A3B-Instruct": 31_070_754_032,
    "Qwen/Qwen3.5-9B": 9_409_813_744,
    "Qwen/Qwen3.5-27B": 27_356_728_560,
    "Qwen/Qwen3.5-35B-A3B": 35_107_181_936,
    "Qwen/Qwen3.5-122B-A10B": 122_562_817_776,
    "Qwen/Qwen3.6-27B": 27_356_728_560,
    "Qwen/Qwen3.6-35B-A3B": 35_107_181_936,
}
"""Totals as transformers' classes count them. Files of some hold a part more that it leaves out (the heads of Qwen3.5
for several tokens at once)."""


@pytest.mark.parametrize("name", CONFIGS)
def test_parameters_are_counted_exactly(name: str) -> None:
    assert shapes.from_config(CONFIGS[name], name).params == PARAMS[name]


@pytest.mark.train
@pytest.mark.parametrize("name", CONFIGS)
def test_the_counts_are_those_of_transformers_own_classes(name: str) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    values = copy.deepcopy(CONFIGS[name])
    auto = AutoModelForImageTextToText if "vision_config" in values else AutoModelForCausalLM
    with torch.device("meta"):
        model = auto.from_config(AutoConfig.for_model(values.pop("model_type"), **values))
    model.tie_weights()
    assert sum(weight.numel() for weight in model.parameters()) == PARAMS[name]


@pytest.mark.parametrize(("model_id", "params"), SHIPPED.items())
def test_the_presets_models_are_known_offline(model_id: str, params: int) -> None:
    assert shapes.load(model_id).params == params


def test_a_shape_is_counted_once_and_then_read_from_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answers, config = [to_json(shapes.from_config(LLAMA, "x"))], LLAMA | {"vocab_size": 5}
    monkeypatch.setattr(known, "_ask_job", lambda *_: answers.pop())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = shapes.from_config(config, "x")
    assert shapes.from_config(config, "x") == first


def test_a_kept_shape_of_another_fitune_is_counted_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    counted, config = to_json(shapes.from_config(LLAMA, "x")), LLAMA | {"vocab_size": 6}
    older = json.loads(json.dumps(counted))
    del older["kinds"][0]["norms"]
    answers = [counted, older]
    monkeypatch.setattr(known, "_ask_job", lambda *_: answers.pop())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert shapes.from_config(config, "x").kinds[0].norms == 0
    assert shapes.from_config(config, "x").kinds[0].norms == 2 * 4096


def test_a_shape_with_a_table_of_places_is_taken_for_the_same_number_of_places_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """That number changes no other model's sizes, so it is no part of the key."""
    config = LLAMA | {"vocab_size": 7}
    counted = replace(shapes.from_config(LLAMA, "x"), name="", made_for=None)
    answers = [to_json(replace(counted, positions=places, outside_others=places)) for places in (512, 2048)]
    monkeypatch.setattr(known, "_ask_job", lambda *_: answers.pop())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = [shapes.from_config(config | {"max_position_embeddings": places}, "x") for places in (2048, 2048, 512)]
    assert [shape.outside_others for shape in found] == [2048, 2048, 512]


@pytest.mark.parametrize(
    ("change", "made_for"),
    [
        ({"max_position_embeddings": 8192}, 8192),
        ({"max_position_embeddings": 8192, "text_config": {"max_position_embeddings": 4096}}, 4096),
        ({"text_config": None, "max_position_embeddings": "8k"}, None),
        ({"max_position_embeddings": 0}, None),
        ({}, None),
    ],
)
def test_the_length_that_a_model_was_made_for_is_read(
    change: dict[str, object], made_for: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = shapes.from_config(LLAMA, "x")
    monkeypatch.setattr(shapes, "shape_of", lambda *_: counted)
    assert shapes.from_config(LLAMA | change, "x").made_for == made_for


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"model-Q4_K_M.gguf": ""}, "GGUF files are made for answering"),
        ({"adapter_config.json": '{"base_model_name_or_path": "owner/base"}'}, "give the model .* owner/base"),
        ({"adapter_config.json": "{"}, "Give a Hub id"),
        ({}, "Give a Hub id"),
    ],
    ids=str,
)
def test_a_folder_that_holds_no_model_is_told_by_what_it_holds(
    files: dict[str, str], said: str, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match="holds no config") as caught:
        shapes.load(str(tmp_path))
    assert re.search(said, caught.value.hint)


def test_a_gguf_file_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(UserError, match="is a GGUF file"):
        shapes.load(str(tmp_path / "model.gguf"))


def test_the_line_of_a_broken_config_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{\n "model_type": "llama",\n "hidden_size": NULL\n}')
    with pytest.raises(UserError, match="line 3"):
        shapes.load(str(tmp_path))


def test_a_mirror_has_its_originals_parameters() -> None:
    for mirror, original in (
        ("unsloth/Meta-Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B-Instruct"),
        ("unsloth/phi-4", "microsoft/phi-4"),
        ("unsloth/Qwen3-8B", "Qwen/Qwen3-8B"),
    ):
        assert shapes.load(mirror).params == shapes.load(original).params


def test_unsloths_phi_has_separate_matrices_where_microsofts_are_fused() -> None:
    assert "qkv_proj" in {linear.name for linear, _ in shapes.load("microsoft/phi-4").matrices}
    assert "q_proj" in {linear.name for linear, _ in shapes.load("unsloth/phi-4").matrices}


def test_a_folder_and_its_config_file_give_the_same_shape(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    assert shapes.load(str(tmp_path)).params == shapes.load(str(tmp_path / "config.json")).params == 8_030_261_248


@pytest.mark.parametrize(
    ("name", "window", "windowed"),
    [("gemma-2-9b", 4096, 21), ("gemma-3-1b", 512, 22), ("Olmo-3-7B", 4096, 24), ("Llama-3.1-8B", None, 0)],
)
def test_windowed_layers_are_counted(name: str, window: int | None, windowed: int) -> None:
    shape = shapes.from_config(CONFIGS[name], name)
    assert (shape.window, shape.windowed_layers) == (window, windowed)


def test_a_prequantized_repository_is_recognised_with_the_matrices_it_kept() -> None:
    skips = ["lm_head", "model.layers.3.mlp", "model.layers.5.self_attn.q_proj", "layers.99"]
    stored = {"quant_method": "bitsandbytes", "load_in_4bit": True, "llm_int8_skip_modules": skips}
    shape = shapes.from_config(LLAMA | {"quantization_config": stored}, "x")
    assert shape.stored_as == "nf4"
    assert shape.kept_16bit == 3 * 4096 * 14336 + 4096 * 4096
    assert shape.params == 8_030_261_248


@pytest.mark.parametrize(
    ("skip", "kept"),
    [("self_attn", 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024)), ("attn", 0), ("q_proj", 32 * 4096 * 4096)],
)
def test_a_module_that_a_skip_list_names_is_kept_with_all_matrices_in_it(skip: str, kept: int) -> None:
    """As Unsloth's copies of gpt-oss in 4 bits say it: the whole 20B took 0.8 GiB more than it would in 4 bits."""
    stored = {"quant_method": "bitsandbytes", "load_in_4bit": True, "llm_int8_skip_modules": [skip]}
    shape = shapes.from_config(LLAMA | {"quantization_config": stored}, "x")
    assert shape.kept_16bit == kept


def test_another_quantization_is_named_not_guessed() -> None:
    shape = shapes.from_config(LLAMA | {"quantization_config": {"quant_method": "gptq"}}, "x")
    assert shape.stored_as == "gptq"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hidden_size": 0}, "hidden_size"),
        ({"hidden_size": -4096}, "hidden_size"),
        ({"hidden_size": "4096"}, "hidden_size"),
        ({"hidden_size": 4096.5}, "hidden_size"),
        ({"hidden_size": True}, "hidden_size"),
        ({"hidden_size": 10**5000}, "hidden_size"),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers"),
        ({"num_hidden_layers": 0}, "num_hidden_layers"),
        ({"vocab_size": 2**40}, "vocab_size"),
        ({"head_dim": 0}, "head_dim"),
        ({"n_embd": -4}, "n_embd"),
        ({"quantization_config": {"quant_method": "bitsandbytes", "llm_int8_skip_modules": [3]}}, "skip_modules"),
    ],
)
def test_impossible_values_are_named(change: dict[str, object], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        shapes.from_config(LLAMA | change, "config.json")


def test_a_model_larger_than_any_is_a_broken_file(monkeypatch: pytest.MonkeyPatch) -> None:
    huge = replace(shapes.from_config(LLAMA, "x"), tower=10**13)
    monkeypatch.setattr(shapes, "shape_of", lambda *_: huge)
    with pytest.raises(UserError, match="more than any has"):
        shapes.from_config(LLAMA, "x")


def test_all_problems_are_told_at_once() -> None:
    text = {"hidden_size": -1, "vocab_size": "many"}
    with pytest.raises(BadInput) as caught:
        shapes.from_config({"model_type": "gemma3", "num_hidden_layers": 0, "text_config": text}, "config.json")
    keys = {problem.where.split(": ")[1] for problem in caught.value.problems}
    assert keys == {"hidden_size", "num_hidden_layers", "vocab_size"}


@pytest.mark.parametrize("config", [None, [], "llama", 3, {}, {"model_type": ["llama"]}, {"model_type": 7}])
def test_what_is_no_model_is_refused(config: object) -> None:
    with pytest.raises(UserError, match="x "):
        shapes.from_config(config, "x")


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"model_type": "llama", "hidden_size": 1e999}', "\xff\x00"])
def test_a_broken_file_is_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=r"config\.json"):
        shapes.load(str(tmp_path))


@pytest.mark.parametrize("name", ["/no/such/folder", "./x", "~nobody-here/x", "a" * 5000, "a\0b", "no.json", "a/b/c/d"])
def test_a_name_that_is_nothing_is_a_sentence(name: str) -> None:
    with pytest.raises(UserError):
        shapes.load(name)


@pytest.mark.parametrize(
    ("status", "said", "hint"),
    [(401, "Invalid credentials in Authorization header", "Log in again"), (503, "Try later", "Try again in a while")],
)
def test_a_hub_that_answers_is_not_said_to_be_out_of_reach(
    monkeypatch: pytest.MonkeyPatch, status: int, said: str, hint: str
) -> None:
    import httpx
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    def refuse(*_: object) -> None:
        raise HfHubHTTPError(said, response=httpx.Response(status, request=httpx.Request("HEAD", "https://hub")))

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", refuse)
    with pytest.raises(UserError, match=rf"refused to hand out someone/some-model \(HTTP status {status}\)") as caught:
        shapes.load("someone/some-model")
    assert hint in caught.value.hint


def test_a_token_pasted_with_typographic_quotes_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "“hf_secret”")
    with pytest.raises(UserError, match="The Hub token holds characters that no token has") as caught:
        shapes.load("someone/some-model")
    assert caught.value.__cause__ is None  # which would hold the token


def test_without_a_network_the_hint_says_what_still_works(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub

    def unreachable(*_: object, **__: object) -> str:
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", unreachable)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", None)  # which would ask again and again, and say so
    with pytest.raises(UserError, match="can't be reached") as caught:
        shapes.load("someone/some-model")
    assert "folder" in caught.value.hint
