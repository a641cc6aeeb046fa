"""The report for a bug: it tells what is needed, and no secret."""

import json
from pathlib import Path

import pytest

from fitune.core.runs.report import report, without_secrets
from fitune.core.runs.run import Run
from tests.events import write_raw
from tests.fake_worker import make_run

SECRETS = [
    "hf_abcdefghijklmnopqrstuvwxyz", "ghp_" + "a" * 36, "AKIAIOSFODNN7EXAMPLE", "https://me:hunter2hunter2@host/x",
    "-----BEGIN PRIVATE KEY-----", "sk-abcdefghijklmnop",
]  # fmt: skip


@pytest.fixture
def told(tmp_path: Path) -> Run:
    run = Run(make_run(tmp_path, "run-a", "nan", versions={"torch": "2.11.0"}))
    write_raw(run.events, "sample", step=0, prompt="a hushed question", before="a hushed answer")
    write_raw(run.events, "recovered", kind="nan", message="Look at “a hushed row”.")
    write_raw(run.events, "failed", kind="nan", message="it is NaN", hint="")
    return run


def test_it_holds_what_a_bug_report_needs(told: Run) -> None:
    told.log.write_text("first\nlast line\n")
    text = report(told, {})
    for part in ("run-a: failed", "torch 2.11.0", "[model]", "failed", "it is NaN", "last line"):
        assert part in text


def test_it_holds_neither_rows_nor_answers(told: Run) -> None:
    assert "hushed" not in report(told, {})


@pytest.mark.parametrize("secret", SECRETS)
def test_no_secret_is_left(told: Run, secret: str) -> None:
    told.log.write_text(f"log in with {secret}\n")
    info = json.loads((told.path / "run.json").read_text())
    info["backend_reason"] = f"because {secret} said so"
    (told.path / "run.json").write_text(json.dumps(info))
    assert secret not in report(told, {})


def test_values_of_secret_variables_are_replaced_wherever_they_stand(told: Run) -> None:
    told.log.write_text("key 0123456789abcdef here\n")
    text = report(told, {"WANDB_API_KEY": "0123456789abcdef", "SHORT_TOKEN": "key"})
    assert "0123456789abcdef" not in text
    assert "key [secret] here" in text


def test_the_home_folder_is_not_named() -> None:
    assert without_secrets(f"in {Path.home()}/runs", []) == "in ~/runs"


@pytest.mark.parametrize("name", ["run.json", "events.jsonl", "worker.log"])
def test_a_damaged_run_is_reported_all_the_same(told: Run, name: str) -> None:
    (told.path / name).write_bytes(b"\xff\x00{[")
    assert "run-a" in report(told, {})
