"""The tour of README as one animated SVG: the real screens at 120x40, on a made-up machine and a recorded run.

    uv run python bench/tour.py docs/tour.svg

The wizard is walked through by keys, as bench/screenshots.py does it; the training is tickets_run.jsonl, a recorded
`fitune demo` on two busy cores, of which a few moments are shown. Nothing is trained here.
"""

import argparse
import asyncio
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from bench.animation import Frame, animated, rows_of
from bench.picture_list import Picture
from bench.picture_runs import LIVE_EVENTS, TICKETS, ended_run, live_run
from bench.screenshots import SETTLE_S, YOU, begun, user, wizard
from fitune.core.runs import Run
from fitune.tui.app import FituneApp
from tests.fake_worker import start
from tests.tui.wizard.wizard_kit import settle

SIZE = (120, 40)
Scene = tuple[tuple[str, ...], str, float]
"""Keys, what is said of the screen that they lead to, and the seconds that it is shown."""
WALK: tuple[Scene, ...] = (
    ((), "fitune opens on the machine and its runs", 3.0),
    (("enter",), "Presets, judged for this card before anything is downloaded", 3.0),
    (("enter",), "Settings: each has a value already", 1.5),
    (("down", "down", "down"), "The panel says what each costs of the card's memory", 1.5),
    (("3", "2"), "Rank 32: the budget follows every key", 3.0),
    (("enter",), "The data: what is wrong with it, before the training", 3.0),
    (("tab", "tab", "tab", "right"), "... and token by token what the model will learn to say", 3.5),
    (("enter",), "All that will happen, in plain words", 3.0),
)
MOMENTS = (
    (6, "The training is a process of its own: the window may be closed", 2.0),
    (16, "Loss, pace and memory against what was predicted", 1.5),
    (30, "", 1.0),
    (LIVE_EVENTS, "The time left, the recipe beside", 2.5),
)
"""Events of the recorded run, what is said, and seconds."""
ENDING: tuple[Scene, ...] = (
    ((), "The end: a verdict on held-out rows, one answer before and after", 5.0),
    (("u",), "Use it: chat, merge, GGUF, push, hand off", 3.0),
)


async def scenes(app: FituneApp, found: Sequence[Scene], moves: bool) -> list[Frame]:
    """The frames of one app, each after its keys. moves: it is never at rest."""
    frames = []
    async with app.run_test(size=SIZE) as pilot:
        await begun(app)
        await asyncio.sleep(SETTLE_S)
        for keys, caption, seconds in found:
            for key in keys:
                await pilot.press(key)
            await (asyncio.sleep(2 * SETTLE_S) if moves else settle(pilot))
            await pilot.pause(0.3)
            frames.append(Frame(rows_of(app), caption, seconds))
    return frames


async def moment(base: Path, events: int, caption: str, seconds: float) -> list[Frame]:
    """The run as it was after so many events, alive."""
    run, nothing = live_run(base, events, f"tickets-{events}"), base / "nothing.jsonl"
    nothing.touch()
    worker = start(run, str(nothing), "--then", "hang")
    try:
        return await scenes(FituneApp(run=Run(run)), [((), caption, seconds)], moves=True)
    finally:
        stop(worker)


def stop(worker: "subprocess.Popen[bytes]") -> None:
    worker.kill()
    worker.wait()


async def record(home: Path) -> list[Frame]:
    """All frames of the tour."""
    base = home / ".local/share/fitune"
    ended_run(base, "killed")
    ended = live_run(base, len(TICKETS.read_text().splitlines()), "tickets")
    (ended / "lock").touch()
    (ended / "adapter").mkdir()
    (ended / "adapter" / "adapter_model.safetensors").write_bytes(bytes(19_600_000))
    frames = await scenes(wizard(Picture("start"), home), WALK, moves=False)
    for told in MOMENTS:
        frames += await moment(home, *told)
    return frames + await scenes(FituneApp(run=Run(ended)), ENDING, moves=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("file", type=Path)
    file = options.parse_args().file.absolute()
    with user() as home:
        svg = animated(asyncio.run(record(home)), SIZE[0]).replace(str(home), YOU)
    file.write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
