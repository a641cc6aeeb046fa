"""DPO, ORPO and KTO on the CPU: what they learn, against numbers made by hand, and that a resume changes nothing."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fitune.core.errors import UserError
from fitune.core.recipe import Objective
from fitune.core.runs import Eval, Finished, Preferred, RacedLap, Step
from fitune.core.runs.run import Run
from fitune.core.score import scores
from tests.core.worker.conftest import losses, race_here, train_here
from tests.core.worker.training.test_train import stop_at
from tests.events import data_of

pytestmark = pytest.mark.train
BETA = 0.1
OBJECTIVES: tuple[Objective, ...] = ("dpo", "orpo", "kto")


def asked(n: int) -> str:
    return f"What is {n} plus {n + 1}?"


def better(n: int) -> str:
    return f"It is {2 * n + 1}."


def worse(n: int) -> str:
    return f"No idea {n}, go away."


@pytest.fixture
def make(make_run: Callable[..., Run], tmp_path: Path) -> Callable[..., Run]:
    """Makes a run of an objective on 60 pairs; keyword arguments name groups of the recipe."""
    data = tmp_path / "pairs.jsonl"
    rows = [{"prompt": asked(n), "chosen": better(n), "rejected": worse(n)} for n in range(60)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def make(objective: Objective, **groups: dict[str, Any]) -> Run:
        train = {"objective": objective, "beta": BETA, "max_steps": 8, **groups.pop("train", {})}
        source = {"source": str(data), **groups.pop("data", {})}
        return make_run(data=source, lora={"dropout": 0}, train=train, **groups)

    return make


@pytest.mark.usefixtures("unasked")
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_it_learns_to_prefer_the_better_answers(make: Callable[..., Run], objective: Objective) -> None:
    run = make(objective)
    train_here(run)
    looks = data_of(run.events, Eval)
    assert [each.step for each in looks] == [0, 3, 6, 8]
    first, last = looks[0], looks[-1]
    assert first.loss is not None
    assert last.loss is not None
    assert last.loss < first.loss
    assert last.chosen_reward is not None
    assert last.rejected_reward is not None
    assert first.chosen_reward is not None
    assert first.rejected_reward is not None
    assert last.chosen_reward - last.rejected_reward > first.chosen_reward - first.rejected_reward
    assert last.pair_accuracy == (None if objective == "kto" else 1.0)
    assert objective != "dpo" or first.pair_accuracy == 0.5, "nothing is learnt yet: all rewards are 0"
    assert data_of(run.events, Step)[-1].chosen_reward is not None
    assert run.loss_fell()
    assert sorted(path.name for path in run.adapter.glob("*.safetensors")) == ["adapter_model.safetensors"]
    assert not [path for path in run.adapter.iterdir() if path.is_dir()], "no copy of the adapter beside it"


@pytest.mark.usefixtures("unasked")
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_stop_and_a_resume_change_no_loss(make: Callable[..., Run], objective: Objective) -> None:
    whole, halved = make(objective, run={"name": "whole"}), make(objective, run={"name": "halved"})
    train_here(whole)
    stop_at(halved, 4)
    train_here(halved)
    assert 4 <= max(losses(halved)) < 8
    train_here(halved)
    assert losses(halved) == losses(whole)
    assert (halved.adapter / "adapter_model.safetensors").read_bytes() == (
        whole.adapter / "adapter_model.safetensors"
    ).read_bytes()


@pytest.mark.usefixtures("unasked")
def test_the_loss_of_dpo_is_that_of_its_paper(make: Callable[..., Run], tiny_model: Path) -> None:
    """-log sigmoid of beta times the gain in log-odds, of answers behind the prompt that every program gives."""
    run = make("dpo", train={"patience": 0})
    train_here(run)
    looks = data_of(run.events, Eval)
    assert looks[0].loss == pytest.approx(math.log(2), abs=1e-6), "before the first step nothing has changed"
    assert (looks[0].chosen_reward, looks[0].rejected_reward) == (0, 0)

    from fitune.core.data import dataset, eval_fraction
    from fitune.core.data.split import split

    recipe = run.recipe()
    rows = list(dataset.rows(recipe.rows))
    _, held_out = split(rows, eval_fraction(recipe, len(rows)), recipe.train.seed)
    gains = [gain(run, tiny_model, rows[place]) for place in held_out]
    expected = sum(-math.log(1 / (1 + math.exp(-BETA * each))) for each in gains) / len(gains)
    assert looks[-1].rows == len(gains)
    delivered = next(each for each in looks if each.step == data_of(run.events, Finished)[-1].delivered_step)
    assert delivered.loss == pytest.approx(expected, rel=1e-4)


def gain(run: Run, base: Path, row: dict[str, Any]) -> float:
    """By how much the log-odds of the better answer have grown, worked out with PEFT and transformers alone."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(run.adapter)
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    tuned = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), run.adapter)
    asks = row["messages"][:-1]
    prompt = tokenizer.apply_chat_template(asks, add_generation_prompt=True, tokenize=False)

    def likelihood(model: Any, answer: str) -> float:
        before = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        ids = before + tokenizer(f"{answer}<|im_end|>", add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logs = torch.log_softmax(model(torch.tensor([ids])).logits[0, :-1], -1)
        return float(logs.gather(1, torch.tensor(ids[1:])[:, None])[len(before) - 1 :].sum())

    good, bad = row["messages"][-1]["content"], row["rejected"]["content"]
    return (likelihood(tuned, good) - likelihood(plain, good)) - (likelihood(tuned, bad) - likelihood(plain, bad))


@pytest.mark.usefixtures("unasked")
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_verdict_says_what_it_learnt_to_prefer(
    make: Callable[..., Run], objective: Objective, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fitune.core.worker.scoring.job.ask_probe", lambda *_: None)
    run = make(objective, train={"score": "all", "max_steps": 16}, data={"eval_fraction": 0.5})
    train_here(run)
    (told,) = data_of(run.events, Preferred)
    pairs = 30 if objective != "kto" else told.rows
    assert (told.word, told.rows, told.share) == ("better", pairs, 1.0)
    assert told.p < 1e-4
    assert told.growth > 1
    assert told.chosen_change > told.rejected_change
    kept = scores.read(run.path)
    assert kept is not None
    assert kept.preference is not None
    assert (kept.preference.share, len(kept.pairs), bool(kept.rows)) == (1.0, pairs, True)


def test_kto_needs_both_kinds_of_answers(make: Callable[..., Run], tmp_path: Path) -> None:
    path = tmp_path / "good.jsonl"
    rows = [{"prompt": asked(n), "completion": better(n), "label": True} for n in range(60)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = {"prompt": "prompt", "completion": "completion", "label": "label"}
    run = make("kto", data={"source": str(path), "columns": columns})
    with pytest.raises(UserError, match="All answers to train on are rated good"):
        train_here(run)


@pytest.mark.usefixtures("unasked", "short_race")
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_race_looks_at_the_pairs_of_a_micro_batch_together(
    make: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, objective: Objective
) -> None:
    from fitune.core.worker.scoring.race import Track

    train = {"max_steps": 4, "lr": 1e-3, "eval_every": None, "micro_batch": 3, "grad_accum": 1}
    together, alone = (make(objective, data={"eval_fraction": 0.2}, train=train) for _ in range(2))
    race_here(together, 0)
    monkeypatch.setattr(Track, "_rows_at_once", 1)
    race_here(alone, 0)
    looks = [data_of(run.events, Eval)[-1].rows for run in (together, alone)]
    one, other = (data_of(run.events, RacedLap)[-1].loss for run in (together, alone))
    assert looks[0] == looks[1]
    # The mean over pairs is the same for dpo; orpo weighs a batch by its tokens, kto takes its drift from the batch.
    assert one == pytest.approx(other, rel=1e-4 if objective == "dpo" else 0.1)
