"""The handed-off script trains as the worker does: the same losses, step by step, without fitune."""

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from fitune.core.deliver import handoff
from fitune.core.deliver.handoff.spec import from_run
from fitune.core.runs import Eval
from fitune.core.runs.run import Run
from tests.core.worker.conftest import losses, train_here
from tests.events import data_of

pytestmark = pytest.mark.train
CHATS = [
    {
        "messages": [
            {"role": "system", "content": "Answer in a word."},
            {"role": "user", "content": f"{n} or {n + 1}?"},
            {"role": "assistant", "content": f"{n}."},
            {"role": "user", "content": "Sure?"},
            {"role": "assistant", "content": "Yes. " * (n % 7)},
        ]
    }
    for n in range(40)
]
PAIRS = [{"prompt": f"Q: {n}?\nA:", "completion": f" {n} it is."} for n in range(40)]
TEXTS = [{"text": f"Line {n}: " + "so it goes, " * (n % 12)} for n in range(40)]


def run_alone(folder: Path, *launcher: str) -> dict[str, Any]:
    """Run run.py in a process of its own; what it says of its training."""
    command = [sys.executable, "-P", *launcher, "run.py"]
    environment = {**os.environ, "PYTHONPATH": str(folder), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return told(folder)


def run_here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run run.py in this process, which has torch loaded."""
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "render", raising=False)
    runpy.run_path(str(folder / "run.py"))
    return told(folder)


def told(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((folder / "trainer_state.json").read_text())
    return state


def logged(state: dict[str, Any], key: str) -> dict[int, float]:
    return {entry["step"]: entry[key] for entry in state["log_history"] if key in entry}


@pytest.mark.parametrize(
    ("rows", "groups"),
    [
        pytest.param(
            CHATS,
            {"train": {"max_steps": None, "epochs": 1.5, "eval_every": None}},
            id="chats, epochs",
            marks=pytest.mark.extra,
        ),
        pytest.param(PAIRS, {"data": {"packing": True}, "lora": {"rslora": True}}, id="pairs, packed"),
        pytest.param(
            TEXTS,
            {"model": {"max_seq_length": 64}, "data": {"loss_on": "all"}},
            id="texts, cut",
            marks=pytest.mark.extra,
        ),
    ],
)
def test_the_script_reaches_the_losses_of_the_run(
    make_run: Callable[..., Run],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rows: list[dict[str, Any]],
    groups: dict[str, dict[str, Any]],
) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    groups = {**groups, "data": {"packing": False, **groups.get("data", {}), "source": str(source)}}
    run = make_run(**groups)
    train_here(run)
    handoff.write("script", [from_run(run)], tmp_path / "out")
    same_losses(run_here(tmp_path / "out", monkeypatch), run)


def test_the_script_alone_needs_no_fitune_and_leaves_an_adapter_that_plain_peft_loads(
    make_run: Callable[..., Run], tiny_model: Path, tmp_path: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    run = make_run(data={"packing": False})
    train_here(run)
    names = handoff.write("script", [from_run(run)], tmp_path / "out")
    assert names == ["eval.jsonl", "model_class.py", "render.py", "run.py", "targets.py", "train.jsonl"]
    assert not any("from fitune" in (tmp_path / "out" / name).read_text() for name in names if name.endswith(".py"))
    same_losses(run_alone(tmp_path / "out"), run)
    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), tmp_path / "out" / "adapter")
    assert (tmp_path / "out" / "adapter" / "chat_template.jinja").exists()


def same_losses(state: dict[str, Any], run: Run) -> None:
    looks = json.loads((run.path / "looks" / "looks.json").read_text())["looks"]
    evals = {look["step"]: mean(look["losses"]) for look in looks}
    assert list(evals) == [each.step for each in data_of(run.events, Eval)]
    assert logged(state, "loss") == pytest.approx(losses(run), rel=1e-5)
    assert logged(state, "eval_loss") == pytest.approx(evals, rel=1e-5)


@pytest.mark.extra
def test_two_processes_make_the_steps_of_one(
    make_run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = {"max_steps": 3, "micro_batch": 2, "grad_accum": 1, "lr": 1e-3}
    run = make_run(lora={"dropout": 0.0}, train=train, data={"packing": False})
    train_here(run)
    handoff.write("accelerate", [from_run(run)], tmp_path / "out")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")  # as `accelerate launch --cpu`, which starts one process only
    state = run_alone(tmp_path / "out", "-m", "torch.distributed.run", "--nproc_per_node", "2")
    assert state["train_batch_size"] == 1  # a row of the two for each process
    assert logged(state, "loss") == pytest.approx(losses(run), rel=1e-3)
