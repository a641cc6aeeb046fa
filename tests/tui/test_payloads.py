"""Hostile text in every place where a command or a prompt meets foreign text: shown, and never obeyed."""

import io
import json
import re
import sys
from pathlib import Path

import orjson
import pytest

from fitune.core import jobs
from fitune.core.machine import host
from fitune.core.machine.gpu import Gpu
from fitune.core.machine.host import Machine
from fitune.core.runs.run import Run
from fitune.core.units import GIB
from fitune.tui.plain import wizard
from fitune.tui.wizard.draft import Draft, save
from tests.fake_worker import make_run
from tests.tui.conftest import Fitune
from tests.tui.payloads import OBEYED, PAYLOADS

NASTY = " ".join(PAYLOADS)
NAME = " ".join(payload for payload in PAYLOADS if "/" not in payload)
"""A folder may be called so."""


def is_safe(text: str) -> bool:
    return not OBEYED.search(text)


@pytest.fixture
def nasty_run(home: Path) -> Run:
    """A dead run with hostile text in its name, its run.json, its log and its events."""
    recipe = {"model": {"id": NASTY}, "data": {"source": NASTY}, NASTY: NASTY}
    run = Run(make_run(home, NAME, recipe=recipe, gpu={"uuid": NASTY, "name": NASTY}))
    run.log.write_text(NASTY)
    run.lock.touch()
    event = {"v": 1, "seq": 1, "t": 1.0, "job": "train", "type": "failed"}
    run.events.write_text(json.dumps({**event, "data": {"kind": NASTY, "message": NASTY, "hint": NASTY}}) + "\n")
    return run


@pytest.fixture
def rows(nasty_run: Run) -> str:
    """A file of hostile rows, with a hostile name; its path."""
    path = Path(f"{NAME[:80]}.jsonl")
    path.write_bytes(b"".join(orjson.dumps({"question": each, "answer": each, each: 1}) + b"\n" for each in PAYLOADS))
    return str(path)


@pytest.fixture
def recipe_file(rows: str) -> str:
    """A recipe, at a hostile path, whose every text is hostile."""
    path = Path(f"{NAME[:80]}.toml")
    quoted = json.dumps(NASTY)
    path.write_text(f"[model]\nid = {quoted}\nquant = {quoted}\n[data]\nsource = {quoted}\n[{quoted}]\n{quoted} = 1\n")
    return str(path)


@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize("command", [
    "runs", "runs --json", "watch", "watch RUN", "watch NASTY", "stop RUN", "stop NASTY", "resume RUN", "resume NASTY",
    "merge RUN", "merge NASTY", "push RUN --repo me/it", "push RUN --repo NASTY", "data ROWS", "data NASTY",
    "data ROWS --recipe RECIPE", "estimate RECIPE", "estimate NASTY", "train RECIPE", "train NASTY",
    "train FINE --set NASTY", "train FINE --set data.source=NASTY", "train FINE --set model.id=NASTY",
    "train FINE --set run.gpu=NASTY", "estimate FINE --gpu-memory NASTY", "presets --gpu-memory NASTY",
    "--answers RECIPE", "--answers RECIPE --yes", "--answers NASTY",
])  # fmt: skip
def test_check_37_a_command_shows_hostile_text_and_never_passes_it_on(
    fitune: Fitune, nasty_run: Run, rows: str, recipe_file: str, command: str
) -> None:
    Path("fine.toml").write_text('[model]\nid = "a/b"\n[data]\nsource = "c/d"\n')
    words = {"RUN": nasty_run.name, "ROWS": rows, "RECIPE": recipe_file, "FINE": "fine.toml"}
    status, out, err = fitune(*[words.get(word, word.replace("NASTY", NASTY)) for word in command.split()])
    assert is_safe(out), ascii(out)
    assert is_safe(err), ascii(err)
    assert status in (0, 1, 2)
    assert "Traceback" not in err


@pytest.mark.parametrize("command", ["runs", "watch", "stop", "resume", "merge"])
def test_check_37_a_run_with_a_hostile_name_is_named_all_the_same(fitune: Fitune, nasty_run: Run, command: str) -> None:
    _, out, err = fitune(*([command] if command == "runs" else [command, nasty_run.name]))
    assert "[b open row ␛]52;c;" in out + err


def test_check_37_the_prompts_show_hostile_text_and_never_pass_it_on(
    nasty_run: Run,
    rows: str,
    home: Path,
    this_machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    card = Gpu(0, "GPU-x", NASTY, 12 * GIB, 12 * GIB, 0, compute_capability=(8, 9))
    found = Machine(gpus=(card,), gpu_state="ok", gpu_message=NASTY, gpu_hint=NASTY, versions=this_machine.versions)
    monkeypatch.setattr(host, "detect", lambda runs_dir=None: found)
    monkeypatch.setattr(jobs, "begin", lambda *_: pytest.fail("nothing may start"))
    save(Draft("8b-on-12gb", {"run": {"gpu": NASTY}}), "edit", home)
    lines = ["2", NASTY, "", "", "", "1", NASTY, "", "4", NASTY, "", "?", "b", "", "", NASTY, rows, "", "w", "n"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
    assert wizard.run_plain() == 130
    out, err = capfd.readouterr()
    assert is_safe(out + err), ascii(err)
    for shown in ("[/INST]", "[red]hi[/red]", '{"b": [true, false]}', "␛]52;c;"):
        assert shown in err


@pytest.mark.parametrize("payload", PAYLOADS, ids=ascii)
def test_check_37_an_error_shows_each_payload_as_it_is(fitune: Fitune, home: Path, payload: str) -> None:
    status, out, err = fitune("data", f"x{payload}x")
    assert (status, out) == (2, "")
    assert is_safe(err)
    printable = re.split(r"[^\x20-\x7e]", payload)
    assert all(piece in err for piece in printable)
