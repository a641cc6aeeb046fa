"""Pictures of the real screens, as SVG.

    uv run python bench/screenshots.py docs --readme      # the README's, at 100x30
    uv run python bench/screenshots.py FOLDER             # every screen at 80x24 and 120x40, to look at

The wizard stands on a made-up machine with a 12 GB card; the runs are those of tests/data/runs (demo.jsonl is the
record of `fitune demo` on a CPU, without its warning that the Hub was out of reach). Paths are shown as those of a user
called you.
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
from core import machine
from core.gpu import Gpu
from core.machine import GIB, Machine
from core.runs import Run
from tests.fake_worker import STORIES, make_run, start
from tests.tui.wizard_kit import settle
from tui import steps
from tui.app import FituneApp
from tui.draft import Draft

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


ALL = {
    "start": Picture("start"),
    "preset": Picture("preset"),
    "edit": Picture("edit", keys=("down", "down", "down")),
    "edit-wrong": Picture("edit", keys=("down", "down", *"7")),
    "edit-over": Picture("edit", keys=("down", "down", *"16384")),
    "edit-more": Picture("edit", keys=("ctrl+t",)),
    "data": Picture("data"),
    "review": Picture("review"),
    "help": Picture("edit", keys=("down", "down", "down", "question_mark")),
    "leave-wizard": Picture("edit", keys=("ctrl+c",)),
    "watch": Picture(run="live"),
    "watch-log": Picture(run="live", keys=("l",)),
    "watch-finished": Picture(run="demo"),
    "watch-failed": Picture(run="oom"),
    "watch-killed": Picture(run="killed"),
    "stop": Picture(run="live", keys=("s",)),
    "leave": Picture(run="live", keys=("ctrl+c",)),
    "deliver": Picture(run="demo", keys=("c",)),
}
EMPTY, CHOSEN = Draft(), Draft("8b-on-12gb", edits={"data.source": "questions.jsonl", "lora.r": "32"})
README = {"preset": ALL["preset"], "edit": ALL["edit"], "review": ALL["review"], "watch": ALL["watch"]}


@contextmanager
def user() -> Iterator[Path]:
    """A home with rows, on the made-up machine; its path is as long as YOU, so that lines wrap where YOU's would."""
    home = Path("/tmp") / secrets.token_hex(2)
    work = home / "work"
    work.mkdir(parents=True)
    shutil.copy(ROOT / "presets" / "demo" / "gsm8k.jsonl", work / "questions.jsonl")
    os.environ["FITUNE_HOME"] = str(home / ".local" / "share" / "fitune")
    os.chdir(work)
    try:
        with patch.object(machine, "detect", lambda runs_dir=None: found(home)):
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


def live_run(base: Path) -> "tuple[Path, subprocess.Popen[bytes]]":
    """The first half of the recorded run, as if its last event had just been written, and a worker that holds it."""
    run = make_run(base, "2026-11-22-smollm2-135m-live")
    events = [json.loads(line) for line in (STORIES / "demo.jsonl").read_text().splitlines()][:53]
    ago_s = time.time() - events[-1]["t"]
    lines = [json.dumps({**event, "t": event["t"] + ago_s}) for event in events]
    (run / "events.jsonl").write_text("\n".join(lines) + "\n")
    (run / "checkpoints" / "checkpoint-20").mkdir(parents=True)
    said = [f"step {e['data']['step']}  loss {e['data']['loss']:.4f}" for e in events if e["type"] == "step"]
    (run / "worker.log").write_text("\n".join(said) + "\n")
    nothing = base / "nothing.jsonl"
    nothing.touch()
    return run, start(run, str(nothing), "--then", "hang")


def ended_run(base: Path, told: str) -> Path:
    """A run that is over, with the adapter that its worker left if it finished."""
    run = make_run(base, f"2026-11-22-smollm2-135m-{told}", told=told, host="gpu-box")
    (run / "worker.log").write_text("the recorded run kept no log\n")
    if told == "demo":
        (run / "adapter").mkdir()
        (run / "adapter" / "adapter_model.safetensors").write_bytes(bytes(19_600_000))
    return run


async def draw(app: FituneApp, size: tuple[int, int], keys: tuple[str, ...]) -> str:
    """One screen as SVG, after some keys."""
    async with app.run_test(size=size) as pilot:
        for key in ("", *keys):
            if key:
                await pilot.press(key)
            await asyncio.sleep(SETTLE_S if app.watched else 0)
            if not app.watched:
                await settle(pilot)
        await pilot.pause(0.2)
        return app.export_screenshot(title="fitune")


def take(picture: Picture, size: tuple[int, int]) -> str:
    """One picture, with a home of its own."""
    with user() as home:
        base = home / ".local/share/fitune"
        worker = None
        if picture.run == "live":
            run, worker = live_run(base)
            app = FituneApp(run=Run(run))
        elif picture.run:
            app = FituneApp(run=Run(ended_run(base, picture.run)))
        else:
            if picture.step == "start":
                ended_run(base, "killed")
            app = FituneApp(draft=EMPTY if picture.step == "start" else replace(CHOSEN, machine=found(home)))
            app.first_step = steps.named(picture.step)
        try:
            svg = asyncio.run(draw(app, size, picture.keys))
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
