"""Pictures of the real screens, as SVG.

    uv run python bench/screenshots.py docs --readme      # those of the pages, at 120x40
    uv run python bench/screenshots.py FOLDER             # every screen at 80x24 and 120x40, to look at

The wizard stands on a made-up machine with a 12 GB card; the runs are those of tests/data/runs (demo.jsonl is the
record of an older `fitune demo` on a CPU) and tickets_run.jsonl (that of today's). Rows are counted in tokens of the
bundled SmolLM2, whatever the model. Paths are shown as those of a user called you.
"""

import argparse
import asyncio
import json
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parent.parent))
from bench.picture_list import ALL, README, Picture
from bench.picture_rows import prepare
from bench.picture_runs import ended_run, watched_run
from fitune.core import hub, jobs
from fitune.core.deliver import Download, downloads, gguf_tools
from fitune.core.machine import host
from fitune.core.machine.gpu import Gpu
from fitune.core.machine.host import Machine
from fitune.core.runs.run import Run
from fitune.core.units import GIB
from fitune.tui.app import FituneApp
from fitune.tui.keys import takes_keys
from fitune.tui.wizard import steps
from fitune.tui.wizard.draft import Draft, save
from fitune.tui.wizard.models import weights
from tests.tui.wizard.wizard_kit import settle

ROOT = Path(__file__).parent.parent
CARD = Gpu(
    0, "GPU-0", "NVIDIA GeForce RTX 4070", 12 * GIB, round(11.4 * GIB), round(0.6 * GIB), compute_capability=(8, 9)
)
YOU = "/home/you"
SETTLE_S = 1.3
ASKED = (ROOT / "bench" / "gsm8k.jsonl").read_text(encoding="utf-8")
UNSURE = [{"alpha": f"What is {n}?", "beta": f"It is the number {n}, of course."} for n in range(40)]
OTHERS = {
    "broken.jsonl": '{"question": "Who?", "answer": "You."}\n' * 9 + '{"question": "Who?"\n',
    "unsure.jsonl": "".join(f"{json.dumps(row)}\n" for row in UNSURE),
    "long.jsonl": ASKED,
    "away.jsonl": ASKED,
}
"""Files of rows that stop, that have to be asked about, or whose tokens are long in coming."""
FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
EMPTY, CHOSEN = Draft(), Draft("8b-on-12gb", edits={"data.source": "questions.jsonl"})


@contextmanager
def user(source: str = "") -> Iterator[Path]:
    """A home with rows, on the made-up machine; its path is as long as YOU, so that lines wrap where YOU's would.

    source: another file of rows beside questions.jsonl, one of `OTHERS`.
    """
    home = Path("/tmp") / secrets.token_hex(2)
    work = home / "work"
    work.mkdir(parents=True)
    shutil.copy(ROOT / "bench" / "gsm8k.jsonl", work / "questions.jsonl")
    if source in OTHERS:
        (work / source).write_text(OTHERS[source])
    os.environ["FITUNE_HOME"] = str(home / ".local" / "share" / "fitune")
    os.chdir(work)
    try:
        detected = patch.object(host, "detect", lambda runs_dir=None: found(home))
        counted = patch.object(jobs, "prepare", prepare)
        known = patch.object(hub, "account", lambda: hub.Account("you"))
        found_tools = patch.object(gguf_tools, "find_converter", lambda home: home)
        sized = patch.object(weights, "download", fetched)
        there = patch.object(downloads, "of_run", lambda run, ask=False: Download(run.info().model.id, 0))
        with detected, counted, known, found_tools, sized, there:
            yield home
    finally:
        os.chdir(ROOT)
        shutil.rmtree(home)


def fetched(model: str, revision: str | None) -> Download:
    """What has to be fetched of a model: an 8B's weights of two bytes."""
    return Download(model, round(15.3 * GIB))


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


async def draw(app: FituneApp, size: tuple[int, int], keys: tuple[str, ...], moves: bool) -> str:
    """One screen as SVG, after some keys. moves: it is never at rest."""
    async with app.run_test(size=size) as pilot:
        await begun(app)
        for key in ("", *keys):
            if key:
                await pilot.press(key)
            await (asyncio.sleep(SETTLE_S) if moves else settle(pilot))
        await pilot.pause(0.2)
        return app.export_screenshot(title="fitune")


async def begun(app: FituneApp) -> None:
    """Wait until the screen takes keys, however busy this machine is."""
    while not takes_keys(app):
        await asyncio.sleep(0.05)


def wizard(picture: Picture, home: Path) -> FituneApp:
    """The wizard at a step; at the first one without any answers."""
    edits = {**CHOSEN.edits, **dict(picture.edits)}
    draft = EMPTY if picture.step == "start" else replace(CHOSEN, edits=edits, machine=found(home))
    app = FituneApp(draft=draft, plain_glyphs=picture.plain_glyphs)
    app.first_step = steps.named(picture.step)
    return app


def take(picture: Picture, size: tuple[int, int]) -> str:
    """One picture, with a home of its own."""
    with user(dict(picture.edits).get("data.source", "")) as home:
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
            (folder / f"{name}.svg").write_text(take(picture, (120, 40)), encoding="utf-8")
        return
    for name in [given.only] if given.only else ALL:
        for columns, rows in ((80, 24), (120, 40)):
            path = folder / f"{name}-{columns}x{rows}.svg"
            path.write_text(take(ALL[name], (columns, rows)), encoding="utf-8")


if __name__ == "__main__":
    main()
