"""The real training on the CPU: what it leaves behind, and that a stop and a resume change nothing."""

import json
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fitune.core.errors import UserError
from fitune.core.runs import Eval, Finished, Started, Step, Tail
from fitune.core.runs.run import Run
from tests.core.worker.conftest import losses, train_here
from tests.events import data_of, step_of

pytestmark = pytest.mark.train


def stop_at(run: Run, step: int) -> None:
    """Ask for a stop once a step is done, from outside, as `fitune stop` does."""

    def watch() -> None:
        while max(losses(run), default=0) < step:
            time.sleep(0.005)
        run.request_stop()

    threading.Thread(target=watch, daemon=True).start()


def test_a_run_tells_its_story_and_leaves_an_adapter(
    make_run: Callable[..., Run], tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, flushed = make_run(), list[Path]()
    monkeypatch.setattr("fitune.core.worker.training.saving.checkpoints.flush", flushed.append)
    train_here(run)
    events = list(Tail(run.events).read())
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert isinstance(events[0].data, Started)
    end = events[-1].data
    assert isinstance(end, Finished)
    assert not end.stopped
    assert [each.step for each in data_of(run.events, Eval)] == [0, 3, 6, 8]
    assert run.loss_fell()
    assert [path.name for path in sorted(run.checkpoints.iterdir())] == ["checkpoint-6", "checkpoint-8"]
    assert flushed == [run.path / "work" / f"checkpoint-{step}" for step in (3, 6, 8)], "before they appear"
    assert not (run.path / "work").exists()

    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    ids = torch.arange(3, 20)[None]
    before = base(ids).logits
    after = PeftModel.from_pretrained(base, run.adapter)(ids).logits
    assert (before - after).abs().max() > 1e-3
    assert (run.adapter / "chat_template.jinja").exists()


def test_a_stop_and_a_resume_change_no_loss(make_run: Callable[..., Run]) -> None:
    whole, halved = make_run(run={"name": "whole"}), make_run(run={"name": "halved"})
    train_here(whole)
    stop_at(halved, 4)
    train_here(halved)
    first = end_of(halved)
    assert first.stopped
    stopped_at = max(losses(halved))
    assert 4 <= stopped_at < 8
    assert halved.newest_checkpoint() == halved.checkpoints / f"checkpoint-{stopped_at}"
    train_here(halved)
    end = end_of(halved)
    assert end.steps == 8
    assert first.elapsed_s
    assert end.elapsed_s
    assert end.elapsed_s > first.elapsed_s, "both parts count"
    assert losses(halved) == losses(whole)
    assert end_of(halved).seen_tokens == end_of(whole).seen_tokens


def test_the_adapter_names_the_base_model_as_the_world_knows_it(
    make_run: Callable[..., Run], tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(model={"id": "owner/tiny"}, train={"max_steps": 1})
    snapshot = tiny_model.parent / "0123456789abcdef"
    if not snapshot.exists():
        snapshot.symlink_to(tiny_model)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(snapshot))
    train_here(run)
    config = json.loads((run.adapter / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "owner/tiny"
    assert config["revision"] == "0123456789abcdef"


@pytest.mark.usefixtures("unasked")
def test_packing_trains_the_same_tokens_in_fewer_rows(make_run: Callable[..., Run]) -> None:
    plain, packed = make_run(train={"max_steps": None}), make_run(train={"max_steps": None}, data={"packing": True})
    train_here(plain)
    train_here(packed)
    assert end_of(packed).seen_tokens == end_of(plain).seen_tokens
    assert step_of(packed) < step_of(plain)


def test_packed_rows_do_not_see_each_other(make_run: Callable[..., Run]) -> None:
    """With the whole set in one batch the mean loss over all tokens must not depend on how rows are laid out."""
    whole_set = {"micro_batch": 64, "grad_accum": 1, "max_steps": 1, "eval_every": None}
    plain = make_run(train=whole_set, data={"eval_fraction": 0}, lora={"dropout": 0})
    packed = make_run(train=whole_set, data={"eval_fraction": 0, "packing": True}, lora={"dropout": 0})
    train_here(plain)
    train_here(packed)
    assert losses(packed)[1] == pytest.approx(losses(plain)[1], abs=1e-5)


def test_the_split_of_a_batch_changes_neither_loss_nor_gradient(make_run: Callable[..., Run], tmp_path: Path) -> None:
    """A step of plain gradient descent moves the weights by the gradient. Rows are 1 to 25 words long: a mean over
    micro-batches, each with a mean of its own tokens, would be another one."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"question": "Say it.", "answer": "word " * (1 + n)}) + "\n" for n in range(25)))

    def trained(micro_batch: int, grad_accum: int, micro_tokens: int | None = None) -> tuple[float, dict[str, Any]]:
        from safetensors.torch import load_file

        split = {"micro_batch": micro_batch, "grad_accum": grad_accum, "micro_tokens": micro_tokens}
        columns = {"question": "question", "answer": "answer"}
        run = make_run(
            train={**split, "max_steps": 1, "optimizer": "sgd", "eval_every": None, "lr": 1.0, "max_grad_norm": 1000},
            data={"source": str(rows), "columns": columns, "eval_fraction": 0},
            lora={"dropout": 0},
        )
        train_here(run)
        return losses(run)[1], load_file(run.adapter / "adapter_model.safetensors")

    loss, weights = trained(8, 1)
    for other in ((2, 4, None), (1, 8, None), (8, 1, 64)):
        other_loss, other_weights = trained(*other)
        assert other_loss == pytest.approx(loss, rel=1e-5)
        for name, matrix in weights.items():
            assert (other_weights[name] - matrix).abs().max() < 1e-5, name
    assert max(matrix.abs().max() for name, matrix in weights.items() if "lora_B" in name) > 1e-3, "it has learned"


@pytest.mark.usefixtures("unasked")
@pytest.mark.parametrize("train", [{"max_steps": 1}, {"max_steps": None, "micro_batch": 64, "epochs": 1}])
def test_the_only_step_of_a_run_is_no_warm_up(make_run: Callable[..., Run], train: dict[str, Any]) -> None:
    run = make_run(train={**train, "warmup_ratio": 0.1})
    train_here(run)
    (rate,) = [each.lr for each in data_of(run.events, Step)]
    assert rate == run.recipe().train.lr


def test_rows_without_an_answer_inside_the_length_are_refused_before_training(make_run: Callable[..., Run]) -> None:
    run = make_run(model={"max_seq_length": 32})
    with pytest.raises(UserError, match="nothing to train on"):
        train_here(run)


def test_chosen_layers_get_the_adapter_and_the_rate_falls_to_its_least(make_run: Callable[..., Run]) -> None:
    run = make_run(lora={"layers": [1]}, train={"scheduler": "cosine_with_min_lr", "lr": 1e-2})
    train_here(run)
    from safetensors import safe_open

    with safe_open(run.adapter / "adapter_model.safetensors", "pt") as file:
        assert {name.split(".layers.")[1].split(".")[0] for name in file.keys()} == {"1"}  # noqa: SIM118
    rates = [each.lr or 0.0 for each in data_of(run.events, Step)]
    assert min(rates[1:]) >= 1e-3


@pytest.mark.parametrize(
    ("lora", "said"),
    [
        ({"target_modules": ["c_attn"]}, "choose nothing in this model"),
        ({"target_modules": ["input_layernorm"]}, "choose nothing in this model"),
        ({"layers": [7]}, "choose nothing in this model"),
    ],
)
def test_modules_that_take_no_adapter_are_a_sentence(
    make_run: Callable[..., Run], lora: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        train_here(make_run(lora=lora))


def test_a_folder_without_a_model_is_a_sentence(make_run: Callable[..., Run], tmp_path: Path) -> None:
    run = make_run(model={"id": str(tmp_path)})
    with pytest.raises(UserError, match="holds no model"):
        train_here(run)


def end_of(run: Run) -> Finished:
    """The last event of a training that did not fail."""
    end = run.state().ends["train"]
    assert isinstance(end, Finished)
    return end


def stop_while_it_reads(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask for a stop when the model is loaded and the rows are not."""
    from fitune.core.worker.rows.training_rows import read_rows
    from fitune.core.worker.training import train

    def stopped_meanwhile(*known: Any) -> Any:
        run.request_stop()
        return read_rows(*known)

    monkeypatch.setattr(train, "read_rows", stopped_meanwhile)


def test_a_stop_before_the_first_step_leaves_an_earlier_adapter_alone(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    run.adapter.mkdir()
    stop_while_it_reads(run, monkeypatch)
    train_here(run)
    assert run.current()[0] == "stopped"
    assert list(run.adapter.iterdir()) == []


@pytest.mark.usefixtures("unasked")
def test_a_run_killed_after_its_last_step_is_finished_without_another(make_run: Callable[..., Run]) -> None:
    run = make_run(train={"max_steps": 2, "scheduler": "constant"})
    train_here(run)
    first = end_of(run)
    weights = (run.adapter / "adapter_model.safetensors").read_bytes()
    shutil.rmtree(run.adapter)
    train_here(run)
    end = end_of(run)
    assert replace(end, elapsed_s=None, memory=None) == replace(first, elapsed_s=None, memory=None)
    assert max(losses(run)) == 2
    assert (run.adapter / "adapter_model.safetensors").read_bytes() == weights


@pytest.mark.usefixtures("unasked")
def test_a_resume_that_is_stopped_while_it_loads_stands_where_it_stood(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(train={"max_steps": 3, "save_every": 1})
    train_here(run)
    shutil.rmtree(run.checkpoints / "checkpoint-3")
    stop_while_it_reads(run, monkeypatch)
    train_here(run)
    end = end_of(run)
    assert (end.stopped, end.steps, end.total_steps, end.last_loss) == (True, 2, 3, losses(run)[2])
    weights = [folder / "adapter_model.safetensors" for folder in (run.adapter, run.checkpoints / "checkpoint-2")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_on_a_card_without_bf16_what_is_trained_is_fp32() -> None:
    import torch

    from fitune.core.worker.training.model_with_adapter import widen

    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)).to(torch.bfloat16)
    model[0].requires_grad_(False)
    widen(model)
    assert [each.weight.dtype for each in model] == [torch.bfloat16, torch.float32]


def test_an_optimizer_whose_package_is_absent_is_said_before_anything_is_loaded(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fitune.core.worker.training import train

    monkeypatch.setattr(train, "find_spec", lambda name: None)
    run = make_run(train={"optimizer": "schedule_free_adamw"})
    with pytest.raises(UserError, match="the package schedulefree is not installed"):
        train_here(run)
    assert not run.events.read_bytes()
