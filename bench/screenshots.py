"""Pictures of the real watch and deliver screens, as SVG, for the README.

    uv run python bench/screenshots.py docs [RUN_FOLDER]

Without a run folder it shows the recorded CPU run of the tests.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from core.runs import Run
from tests.fake_worker import make_run
from tui.app import FituneApp

PICTURES: tuple[tuple[str, tuple[int, int], tuple[str, ...]], ...] = (
    # (name, columns and rows, keys)
    ("watch", (100, 30), ()),
    ("watch-log", (80, 24), ("l",)),
    ("deliver", (80, 24), ("c",)),
)
SETTLE_S = 1.5


async def picture(run: Run, size: tuple[int, int], keys: tuple[str, ...]) -> str:
    """One screen as SVG, after some keys."""
    app = FituneApp(run=run)
    async with app.run_test(size=size) as pilot:
        await asyncio.sleep(SETTLE_S)
        for key in keys:
            await pilot.press(key)
            await asyncio.sleep(SETTLE_S)
        await pilot.pause()
        return app.export_screenshot(title="fitune")


def recorded(base: Path) -> Path:
    """The recorded run, with an adapter folder as its worker left one."""
    run = make_run(base, "2026-11-22-smollm2-135m", told="ok")
    (run / "adapter").mkdir()
    (run / "worker.log").write_text("the recorded run kept no log\n")
    return run


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path)
    options.add_argument("run", type=Path, nargs="?")
    given = options.parse_args()
    given.folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as base:
        run = Run(given.run or recorded(Path(base)))
        for name, size, keys in PICTURES:
            (given.folder / f"{name}.svg").write_text(asyncio.run(picture(run, size, keys)), encoding="utf-8")


if __name__ == "__main__":
    main()
