"""A model so small that real training takes a second, made once."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fitune.core import runs
from fitune.core.recipe.load import parse
from fitune.core.runs import EventLog, Step
from fitune.core.runs.run import Run
from tests.events import data_of

TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """A byte-level tokenizer with the ChatML marks."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(
        [], trainers.BpeTrainer(vocab_size=300, special_tokens=marks, initial_alphabet=alphabet, show_progress=False)
    )
    made = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    made.chat_template = TEMPLATE
    return made


@pytest.fixture(scope="session")
def tiny_model(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer Llama of 0.1 M parameters, as a folder."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("model") / "tiny"
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def biased_model(tokenizer: Any, tmp_path: Path) -> Path:
    """A one-layer Qwen2, whose attention has biases, as a folder."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    folder = tmp_path / "biased"
    Qwen2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def make_run(tiny_model: Path, tmp_path: Path) -> Callable[..., Run]:
    """Makes a run of the tiny model on 40 sums; keyword arguments name groups of the recipe. It is not scored, which
    takes as long as its few steps."""
    rows = [{"question": f"What is {n} plus {n + 1}?", "answer": f"It is {2 * n + 1}."} for n in range(40)]
    data = tmp_path / "sums.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def make(**groups: dict[str, Any]) -> Run:
        tree: dict[str, dict[str, Any]] = {
            "model": {"id": str(tiny_model), "quant": "bf16", "max_seq_length": 128},
            "data": {"source": str(data)},
            "lora": {"dropout": 0.1},
            "train": {
                "backend": "trl", "checkpointing": "on", "optimizer": "adamw_torch", "lr": 1e-2,
                "micro_batch": 2, "grad_accum": 2, "max_steps": 8, "eval_every": 3, "save_every": 3,
                "score": "off",
            },
        }  # fmt: skip
        for group, fields in groups.items():
            tree.setdefault(group, {}).update(fields)
        return runs.create(parse(tree, "test"), tmp_path / "home")

    return make


@pytest.fixture
def unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings ask no held-out questions: their answers take longer than the few steps of a test."""
    monkeypatch.setattr("fitune.core.worker.training.samples.QUESTIONS", 0)


def train_here(run: Run) -> None:
    """The train job in this process: what the worker does between taking the lock and letting it go."""
    from fitune.core.worker.memory_use import MemoryMeter
    from fitune.core.worker.training import model_with_adapter

    model_with_adapter.prepare("trl")
    from fitune.core.worker.training import train

    run.stop.unlink(missing_ok=True)
    train.run(run, EventLog(run.events, "train"), MemoryMeter(None, None))


def race_here(run: Run, budget_s: float) -> None:
    """The tune-lr job in this process, with so many seconds."""
    import orjson

    from fitune.core.worker.memory_use import MemoryMeter
    from fitune.core.worker.scoring import race

    (run.path / "tune-lr.json").write_bytes(orjson.dumps({"budget_s": budget_s}))
    race.run(run, EventLog(run.events, "tune-lr"), MemoryMeter(None, None))


@pytest.fixture
def short_race(monkeypatch: pytest.MonkeyPatch) -> None:
    """Races have a lap of four steps, with the recipe's rate."""
    monkeypatch.setattr("fitune.core.score.race.first_steps", lambda *_: 4)
    monkeypatch.setattr("fitune.core.score.race.rates", lambda lr: (lr,))
    monkeypatch.setattr("fitune.core.score.race.beside", lambda _: None)


def losses(run: Run) -> dict[int, float]:
    """Loss by step, the newest word on each step."""
    return {each.step: each.loss for each in data_of(run.events, Step) if each.loss is not None}


def poison(run: Run) -> None:
    """Point the run at a copy of its model whose final norm is not a number."""
    import orjson
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    info = orjson.loads((run.path / "run.json").read_bytes())
    folder = run.path / "poisoned"
    model = AutoModelForCausalLM.from_pretrained(info["recipe"]["model"]["id"])
    with torch.no_grad():
        model.model.norm.weight[0] = float("nan")
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(info["recipe"]["model"]["id"]).save_pretrained(folder)
    info["recipe"]["model"]["id"] = str(folder)
    (run.path / "run.json").write_bytes(orjson.dumps(info))
