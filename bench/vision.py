"""Models that see, on rows with images: does `fitune train` teach them, go on from a checkpoint, merge with proof, and
is the memory that was told before what they take?

usage: python bench/vision.py MODELS_DIR [--only FAMILY:BACKEND ...] [--at-once N] [--limit-s S] [--within-s S]
                              [--tiny] [--keep] [--out FILE]
Families are those of bench/seeing_models.py with real widths, few layers and random weights; a backend left out means
both. Each case is a chain of commands as a person would give them: data, train, resume, merge, all in a home of its
own, ended after --limit-s seconds; none goes on when --within-s seconds have passed since the start. Prints one JSON
line a case as soon as it ends, with all that it got to, after one that names card and versions. --tiny: on a processor.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
from bench import vram
from bench.seeing_models import REAL
from fitune.core.errors import UserError
from fitune.core.runs import Eval, Finished, Memory, Run, Sample, Score, Started, Step, Tail, Warned

BACKENDS = ("unsloth", "trl")
STEPS, HALF = 8, 4
SCORED = "qwen3_vl"
"""The family whose models are scored at the end, too: it takes 20 s."""
SIZES = ((1024, 768), (768, 1024), (900, 900), (640, 480), (300, 700), (96, 96))
"""Width and height of the images; the larger ones are made smaller, to 768 x 768 pixels."""
COLOURS = ("red", "green", "blue", "white")
ROWS, TEXT_ROWS = 30, 4
LEAST_S = 40.0  # a case is not begun with less time


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("models", type=Path)
    options.add_argument("--only", nargs="*", default=[], metavar="FAMILY:BACKEND")
    options.add_argument("--at-once", type=int, default=1)
    options.add_argument("--limit-s", type=float, default=600, help="seconds of a case, without making its model")
    options.add_argument("--within-s", type=float, default=86_400, help="seconds of all cases")
    options.add_argument("--tiny", action="store_true", help="models of some thousand weights")
    options.add_argument("--keep", action="store_true", help="keep models and runs")
    options.add_argument("--out", type=Path)
    args = options.parse_args()
    end = time.monotonic() + args.within_s
    args.models.mkdir(parents=True, exist_ok=True)
    vram.write(json.dumps({"about": vram.about(), "tiny": args.tiny}) + "\n", args.out)
    cases = asked(args.only)
    rows = write_rows(args.models / "rows")
    models = Models(args.models, [family for family, _ in cases], args.tiny, args.keep)
    with ThreadPoolExecutor(args.at_once) as pool:
        for job in as_completed(pool.submit(row_of, *case, models, rows, args, end) for case in cases):
            vram.write(json.dumps(job.result()) + "\n", args.out)


def asked(only: list[str]) -> list[tuple[str, str]]:
    """The cases that are named, in that order; all of them where none is. Unsloth's come first: they take longest."""
    pairs = [(family, backend) for backend in BACKENDS for family in REAL]
    if not only:
        return pairs
    found = []
    for name in only:
        family, _, backend = name.partition(":")
        found += [pair for pair in pairs if pair[0] == family and backend in ("", pair[1])]
    return list(dict.fromkeys(found))


def write_rows(folder: Path) -> Path:
    """Rows about images of one colour in several sizes, PNG and JPEG, and a few rows of text alone."""
    from PIL import Image, ImageDraw

    (folder / "img").mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for number in range(ROWS):
        colour, (width, height) = COLOURS[number % 4], SIZES[number % len(SIZES)]
        image = Image.new("RGB", (width, height), colour)
        ImageDraw.Draw(image).ellipse((width // 4, height // 4, width // 2, height // 2), fill="black")
        path = f"img/{number}.{'jpg' if number % 2 else 'png'}"
        image.save(folder / path)
        rows.append({"question": f"Number {number}: what colour is it?", "answer": f"It is {colour}.", "image": path})
    rows += [{"question": f"What is {n} plus 1?", "answer": f"It is {n + 1}."} for n in range(TEXT_ROWS)]
    source = folder / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return source


class Models:
    """A model for each family, made when first asked for, and removed when its cases are done."""

    def __init__(self, folder: Path, wanted: list[str], tiny: bool, keep: bool) -> None:
        """wanted: the family of each case."""
        self.folder, self.wanted, self.tiny, self.keep = folder, wanted, tiny, keep
        self._made: dict[str, Future[Path]] = {}
        self._lock = threading.Lock()

    def get(self, family: str) -> Path:
        """The folder of a family's model. Raises vram.NotMade."""
        with self._lock:
            mine = family not in self._made
            future = self._made.setdefault(family, Future())
        if mine:
            try:
                future.set_result(self._make(family))
            except vram.NotMade as error:
                future.set_exception(error)
        made: Path = future.result()
        return made

    def done(self, family: str) -> None:
        """One of a family's cases has ended."""
        with self._lock:
            self.wanted.remove(family)
            if family not in self.wanted and not self.keep:
                shutil.rmtree(self.folder / family, ignore_errors=True)

    def _make(self, family: str) -> Path:
        folder, aside = self.folder / family, self.folder / f"{family}.part"
        if not folder.exists():
            shutil.rmtree(aside, ignore_errors=True)
            script = str(Path(__file__).with_name("seeing_models.py"))
            code, _, told = vram.ended([sys.executable, script, family, str(aside), *["--tiny"] * self.tiny], 300)
            if code:
                raise vram.NotMade(told)
            aside.rename(folder)
        return folder


def row_of(
    family: str, backend: str, models: Models, rows: Path, args: argparse.Namespace, end: float
) -> dict[str, Any]:
    """The line of a case: all that it got to, and where it failed, why."""
    row: dict[str, Any] = {"family": family, "backend": backend}
    try:
        if end - time.monotonic() < LEAST_S:
            return row | {"failed": "not begun: no time was left"}
        model = models.get(family)
        case = Case(family, backend, model, rows, args, min(end, time.monotonic() + args.limit_s), row)
        shutil.rmtree(case.home, ignore_errors=True)
        case.home.mkdir(parents=True)
        try:
            case.run_all()
        finally:
            case.put_away()
    except (vram.NotMade, CaseFailed, UserError, OSError) as error:
        row["failed"] = " ".join(str(error).split())
    finally:
        models.done(family)
    return row


class CaseFailed(Exception):
    """A command of a case failed, or the time was up."""


@dataclass
class Case:
    """One training by one backend, in a home of its own."""

    family: str
    backend: str
    model: Path
    rows: Path
    args: argparse.Namespace
    end: float
    """The moment by time.monotonic() at which it is ended."""
    row: dict[str, Any]
    """What was found, so far."""

    @property
    def home(self) -> Path:
        models: Path = self.args.models
        return (models / f"home-{self.family}-{self.backend}").absolute()

    @property
    def run(self) -> Run:
        return Run(self.home / "runs" / "seen")

    def run_all(self) -> None:
        """Each command in turn; what it shows goes into the row. Raises CaseFailed."""
        recipe = self.home / "recipe.toml"
        recipe.write_text(self.recipe())
        for name, command, look in self.stages(recipe):
            began = time.monotonic()
            try:
                self.fitune(name, *command)
            finally:
                self.row[f"{name}_s"] = round(time.monotonic() - began, 1)
                if self.run.events.exists():
                    look()

    def stages(self, recipe: Path) -> Iterator[tuple[str, list[str], Callable[[], None]]]:
        """Name and words of each command, and what to look at afterwards."""
        yield "data", ["data", "--recipe", str(recipe), "--json"], lambda: None
        yield "train", ["train", str(recipe), "--yes", "--share-gpu"], self.look_at_training
        shutil.rmtree(self.run.checkpoints / f"checkpoint-{STEPS}")
        shutil.rmtree(self.run.adapter)
        yield "resume", ["resume", "seen", "--share-gpu"], self.look_at_resume
        yield "merge", ["merge", "seen"], self.look_at_merge

    def recipe(self) -> str:
        """The recipe file: two rows at once, a checkpoint amid the steps, and images as the defaults say."""
        unsloth, tiny = self.backend == "unsloth", self.args.tiny
        return "\n".join(
            [
                "[model]", f'id = "{self.model.absolute()}"', f'quant = "{"bf16" if tiny else "nf4"}"',
                "max_seq_length = 4096",
                "[data]", f'source = "{self.rows.absolute()}"', "eval_fraction = 0.1",
                *(["image_pixels = 4000"] if tiny else []),
                "[train]", f'backend = "{self.backend}"', "micro_batch = 2", "grad_accum = 1", f"max_steps = {STEPS}",
                "lr = 1e-3", 'scheduler = "constant"', f"save_every = {HALF}", f"eval_every = {HALF}",
                f'checkpointing = "{"unsloth" if unsloth else "on"}"',
                f'score = "{"auto" if self.family == SCORED else "off"}"',
                "[run]", 'name = "seen"', "",
            ]
        )  # fmt: skip

    def fitune(self, name: str, *words: str) -> None:
        """One command, to its end or the case's. Raises CaseFailed."""
        env = {
            **os.environ, "FITUNE_HOME": str(self.home), "UNSLOTH_COMPILE_LOCATION": str(self.home / "compiled"),
            "COLUMNS": "200",
        }  # fmt: skip
        limit_s = max(1.0, self.end - time.monotonic())
        code, _, told = vram.ended([sys.executable, "-P", "-m", "fitune", *words], limit_s, env)
        if code:
            log = self.run.log.read_text(errors="replace")[-1500:] if self.run.log.exists() else ""
            raise CaseFailed(f"{name}: {told or 'no word'} ... {log}")

    def put_away(self) -> None:
        """End a worker that is still there, and free the disk."""
        with suppress(ProcessLookupError, PermissionError, UserError):
            if pid := self.run.holder_pid():
                os.killpg(pid, signal.SIGKILL)
        if self.run.log.exists():
            shutil.copy(self.run.log, self.home.with_suffix(".log"))
        if not self.args.keep:
            shutil.rmtree(self.home, ignore_errors=True)

    def events(self) -> list[Any]:
        """The content of all events so far."""
        return [event.data for event in Tail(self.run.events).catch_up()]

    def look_at_training(self) -> None:
        """What was told before, and what came."""
        events, info = self.events(), self.run.info()
        memory = [each for each in events if isinstance(each, Memory)]
        steps = [each for each in events if isinstance(each, Step)]
        losses = [each.loss for each in steps if each.loss is not None]
        budget, work = info.budget, info.workload or {}
        self.row |= {
            "on": next((each.device for each in events if isinstance(each, Started)), None),
            "losses": losses,
            "eval_losses": [each.loss for each in events if isinstance(each, Eval)],
            "falls": bool(losses) and losses[-1] < losses[0],
            "tokens_per_s": [round(each.tokens_per_s or 0) for each in steps],
            "peak_bytes": max((each.predicted_peak or 0 for each in memory), default=0),
            "peak_allocated": max((each.peak_allocated or 0 for each in memory), default=0),
            "peak_reserved": max((each.peak_reserved or 0 for each in memory), default=0),
            "budget_bytes": budget and budget.total_bytes,
            "low_bytes": budget and budget.low_bytes,
            "high_bytes": budget and budget.high_bytes,
            "parts": {str(part["name"]): part["bytes"] for part in budget.parts} if budget else None,
            "longest": work.get("longest"),
            "micro_tokens": work.get("micro_tokens"),
            "pixels": work.get("pixels"),
            "samples": [each.after for each in events if isinstance(each, Sample)][-2:],
            "score": next((each.word for each in events if isinstance(each, Score)), None),
            "warnings": [f"{each.kind}: {each.message}"[:300] for each in events if isinstance(each, Warned)],
        }

    def look_at_resume(self) -> None:
        """The largest difference of a loss after the resume to the one without it."""
        before, after = self.row["losses"], dict[int, float]()
        for each in self.events():
            if isinstance(each, Started):
                after = {}
            elif isinstance(each, Step) and each.loss is not None:
                after[each.step] = each.loss
        pairs = [(before[step - 1], loss) for step, loss in after.items() if HALF < step <= len(before)]
        self.row["resumed_steps"] = len(pairs)
        self.row["resume_gap"] = max((abs(one - other) for one, other in pairs), default=None)

    def look_at_merge(self) -> None:
        """Whether the proof passed."""
        ends = [each for each in self.events() if isinstance(each, Finished) and each.proof is not None]
        self.row["proof"] = bool(ends and (ends[-1].proof or {}).get("passed"))


if __name__ == "__main__":
    main()
