"""The merge job on a real small model: tensor by tensor, as PEFT itself merges, whole or not at all."""

import errno
import json
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fitune.core.errors import UserError
from fitune.core.runs import EventLog, Finished, Phase
from fitune.core.runs.run import Run
from tests.core.worker.conftest import train_here
from tests.events import data_of

pytestmark = pytest.mark.train
Q_PROJ = "model.layers.0.self_attn.q_proj.weight"


@pytest.fixture(autouse=True)
def short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fitune.core.worker.merging.compare_answers.WRITTEN_TOKENS", 16)


def merge_here(run: Run) -> None:
    """The merge job in this process."""
    from fitune.core.worker.memory_use import MemoryMeter
    from fitune.core.worker.merging import merge

    merge.run(run, EventLog(run.events, "merge"), MemoryMeter(None, None))


def adapt(run: Run, model: Path, **lora: Any) -> Any:
    """Leave an adapter with random matrices in the run, and give the model with it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(1)
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    settings: dict[str, Any] = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    tuned = get_peft_model(base, LoraConfig(**settings | lora))
    for name, parameter in tuned.named_parameters():
        if parameter.requires_grad:
            parameter.data += torch.randn_like(parameter) * (0.02 if "magnitude" in name else 0.05)
    tuned.save_pretrained(run.adapter)
    AutoTokenizer.from_pretrained(model).save_pretrained(run.adapter)
    return tuned


def weights(folder: Path) -> dict[str, Any]:
    """All tensors of a model folder."""
    from safetensors.torch import load_file

    return {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}


def test_a_trained_adapter_is_merged_proven_and_told(make_run: Callable[..., Run], tiny_model: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run = make_run()
    train_here(run)
    merge_here(run)
    assert AutoModelForCausalLM.from_pretrained(run.merged, dtype="auto").dtype.itemsize == 2
    saved = AutoTokenizer.from_pretrained(run.merged)
    assert saved.chat_template == AutoTokenizer.from_pretrained(tiny_model).chat_template
    assert json.loads((run.merged / "config.json").read_text())["dtype"] == "bfloat16"
    assert json.loads((run.merged / "generation_config.json").read_text())["eos_token_id"] == [2]
    assert not (run.path / "merged.part").exists()
    state = run.state()
    assert state.trained
    assert (state.job, state.phase.name) == ("merge", "prove")
    assert isinstance(state.end, Finished)
    assert state.end.merged == "merged"
    assert (state.end.tensors, state.end.changed_tensors) == (21, 14)
    assert state.end.bytes == sum(path.stat().st_size for path in run.merged.iterdir())
    assert state.end.proof == json.loads((run.merged / "proof.json").read_text())
    assert (state.end.proof or {})["passed"]

    merge_here(run)  # once more, over the older one
    assert not (run.path / "merged.old").exists()


@pytest.mark.parametrize(
    "lora",
    [
        {},
        {"use_rslora": True},
        {"use_dora": True},
        {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"q_proj": 32}},
        {"modules_to_save": ["lm_head"]},
        {"target_modules": ["q_proj", "lm_head"]},
        {"target_modules": ["q_proj", "embed_tokens"]},
    ],
    ids=str,
)
def test_each_tensor_is_what_peft_makes_of_it(
    make_run: Callable[..., Run], tiny_model: Path, monkeypatch: pytest.MonkeyPatch, lora: dict[str, Any]
) -> None:
    import torch
    from safetensors.torch import load_file

    monkeypatch.setattr(
        "fitune.core.worker.merging.tensors.BLOCK_WEIGHTS", 1000
    )  # so that each is made in several parts
    run = make_run()
    tuned = adapt(run, tiny_model, **lora)
    expected = tuned.merge_and_unload().state_dict()
    merge_here(run)
    merged, base = weights(run.merged), load_file(tiny_model / "model.safetensors")
    assert merged.keys() == base.keys() == expected.keys()
    for name, tensor in merged.items():
        assert tensor.dtype == torch.bfloat16
        torch.testing.assert_close(tensor.float(), expected[name], rtol=2**-8, atol=1e-6)


def test_all_chat_templates_of_a_model_are_in_the_merged_one(
    make_run: Callable[..., Run], tiny_model: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    model = shutil.copytree(tiny_model, tmp_path / "two")
    with_tools = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}{{ tools }}"
    (model / "additional_chat_templates").mkdir()
    (model / "additional_chat_templates" / "tool_use.jinja").write_text(with_tools)
    run = make_run(model={"id": str(model)})
    adapt(run, model)
    merge_here(run)
    templates = AutoTokenizer.from_pretrained(run.merged).chat_template
    assert templates.keys() == {"default", "tool_use"}
    assert templates["tool_use"] == with_tools


def test_biases_that_were_trained_are_replaced(make_run: Callable[..., Run], tmp_path: Path, tokenizer: Any) -> None:
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    folder = tmp_path / "qwen"
    Qwen2ForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    run = make_run(model={"id": str(folder)})
    tuned = adapt(run, folder, bias="all")
    merge_here(run)
    name = "model.layers.0.self_attn.q_proj.bias"
    expected = tuned.merge_and_unload().state_dict()[name]
    torch.testing.assert_close(weights(run.merged)[name].float(), expected, rtol=2**-8, atol=1e-6)


@pytest.mark.parametrize("lora", [{}, {"use_dora": True}], ids=str)
def test_matrices_that_are_stored_the_other_way_round_are_merged(
    make_run: Callable[..., Run], tmp_path: Path, tokenizer: Any, lora: dict[str, Any]
) -> None:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=len(tokenizer), n_embd=32, n_layer=1, n_head=2, n_positions=512, bos_token_id=1, eos_token_id=2
    )
    folder = tmp_path / "gpt2"
    GPT2LMHeadModel(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    run = make_run(model={"id": str(folder)})
    tuned = adapt(run, folder, **lora)
    expected = tuned.merge_and_unload().state_dict()
    merge_here(run)
    for name, tensor in weights(run.merged).items():
        torch.testing.assert_close(tensor.float(), expected[name], rtol=2**-8, atol=1e-6)


def test_the_files_are_split_as_the_base_has_them(
    make_run: Callable[..., Run], tiny_model: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    folder = tmp_path / "sharded"
    shutil.copytree(tiny_model, folder)
    (folder / "model.safetensors").unlink()
    AutoModelForCausalLM.from_pretrained(tiny_model).save_pretrained(folder, max_shard_size="100KB")
    run = make_run(model={"id": str(folder)})
    adapt(run, folder)
    merge_here(run)
    names = {path.name for path in folder.glob("*.safetensors")}
    assert {path.name for path in run.merged.glob("*.safetensors")} == names
    assert len(names) > 2
    index = json.loads((run.merged / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == names
    assert index["metadata"]["total_size"] == sum(each.nbytes for each in weights(run.merged).values())


@pytest.mark.parametrize(
    ("quantized", "config", "said"),
    [
        ("unsloth/Llama-3.2-1B-bnb-4bit", {}, "--base unsloth/Llama-3.2-1B$"),
        ("unsloth/Llama-3.2-1B-unsloth-bnb-4bit", {}, "--base unsloth/Llama-3.2-1B$"),
        ("unsloth/gpt-oss-120b-unsloth-bnb-4bit", {}, "--base unsloth/gpt-oss-120b-BF16$"),
        ("somebody/rounded", {"_name_or_path": "meta/whole"}, "--base meta/whole$"),
        ("somebody/rounded", {"_name_or_path": "/home/me/x"}, "--base ID, its full model"),
        ("unsloth/Mamba-bnb-4bit", {"time_step_limit": [0.0, float("inf")]}, "--base unsloth/Mamba$"),
    ],
)
def test_a_quantized_base_is_refused_with_the_full_one(
    make_run: Callable[..., Run], tmp_path: Path, quantized: str, config: dict[str, Any], said: str
) -> None:
    from fitune.core.worker.merging.merge import refuse_quantized
    from fitune.core.worker.models import ModelFiles

    (tmp_path / "config.json").write_text(json.dumps(config | {"quantization_config": {"load_in_4bit": True}}))
    with pytest.raises(UserError, match=f"holds quantized weights.*{said}"):
        refuse_quantized(make_run(), ModelFiles(tmp_path, quantized, None))


def test_settings_that_hold_infinity_are_read_and_written(tmp_path: Path) -> None:
    from fitune.core.worker.chats.stop_tokens import eos_ids
    from fitune.core.worker.merging.merge import _write_json

    _write_json(tmp_path / "config.json", {"time_step_limit": [0.0, float("inf")], "eos_token_id": 2})
    assert "Infinity" in (tmp_path / "config.json").read_text()
    assert eos_ids(tmp_path) == {2}


def test_another_base_is_taken_from_merge_json(make_run: Callable[..., Run], tiny_model: Path) -> None:
    run = make_run()
    adapt(run, tiny_model)
    info = json.loads((run.path / "run.json").read_bytes())
    info["recipe"]["model"]["id"] = "somebody/model-bnb-4bit"
    (run.path / "run.json").write_text(json.dumps(info))
    (run.path / "merge.json").write_text(json.dumps({"base": str(tiny_model)}))
    merge_here(run)
    assert run.merged.is_dir()


def test_a_base_that_was_moved_away_is_named_with_its_new_place(
    make_run: Callable[..., Run], tiny_model: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_model, tmp_path / "here")
    run = make_run(model={"id": str(tmp_path / "here")})
    adapt(run, tiny_model)
    (tmp_path / "here").rename(tmp_path / "there")
    with pytest.raises(UserError, match="here holds no model") as caught:
        merge_here(run)
    assert caught.value.hint.endswith(f"if it lies elsewhere by now: fitune merge {run.name} --base FOLDER")
    (run.path / "merge.json").write_text(json.dumps({"base": str(tmp_path / "there")}))
    merge_here(run)
    assert run.merged.is_dir()


def test_every_job_takes_the_commit_of_the_training_though_the_branch_has_moved(
    make_run: Callable[..., Run], tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fitune.core.worker.chat import Pipe, load

    old, new, asked = "a" * 40, "b" * 40, list[str | None]()
    (tmp_path / old).symlink_to(tiny_model)

    def download(model_id: str, revision: str | None = None, **_: Any) -> str:
        asked.append(revision)
        return str(tmp_path / (revision or (new if len(asked) > 1 else old)))

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    run = make_run(model={"id": "owner/tiny", "revision": None}, train={"max_steps": 2, "save_every": 1})
    train_here(run)
    shutil.rmtree(run.checkpoints / "checkpoint-2")
    train_here(run)  # a resume
    merge_here(run)
    with (tmp_path / "said").open("wb") as said:
        load(run, Pipe(said.fileno()), threading.Event())
    assert asked == [None, old, old, old]
    assert json.loads((run.adapter / "adapter_config.json").read_text())["revision"] == old
    end = run.state().end
    assert isinstance(end, Finished)
    assert (end.base, end.revision, (end.proof or {})["passed"]) == ("owner/tiny", old, True)


def test_the_writing_is_told_at_most_twice_a_second(
    make_run: Callable[..., Run], tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fitune.core.worker.merging import merge

    run, now_s = make_run(), [0.0]
    log = EventLog(run.events, "merge")
    monkeypatch.setattr(time, "monotonic", lambda: now_s[0])
    written = merge.WriteProgress(log, 100)
    for _ in written.counted([memoryview(bytes(10))] * 10):
        now_s[0] += 0.2
    told = data_of(run.events, Phase)
    assert [each.done_bytes for each in told] == [0, 30, 60, 90]
    assert {each.bytes for each in told} == {100}


def test_an_adapter_for_a_moved_base_is_not_merged_into_the_one_that_stood_still(
    make_run: Callable[..., Run], tiny_model: Path
) -> None:
    run = make_run()
    adapt(run, tiny_model, init_lora_weights="olora")
    with pytest.raises(UserError, match="with init olora: it fits a base whose weights were changed"):
        merge_here(run)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: folder.joinpath("adapter_model.safetensors").unlink(), "holds no adapter_model.safetensors"),
        (lambda folder: _set(folder, lora_bias=True), "biases of its own"),
    ],
)
def test_an_adapter_that_cant_be_merged_is_a_sentence(
    make_run: Callable[..., Run], tiny_model: Path, spoil: Callable[[Path], None], said: str
) -> None:
    from fitune.core.worker.merging.lora_delta import open_adapter

    run = make_run()
    adapt(run, tiny_model)
    spoil(run.adapter)
    with pytest.raises(UserError, match=said):
        open_adapter(run.adapter)


def _set(folder: Path, **settings: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | settings))


def test_without_an_adapter_there_is_nothing_to_merge(make_run: Callable[..., Run]) -> None:
    with pytest.raises(UserError, match="no adapter yet"):
        merge_here(make_run())


@pytest.mark.parametrize(("where", "said"), [("disk", "of disk, and .* has 0.0 GiB free"), ("ram", "of RAM")])
def test_too_little_room_is_said_before_anything_is_written(
    make_run: Callable[..., Run], tiny_model: Path, monkeypatch: pytest.MonkeyPatch, where: str, said: str
) -> None:
    run = make_run()
    adapt(run, tiny_model)
    if where == "disk":
        monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    else:
        monkeypatch.setattr("fitune.core.machine.host.detect", lambda: SimpleNamespace(ram_available_bytes=1000))
    with pytest.raises(UserError, match=said):
        merge_here(run)
    assert not (run.path / "merged.part").exists()


def test_an_embedding_that_is_changed_whole_needs_its_room_once(
    make_run: Callable[..., Run], tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fitune.core.worker.merging import merge
    from fitune.core.worker.merging.lora_delta import open_adapter, plan_merge

    run = make_run()
    adapt(run, tiny_model, target_modules=["q_proj", "embed_tokens"])
    plan = plan_merge(open_adapter(run.adapter), tiny_model, False)
    monkeypatch.setattr(merge, "WORKERS", 8)
    monkeypatch.setattr(merge, "BLOCK_WEIGHTS", 1000)
    monkeypatch.setattr("fitune.core.worker.merging.tensors.BLOCK_WEIGHTS", 1000)
    embedding = max(plan.base[name].weights for name in plan.changes)
    free_bytes = merge.LIBRARIES_BYTES + merge.SCRATCH_BYTES * 2 * embedding
    monkeypatch.setattr("fitune.core.machine.host.detect", lambda: SimpleNamespace(ram_available_bytes=free_bytes))
    merge.require_room(run, plan)
    monkeypatch.setattr(
        "fitune.core.machine.host.detect", lambda: SimpleNamespace(ram_available_bytes=merge.LIBRARIES_BYTES)
    )
    with pytest.raises(UserError, match="of RAM"):
        merge.require_room(run, plan)


def test_the_screen_tells_at_least_the_ram_that_the_merge_asks_for() -> None:
    from fitune.core.worker.merging import merge, tensors
    from fitune.tui.deliver.artifacts import MAX_MERGE_RAM_BYTES

    assert merge.LIBRARIES_BYTES + merge.SCRATCH_BYTES * 8 * tensors.BLOCK_WEIGHTS <= MAX_MERGE_RAM_BYTES


def test_a_tensor_without_a_place_in_the_base_is_never_skipped(make_run: Callable[..., Run], tiny_model: Path) -> None:
    from safetensors.torch import load_file, save_file

    run = make_run()
    adapt(run, tiny_model)
    file = run.adapter / "adapter_model.safetensors"
    held = {name.replace("layers.1", "layers.7"): tensor for name, tensor in load_file(file).items()}
    save_file(held, file, {"format": "pt"})
    with pytest.raises(UserError, match=r"7 of the 14 tensors .* not tensors of their own.*model\.layers\.7"):
        merge_here(run)


def test_an_adapter_on_shared_embeddings_is_refused(
    make_run: Callable[..., Run], tiny_model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "tied"
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
    run = make_run(model={"id": str(folder)})
    adapt(run, tiny_model, target_modules=["embed_tokens"])
    with pytest.raises(UserError, match="shares between its input and its output"):
        merge_here(run)


def test_numbers_that_are_not_finite_are_refused(make_run: Callable[..., Run], tiny_model: Path) -> None:
    from safetensors.torch import load_file, save_file

    run = make_run()
    adapt(run, tiny_model)
    file = run.adapter / "adapter_model.safetensors"
    held = load_file(file)
    held["base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"].fill_(float("nan"))
    save_file(held, file, {"format": "pt"})
    with pytest.raises(UserError, match="q_proj holds infinite numbers"):
        merge_here(run)


def test_a_full_disk_is_a_sentence_gives_the_room_back_and_keeps_what_was_there(
    make_run: Callable[..., Run], tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    adapt(run, tiny_model)
    run.merged.mkdir()

    def full(file: Path, *_: Any) -> None:
        file.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("fitune.core.worker.merging.merge.write", full)
    with pytest.raises(UserError, match=r"merged: No space left on device\. Fix that and start it again"):
        merge_here(run)
    assert run.merged.is_dir()
    assert not (run.path / "merged.part").exists()


def test_what_else_lies_in_the_adapters_folder_stays_there(
    make_run: Callable[..., Run], tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    adapt(run, tiny_model)
    for name in ("config.json", "generation_config.json", "model.safetensors", "setup.py"):
        (run.adapter / name).write_text("{}")
    (run.adapter / "tokenizer.old").mkdir()
    monkeypatch.setattr("fitune.core.worker.merging.proof.check_answers", lambda *_: None)
    merge_here(run)
    assert json.loads((run.merged / "config.json").read_bytes())["hidden_size"] == 64
    assert weights(run.merged).keys() == weights(tiny_model).keys()
    assert not (run.merged / "setup.py").exists()


def test_a_stop_before_the_merge_leaves_what_was_there(make_run: Callable[..., Run], tiny_model: Path) -> None:
    run = make_run()
    adapt(run, tiny_model)
    run.request_stop()
    merge_here(run)
    state = run.state()
    assert isinstance(state.end, Finished)
    assert state.end.stopped
    assert not run.merged.exists()
    assert not (run.path / "merged.part").exists()
