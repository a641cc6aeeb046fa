"""The prepare job: the same rows, cut to nothing, as training renders; real, and by its parts."""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from fitune.core import jobs
from fitune.core.recipe.load import Recipe
from fitune.core.runs import EventLog, Phase, Tail
from fitune.core.runs.run import Run
from fitune.core.tokens.lengths import STATS_FILE, TokenStats
from fitune.core.worker.memory_use import MemoryMeter
from fitune.core.worker.rows import prepare
from fitune.core.worker.rows.render import RefusedRow, render
from fitune.core.worker.rows.tokenized import IGNORED, TokenizedRow
from tests.core.worker.chat_models import tokenizer


def write_pairs(path: Path, count: int) -> Path:
    rows = [{"question": f"What is {n} + 1?", "answer": f"It is {n + 1}." * (1 + n % 7)} for n in range(count)]
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path


@pytest.fixture
def made(tmp_path: Path, fitune_home: Path, recipe: Callable[..., Recipe]) -> Recipe:
    """A recipe on 300 rows and a folder that holds a tokenizer and no model."""
    tokenizer("qwen2.5").save_pretrained(tmp_path / "model")
    source = write_pairs(tmp_path / "a.jsonl", 300)
    return recipe(model={"id": str(tmp_path / "model")}, data={"source": str(source)})


def finished(run: Run) -> Any:
    deadline = time.monotonic() + 60
    while run.holder_pid() is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return run.state().end


def test_the_job_answers_once_and_the_next_asker_gets_it_at_once(made: Recipe, fitune_home: Path) -> None:
    run = jobs.prepare(made)
    end = finished(run)
    assert (end.type, end.stopped, end.rows) == ("finished", False, 300), run.log.read_text()
    found = TokenStats.read(run.path)
    assert (found.source_rows, found.rows, found.refused, found.plain_template) == (300, 300, 0, False)
    assert run.path.parent == fitune_home / "prepare"
    assert not (fitune_home / "runs").exists()
    said = run.events.read_bytes()
    again = jobs.prepare(made.model_copy(update={"model": made.model.model_copy(update={"max_seq_length": 64})}))
    assert again == run
    assert run.holder_pid() is None
    assert run.events.read_bytes() == said


def run_here(run: Run, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The job in this process, which keeps its torch."""
    monkeypatch.setattr(prepare, "load_tokenizer", lambda *_: tokenizer("qwen2.5"))
    prepare.run(run, EventLog(run.events, "prepare"), MemoryMeter(None, None))
    return list(Tail(run.events).read())


@pytest.fixture
def waiting(made: Recipe, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A prepare folder whose job was not started."""
    monkeypatch.setattr(jobs, "start", lambda *_, **__: "setsid")
    return jobs.prepare(made)


def test_lengths_and_labels_are_those_of_training(waiting: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from fitune.core.data import dataset

    events = run_here(waiting, monkeypatch)
    found = TokenStats.read(waiting.path)
    rows = dataset.rows(waiting.recipe().data)
    samples = [sample for made in render(rows, tokenizer("qwen2.5"), "answers") for sample in made]  # type: ignore[union-attr]
    assert found.lengths == Counter(len(sample.ids) for sample in samples)
    assert found.firsts == Counter(sample.first for sample in samples)
    for length in (20, 60, 100, 1000):
        labels = [label for sample in samples for label in sample.labels[:length]]
        assert found.trained_tokens(length) == sum(label != IGNORED for label in labels)
    assert events[-1].data.trained_tokens == found.trained_tokens()


def test_examples_are_of_all_over_the_source_with_the_longest_and_the_latest(
    waiting: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_here(waiting, monkeypatch)
    found = TokenStats.read(waiting.path)
    places = [example.row for example in found.examples]
    assert 8 <= len(places) <= 20
    assert places == sorted(set(places))
    assert places[0] == 0
    assert places[-1] > 250
    assert max(example.length for example in found.examples) == found.longest
    latest = max(found.firsts)
    assert any(example.tokens[latest].trained and not example.tokens[latest - 1].trained for example in found.examples
               if example.length > latest)  # fmt: skip
    for example in found.examples:
        assert len(example.tokens) == example.length
    text = "".join(token.text for token in found.examples[0].tokens)
    assert text.endswith("<|im_start|>user\nWhat is 0 + 1?<|im_end|>\n<|im_start|>assistant\nIt is 1.<|im_end|>\n")


def test_a_stop_leaves_nothing_half_done(waiting: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting.request_stop()
    events = run_here(waiting, monkeypatch)
    assert events[-1].type == "finished"
    assert events[-1].data.stopped
    assert not (waiting.path / STATS_FILE).exists()


def test_progress_is_told_in_bytes(waiting: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "LOG_EVERY_S", 0.0)
    told = [
        each
        for each in (event.data for event in run_here(waiting, monkeypatch))
        if isinstance(each, Phase) and each.bytes
    ]
    assert told
    assert [each.rows for each in told] == sorted(each.rows or 0 for each in told)
    assert told[-1].bytes == told[-1].total_bytes


def test_a_letter_of_several_tokens_is_shown_once_it_is_whole() -> None:
    coder = tokenizer("mistral")
    ids = coder("é<s>", add_special_tokens=False)["input_ids"]
    shown = prepare.example(0, TokenizedRow(ids, [(1, 2)]), coder)
    assert [(token.text, token.trained, token.special) for token in shown.tokens] == [
        ("", False, False), ("é", True, False), ("<s>", False, True)]  # fmt: skip


def test_rows_that_the_template_refuses_are_counted_and_the_first_is_quoted() -> None:
    tally = prepare.TokenCounter(tokenizer("mistral"), False)
    for made in ([TokenizedRow([1, 2, 3], [(1, 3)])], RefusedRow("one"), RefusedRow("two"), [TokenizedRow([1, 2], [])]):
        tally.take(made)
    found = tally.prepared(skipped=5)
    assert (found.source_rows, found.refused, found.why_refused, found.skipped, found.blank) == (4, 2, "one", 5, 1)
    assert (found.firsts, list(found.trained_at)) == ({1: 1}, [0, 1, 1])


def test_a_folder_without_a_tokenizer_is_a_sentence(tmp_path: Path, made: Recipe) -> None:
    (tmp_path / "empty").mkdir()
    run = jobs.prepare(made.model_copy(update={"model": made.model.model_copy(update={"id": str(tmp_path / "empty")})}))
    end = finished(run)
    assert end.type == "failed"
    assert "holds no tokenizer" in end.message


def test_the_job_does_without_torch(tmp_path: Path) -> None:
    tokenizer("qwen2.5").save_pretrained(tmp_path)
    code = (
        "import sys; from pathlib import Path; from fitune.core.worker.rows.prepare import load_tokenizer;"
        "load_tokenizer(Path(sys.argv[1]), False); print(sys.modules['torch'])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout == "None\n"


def test_of_a_model_on_the_hub_the_small_files_are_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fnmatch import fnmatch

    from fitune.core.worker.models import fetch_tokenizer

    asked: dict[str, Any] = {}

    def download(model: str, **known: Any) -> str:
        asked.update(known, model=model)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    log = EventLog(tmp_path / "events.jsonl", "prepare")
    assert fetch_tokenizer("owner/model", "v2", False, tmp_path, log) == tmp_path
    assert (asked["model"], asked["revision"]) == ("owner/model", "v2")
    wanted = {"tokenizer.json": True, "tokenizer.model": True, "chat_template.jinja": True, "config.json": True,
              "model-00001-of-00002.safetensors": False, "pytorch_model.bin": False, "tokenizer.py": False}  # fmt: skip
    assert {name: any(fnmatch(name, each) for each in asked["allow_patterns"]) for name in wanted} == wanted
