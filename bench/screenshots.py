"""Pictures of the real screens, as SVG.

    uv run python bench/screenshots.py docs --readme      # the README's, at 100x30
    uv run python bench/screenshots.py FOLDER             # every screen at 80x24 and 120x40, to look at

The wizard stands on a made-up machine with a 12 GB card; the runs are those of tests/data/runs (demo.jsonl is the
record of `fitune demo` on a CPU, without its warning that the Hub was out of reach). Rows are counted in tokens of the
bundled SmolLM2, whatever the model. Paths are shown as those of a user called you.
"""

import argparse
import asyncio
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parent.parent))
from bench.picture_rows import prepare
from core import gguf_tools, hub, launch, machine
from core.events import EventLog
from core.gpu import Gpu
from core.machine import GIB, Machine
from core.runs import Run
from tests.fake_worker import STORIES, make_run, start
from tests.tui.wizard_kit import settle
from tui import steps
from tui.app import FituneApp
from tui.draft import Draft, save

ROOT = Path(__file__).parent.parent
CARD = Gpu(
    0, "GPU-0", "NVIDIA GeForce RTX 4070", 12 * GIB, round(11.4 * GIB), round(0.6 * GIB), compute_capability=(8, 9)
)
YOU = "/home/you"
SETTLE_S = 1.3
FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Picture:
    """What stands on the screen: a wizard at a step, or a run; and the keys pressed on it."""

    step: str = ""
    run: str = ""
    keys: tuple[str, ...] = ()
    edits: tuple[tuple[str, str], ...] = ()
    """Of the wizard's fields, beside the source of the data."""
    plain_glyphs: bool = False

    @property
    def moves(self) -> bool:
        """Whether something goes on in it."""
        return not self.step or ("data.source", "long.jsonl") in self.edits


RANK, CUT = (("lora.r", "32"),), (("model.max_seq_length", "192"),)
TO_GGUF = ("c", "down", "down")
TO_PUSH = (*TO_GGUF, "down")
ALL = {
    "start": Picture("start"),
    "start-runs": Picture("start", run="all"),
    "preset": Picture("preset"),
    "preset-ask": Picture("preset", keys=("ctrl+g",)),
    "preset-planned": Picture("preset", keys=("ctrl+g", *"24", "enter")),
    "edit": Picture("edit", keys=("down", "down", "down"), edits=RANK),
    "edit-plain": Picture("edit", keys=("down", "down", "down"), edits=RANK, plain_glyphs=True),
    "edit-wrong": Picture("edit", keys=("down", "down", *"7")),
    "edit-over": Picture("edit", keys=("down", "down", *"16384")),
    "edit-more": Picture("edit", keys=("ctrl+t",)),
    "data": Picture("data"),
    "data-none": Picture("data", edits=(("data.source", ""),)),
    "data-wrong": Picture("data", edits=(("data.source", "broken.jsonl"),)),
    "data-mapping": Picture("data", edits=(("data.source", "unsure.jsonl"),)),
    "data-lengths": Picture("data", keys=("tab", "tab")),
    "data-tokens": Picture("data", keys=("tab", "tab", "tab", "right")),
    "data-rows": Picture("data", keys=("tab", "tab", "tab", "tab")),
    "data-plain": Picture("data", keys=("tab", "tab", "tab"), plain_glyphs=True),
    "data-cut": Picture("data", edits=CUT, keys=("tab",)),
    "data-cut-lengths": Picture("data", edits=CUT, keys=("tab", "tab")),
    "data-cut-tokens": Picture("data", edits=CUT, keys=("tab", "tab", "tab", "left")),
    "data-cut-more": Picture("data", edits=CUT, keys=("tab", "tab", "ctrl+l")),
    "data-masked": Picture("data", edits=(("model.max_seq_length", "48"),), keys=("tab", "enter")),
    "data-counting": Picture("data", edits=(("data.source", "long.jsonl"),)),
    "data-not-counted": Picture("data", edits=(("data.source", "away.jsonl"),)),
    "review": Picture("review", edits=RANK),
    "review-over": Picture("review", edits=(("model.quant", "bf16"),)),
    "review-push": Picture("review", keys=("enter",), edits=(("deliver.push_repo", "you/sums"),)),
    "help": Picture("edit", keys=("down", "down", "down", "question_mark"), edits=RANK),
    "help-step": Picture("start", keys=("question_mark",)),
    "palette": Picture("edit", keys=("ctrl+p",)),
    "leave-wizard": Picture("edit", keys=("ctrl+c",), edits=RANK),
    "watch": Picture(run="live"),
    "watch-plain": Picture(run="live", plain_glyphs=True),
    "watch-log": Picture(run="live", keys=("l",)),
    "watch-note": Picture(run="live", keys=("n",)),
    "watch-finished": Picture(run="demo"),
    "watch-failed": Picture(run="oom"),
    "watch-killed": Picture(run="killed"),
    "watch-new": Picture(run="new"),
    "merge": Picture(run="merge"),
    "merge-finished": Picture(run="merged"),
    "merge-failed": Picture(run="spoiled"),
    "stop": Picture(run="live", keys=("s",)),
    "kill": Picture(run="live", keys=("k",)),
    "leave": Picture(run="live", keys=("ctrl+c",)),
    "push": Picture(run="push"),
    "leave-push": Picture(run="push", keys=("ctrl+c",)),
    "deliver": Picture(run="demo", keys=("c",)),
    "deliver-merge": Picture(run="demo", keys=("c", "down")),
    "deliver-gguf": Picture(run="demo", keys=TO_GGUF),
    "deliver-push": Picture(run="merged", keys=TO_PUSH),
    "deliver-merged": Picture(run="merged", keys=("c", "down")),
    "deliver-failed": Picture(run="spoiled", keys=("c", "down")),
    "gguf-kinds": Picture(run="merged", keys=(*TO_GGUF, "enter")),
    "handoff-target": Picture(run="demo", keys=(*TO_PUSH, "down", "enter")),
    "handoff-done": Picture(run="demo", keys=(*TO_PUSH, "down", "enter", *["down"] * 5, "enter", "enter")),
    "zip": Picture(run="demo", keys=(*TO_PUSH, "down", "down", "enter")),
    "files": Picture(run="merged", keys=(*TO_PUSH, "down", "down", "down")),
    "push-what": Picture(run="merged", keys=(*TO_PUSH, "enter")),
    "push-name": Picture(run="demo", keys=(*TO_PUSH, "enter")),
    "push-who": Picture(run="demo", keys=(*TO_PUSH, "enter", "enter")),
    "push-confirm": Picture(run="demo", keys=(*TO_PUSH, "enter", "enter", "enter")),
}
EMPTY, CHOSEN = Draft(), Draft("8b-on-12gb", edits={"data.source": "questions.jsonl"})
README = {"preset": ALL["preset"], "edit": ALL["edit"], "review": ALL["review"], "watch": ALL["watch"]}


@contextmanager
def user() -> Iterator[Path]:
    """A home with rows, on the made-up machine; its path is as long as YOU, so that lines wrap where YOU's would."""
    home = Path("/tmp") / secrets.token_hex(2)
    work = home / "work"
    work.mkdir(parents=True)
    shutil.copy(ROOT / "presets" / "demo" / "gsm8k.jsonl", work / "questions.jsonl")
    (work / "broken.jsonl").write_text('{"question": "Who?", "answer": "You."}\n' * 9 + '{"question": "Who?"\n')
    rows = [{"alpha": f"What is {n}?", "beta": f"It is the number {n}, of course."} for n in range(40)]
    for name in ("long", "away"):
        shutil.copy(work / "questions.jsonl", work / f"{name}.jsonl")
    (work / "unsure.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    os.environ["FITUNE_HOME"] = str(home / ".local" / "share" / "fitune")
    os.chdir(work)
    try:
        detected = patch.object(machine, "detect", lambda runs_dir=None: found(home))
        counted = patch.object(launch, "prepare", prepare)
        known = patch.object(hub, "account", lambda: hub.Account("you"))
        found_tools = patch.object(gguf_tools, "converter", lambda home: home)
        with detected, counted, known, found_tools:
            yield home
    finally:
        os.chdir(ROOT)
        shutil.rmtree(home)


def found(home: Path) -> Machine:
    """What the wizard finds."""
    return Machine(
        gpus=(CARD,),
        gpu_state="ok",
        driver_version="580.95",
        cuda_version="13.0",
        ram_total_bytes=64 * GIB,
        ram_available_bytes=58 * GIB,
        cpu_cores=16,
        runs_dir=str(home / ".local/share/fitune/runs"),
        disk_free_bytes=412 * GIB,
        versions={"unsloth": "2026.10.7", "torch": "2.11.0"},
    )


def new_run(base: Path) -> Path:
    """A run whose worker has not said anything yet."""
    return make_run(base, "2026-11-22-smollm2-135m-new")


def live_run(base: Path) -> Path:
    """The first half of the recorded run, as if its last event had just been written."""
    run = make_run(base, "2026-11-22-smollm2-135m-live")
    events = [json.loads(line) for line in (STORIES / "demo.jsonl").read_text().splitlines()][:53]
    ago_s = time.time() - events[-1]["t"]
    lines = [json.dumps({**event, "t": event["t"] + ago_s}) for event in events]
    (run / "events.jsonl").write_text("\n".join(lines) + "\n")
    (run / "checkpoints" / "checkpoint-20").mkdir(parents=True)
    said = [f"step {e['data']['step']}  loss {e['data']['loss']:.4f}" for e in events if e["type"] == "step"]
    (run / "worker.log").write_text("\n".join(said) + "\n")
    return run


def ended_run(base: Path, told: str) -> Path:
    """A run that is over, with the adapter that its worker left if it finished, and a checkpoint if it was killed."""
    run = make_run(base, f"2026-11-22-smollm2-135m-{told}", told=told, host="gpu-box")
    (run / "worker.log").write_text("the recorded run kept no log\n")
    if told == "demo":
        (run / "adapter").mkdir()
        (run / "adapter" / "adapter_model.safetensors").write_bytes(bytes(19_600_000))
    if told == "killed":
        (run / "checkpoints" / "checkpoint-30").mkdir(parents=True)
    return run


def job_run(base: Path, told: str) -> Path:
    """A trained run whose adapter is being merged or pushed, or has been merged, well or badly."""
    run = ended_run(base, "demo")
    if told == "push":
        log = EventLog(run / "events.jsonl", "push")
        log.write("started", device="the Hub")
        log.write("phase", name="ask")
        sent = {"name": "upload", "repo": "you/sums", "files": 6, "bytes": 23_000_000}
        log.write("phase", **sent, done_bytes=3_500_000, file="adapter_model.safetensors")
        return run
    log = EventLog(run / "events.jsonl", "merge")
    log.write("started", device="cpu")
    log.write("phase", name="download", model="HuggingFaceTB/SmolLM2-135M-Instruct")
    log.write("phase", name="write", bytes=269_000_000)
    if told == "merge":
        (run / "merged.part").mkdir()
        (run / "merged.part" / "model.safetensors").write_bytes(bytes(112_000_000))
        return run
    folder = run / ("merged" if told == "merged" else "merged.failed")
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(bytes(269_000_000))
    (folder / "proof.json").write_text(json.dumps(proof(told == "merged")))
    if told == "merged":
        log.write("finished", bytes=269_000_000, files=5, elapsed_s=21.0)
    else:
        what = "What was written failed its proof. chat template: expected the one of the training; got another."
        log.write("failed", kind="data", message=what, hint="Use the adapter as it is, or merge once more.")
    return run


def proof(passed: bool) -> dict[str, object]:
    """As a merge of SmolLM2-135M leaves it."""
    rows = [
        ("tensors", "272, of the base's shapes", "272"),
        ("changed by the adapter", "210 tensors", "210; 210 differ from the base"),
        ("left as they were", "62 tensors", "62"),
        ("tokenizer", "as in training, on 8 rows", "the same"),
        ("chat template", "the one of the training", "the same" if passed else "another"),
        ("marks that end an answer", "<|im_end|>", "the same"),
    ]
    if passed:
        rows += [
            ("loads in transformers", "every weight found", "yes"),
            ("its answers", "at most 0.015 nats a token away", "0.0043"),
            ("likeliest token", "the same for 95%", "98.0%"),
            ("ends by itself", "6 of 8 answers", "6"),
        ]
    checks = [{"check": c, "expected": e, "got": g, "passed": g != "another"} for c, e, g in rows]
    return {"passed": passed, "checks": checks}


def watched_run(base: Path, told: str) -> "tuple[Path, subprocess.Popen[bytes] | None]":
    """The run of a picture, and the worker that holds it if it is alive."""
    match told:
        case "live":
            run = live_run(base)
        case "new":
            run = new_run(base)
        case "merge" | "merged" | "spoiled" | "push":
            run = job_run(base, told)
        case _:
            run = ended_run(base, told)
    if told not in ("live", "new", "merge", "push"):
        return run, None
    nothing = base / "nothing.jsonl"
    nothing.touch()
    return run, start(run, str(nothing), "--then", "hang")


async def draw(app: FituneApp, size: tuple[int, int], keys: tuple[str, ...], moves: bool) -> str:
    """One screen as SVG, after some keys. moves: it is never at rest."""
    async with app.run_test(size=size) as pilot:
        for key in ("", *keys):
            if key:
                await pilot.press(key)
            await (asyncio.sleep(SETTLE_S) if moves else settle(pilot))
        await pilot.pause(0.2)
        return app.export_screenshot(title="fitune")


def wizard(picture: Picture, home: Path) -> FituneApp:
    """The wizard at a step; at the first one without any answers."""
    edits = {**CHOSEN.edits, **dict(picture.edits)}
    draft = EMPTY if picture.step == "start" else replace(CHOSEN, edits=edits, machine=found(home))
    app = FituneApp(draft=draft, plain_glyphs=picture.plain_glyphs)
    app.first_step = steps.named(picture.step)
    return app


def take(picture: Picture, size: tuple[int, int]) -> str:
    """One picture, with a home of its own."""
    with user() as home:
        base = home / ".local/share/fitune"
        worker = None
        if picture.step:
            if picture.run:
                ended_run(base, "killed")
                ended_run(base, "demo")
                save(CHOSEN, "data", base)
                _, worker = watched_run(base, "live")
            app = wizard(picture, home)
        else:
            run, worker = watched_run(base, picture.run)
            app = FituneApp(run=Run(run), plain_glyphs=picture.plain_glyphs)
        try:
            svg = asyncio.run(draw(app, size, picture.keys, picture.moves))
        finally:
            if worker:
                worker.kill()
                worker.wait()
        return FONTS.sub("", svg).replace(str(home), YOU)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path)
    options.add_argument("--readme", action="store_true", help="only the README's")
    options.add_argument("--only", metavar="NAME", choices=ALL)
    given = options.parse_args()
    folder = given.folder.absolute()
    folder.mkdir(exist_ok=True)
    if given.readme:
        for name, picture in README.items():
            (folder / f"{name}.svg").write_text(take(picture, (100, 30)), encoding="utf-8")
        return
    for name in [given.only] if given.only else ALL:
        for columns, rows in ((80, 24), (120, 40)):
            path = folder / f"{name}-{columns}x{rows}.svg"
            path.write_text(take(ALL[name], (columns, rows)), encoding="utf-8")


if __name__ == "__main__":
    main()
