"""The rows of a run are the same after a resume, or it is told."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fitune.core.errors import UserError
from fitune.core.recipe.load import Recipe
from fitune.core.runs import EventLog, Tail, Warned
from fitune.core.runs.run import Run
from tests.core.worker.chat_models import tokenizer
from tests.core.worker.conftest import train_here
from tests.events import data_of

pytestmark = pytest.mark.train
ROWS: list[dict[str, Any]] = [
    {"prompt": "0", "completion": "x", "tools": [{"most": 2**70}]},
    *({"prompt": f"{n}", "completion": "x"} for n in (1, 2)),
]


@pytest.mark.parametrize(
    ("later", "told"),
    [
        (ROWS, []),
        ([*ROWS, {"prompt": "new", "completion": "x"}], ["(3 rows then, 4 now)"]),
        (ROWS[::-1], ["(3 rows then, 3 now)"]),
        ([*ROWS[:2], {"prompt": "2", "completion": "y"}], ["(3 rows then, 3 now)"]),
    ],
)
@pytest.mark.parametrize("checkpoint", [True, False])
def test_rows_that_changed_between_a_checkpoint_and_its_resume_are_told(
    tmp_path: Path, later: list[dict[str, Any]], told: list[str], checkpoint: bool
) -> None:
    from fitune.core.worker.rows.training_rows import keep_digest

    run = Run(tmp_path)
    log = EventLog(run.events, "train")
    keep_digest(run, ROWS, [1], log)
    if checkpoint:
        (run.checkpoints / "checkpoint-5").mkdir(parents=True)
    keep_digest(run, later, [1], log)
    said = [each.message for each in data_of(run.events, Warned) if each.kind == "changed"]
    assert len(said) == (len(told) if checkpoint else 0)
    assert all(part in message for part, message in zip(told, said, strict=False))


def test_held_out_rows_without_an_answer_are_told(
    tmp_path: Path, recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fitune.core.worker.rows import training_rows

    source = tmp_path / "pairs.jsonl"
    source.write_text("".join(json.dumps({"prompt": "a" * n, "completion": "b"}) + "\n" for n in (1, 60)))
    monkeypatch.setattr(training_rows, "split", lambda *_: ([0], [1]))
    run = Run(tmp_path)
    wanted = recipe(data={"source": str(source), "format": "prompt_completion"}, model={"max_seq_length": 32})
    log = EventLog(run.events, "train")
    rows = training_rows.read_rows(run, wanted, tokenizer("qwen2.5"), tmp_path, log, lambda count: [])
    assert (len(rows.train), rows.looked_at) == (1, [])
    said = [each.message for each in data_of(run.events, Warned)]
    assert said == ["No answer is left in the 1 held-out rows: there is no held-out loss."]


def test_a_token_that_the_model_does_not_embed_is_told_before_the_first_step(
    make_run: Callable[..., Run], tiny_model: Path, tmp_path: Path
) -> None:
    import shutil

    from transformers import AutoTokenizer

    model = tmp_path / "longer"
    shutil.copytree(tiny_model, model)
    coder = AutoTokenizer.from_pretrained(model)
    coder.add_tokens(["plus"])
    coder.save_pretrained(model)
    with pytest.raises(UserError, match=r"the token plus .*knows 259 tokens only"):
        train_here(make_run(model={"id": str(model)}))


def test_a_run_of_an_older_fitune_is_resumed_without_a_word(tmp_path: Path) -> None:
    from fitune.core.worker.rows.training_rows import keep_digest

    run = Run(tmp_path)
    (run.checkpoints / "checkpoint-5").mkdir(parents=True)
    keep_digest(run, ROWS, [1], EventLog(run.events, "train"))
    assert (run.path / "rows.json").exists()
    assert list(Tail(run.events).read()) == []
