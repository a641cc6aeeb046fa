"""From `fitune` on a real terminal to a real training on the CPU, with the keys counted."""

import json
from pathlib import Path

import pytest

from fitune.core import runs
from tests.pty_terminal import PtyTerminal, python

ROWS = [{"question": f"What is {n} plus {n}?", "answer": f"It is {2 * n}."} for n in range(40)]


@pytest.mark.train
def test_a_preset_and_one_typed_path_cost_at_most_10_keys_until_a_real_training_runs(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    env = {"FITUNE_HOME": str(tmp_path / "home"), "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    terminal = PtyTerminal(python("-m", "fitune"), env=env)
    keys = 0
    for seen, key in (
        ("Start a new", "enter"),
        ("135M on anything", "enter"),
        ("Base model", "enter"),
        ("What shall it learn from", str(rows)),
        (rows.name, "enter"),
        ("OK 40 rows", "enter"),
        ("Start training", "enter"),
    ):
        assert terminal.until(seen), terminal.text()
        terminal.send(key)
        keys += key == "enter"
    assert keys <= 10
    try:
        assert terminal.until(lambda: bool(runs.all_runs(tmp_path / "home"))), terminal.text()
        run = runs.all_runs(tmp_path / "home")[0]
        assert terminal.pump(400, lambda: bool(run.state().step)), (terminal.text(), run.log.read_text()[-2000:])
        terminal.send("d")
        assert terminal.ended()
        assert run.holder_pid()
    finally:
        for left in runs.all_runs(tmp_path / "home"):
            left.kill()
        terminal.kill()
