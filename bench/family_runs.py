"""Today's families from end to end by `fitune`: what was said, calibrated and taken; resume; merge with its proof.

usage: python bench/family_runs.py MODELS_DIR [--only TEXT ...] [--limit-s SECONDS] [--out FILE.jsonl] [--logs FOLDER]
All models are built in MODELS_DIR first, with random weights, and removed in the end. One JSON line a
stage, in bytes, as it ends; what the commands said is in --logs. A calibration learns nothing on a card that is shared.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))
from bench import vram
from bench.family_models import Shelf, ended
from bench.fits import write_rows
from fitune.core.runs import Run

STEPS, SAVE_EVERY = 6, 3
NAME = "measured"
FITUNE = [sys.executable, "-P", "-m", "fitune"]


class Case(NamedTuple):
    """A model, what its recipe has other than the defaults, and what is tried with it."""

    model: str
    sets: dict[str, str]
    calibrates: bool = True
    resumes: bool = True
    merges: bool = False
    into: str | None = None
    """The 16-bit model that the adapter of a quantized one is merged into."""

    @property
    def models(self) -> list[str]:
        return [self.model, *([self.into] if self.into else [])]


LITTLE = {"train.micro_batch": "1", "train.grad_accum": "2"}
CASES = (
    Case("google/gemma-4-E4B-it", {}, merges=True),
    Case("mistralai/Ministral-3-8B-Base-2512", {}, merges=True),
    Case("Qwen/Qwen3.5-9B", LITTLE, merges=True),
    Case("Qwen/Qwen3-VL-4B-Instruct", {}),
    Case("whole-gpt-oss-20b-nf4", LITTLE, calibrates=False, merges=True, into="unsloth/gpt-oss-20b-BF16"),
    Case("run-gpt-oss-20b-nf4-4l", {}, calibrates=False, merges=True, into="gpt-oss-20b-4l"),
)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("models", type=Path)
    options.add_argument("--only", nargs="*", default=[""], help="only models whose names hold one of these")
    options.add_argument("--limit-s", type=float, default=900, help="after so long a stage is given up")
    options.add_argument("--out", type=Path, default=Path("family_runs.jsonl"))
    options.add_argument("--logs", type=Path, default=Path("logs"))
    args = options.parse_args()
    args.models.mkdir(parents=True, exist_ok=True)
    args.logs.mkdir(parents=True, exist_ok=True)
    vram.write(json.dumps({"about": vram.about()}) + "\n", args.out)
    cases = [case for case in CASES if any(text in case.model for text in args.only)]
    shelf = Shelf(args.models, args.logs, [name for case in cases for name in case.models])
    with ExitStack() as kept, ThreadPoolExecutor(len(cases)) as pool:
        folders = [Path(kept.enter_context(tempfile.TemporaryDirectory())) for _ in cases]
        ready = pool.map(lambda case, folder: prepared(case, folder, shelf, args), cases, folders)
        places = [place for place in ready if place]
        for stages in (first_stages, later_stages):
            for place in places:
                with ended_well(place):
                    for stage in stages(place):
                        place.write(stage)
    for case in cases:
        for name in case.models:
            shelf.done(name)


def prepared(case: Case, folder: Path, shelf: Shelf, args: argparse.Namespace) -> "Place | None":
    """Make the models of a case, and ask what its training will take. None if that fails: its line says why."""
    place = Place(folder, shelf, args, case)
    with ended_well(place):
        for name in case.models:
            if told := shelf.make(name, args.limit_s):
                raise Failed(f"make {name}: {told}")
        place.write({"stage": "estimate", "said": place.estimate()})
    return None if place.failed else place


def first_stages(place: "Place") -> Iterator[dict[str, Any]]:
    """The calibration, and the whole training."""
    if place.case.calibrates:
        yield {"stage": "calibrate", "said": place.estimate("--calibrate")}
    place.fitune("train", str(place.recipe), "--yes", "--share-gpu", "--set", f"run.name={NAME}")
    yield {"stage": "train", **place.taken()}


def later_stages(place: "Place") -> Iterator[dict[str, Any]]:
    """The resume from the middle, beside the training without it; the merge."""
    if place.failed:
        return
    if place.case.resumes:
        whole = place.taken()["losses"]
        place.forget_the_end()
        place.fitune("resume", NAME, "--share-gpu")
        again = place.taken()
        gaps = [abs(again["losses"][-number] - whole[-number]) for number in range(1, STEPS - SAVE_EVERY + 1)]
        yield {"stage": "resume", **again, "loss_gap": round(max(gaps), 4)}
    if place.case.merges:
        place.fitune("merge", NAME, *place.base)
        yield {"stage": "merge", "proof": place.proof()}


class Failed(Exception):
    """A command of a case ended badly."""


@contextmanager
def ended_well(place: "Place") -> Iterator[None]:
    """Write a line for the stage of a case that fails, and leave no worker of it on the card."""
    place.began = time.monotonic()
    try:
        yield
    except Failed as error:
        place.failed = True
        place.write({"stage": "failed", "failed": str(error)})
    finally:
        for run in (place.home / "runs").glob("*"):  # a worker outlives its command
            Run(run).kill()


class Place:
    """The folder of a case, with its recipe, its rows, and a FITUNE_HOME where nothing was learned yet."""

    def __init__(self, folder: Path, shelf: Shelf, args: argparse.Namespace, case: Case) -> None:
        self.case, self.args, self.failed = case, args, False
        self.short = shelf.folder(case.model).name
        self.home, self.recipe, self.said = folder / "home", folder / "recipe.toml", folder / "said.json"
        self.base = ["--base", str(shelf.folder(case.into))] if case.into else []
        self.calls, self.began = 0, time.monotonic()
        train = {"train.micro_batch": "2", "train.grad_accum": "2", **case.sets}
        self.sets = [text for name, value in train.items() for text in ("--set", f"{name}={value}")]
        self.recipe.write_text(
            f'[model]\nid = "{shelf.folder(case.model)}"\nmax_seq_length = 1024\n'
            f'[data]\nsource = "{write_rows(folder)}"\neval_fraction = 0\npacking = false\n'
            f"[train]\nmax_steps = {STEPS}\nsave_every = {SAVE_EVERY}\n"
        )

    def write(self, stage: dict[str, Any]) -> None:
        """Write a line, with the seconds since the last one."""
        line = {"model": self.case.model, **stage, "s": round(time.monotonic() - self.began)}
        vram.write(json.dumps(line) + "\n", self.args.out)
        self.began = time.monotonic()

    def fitune(self, command: str, *words: str) -> None:
        """Run a command of fitune. Raises Failed with what it said."""
        self.calls += 1
        log = self.args.logs / f"{self.short}-{self.calls}-{command}.txt"
        env = {**os.environ, "FITUNE_HOME": str(self.home)}
        sets = self.sets if command in ("estimate", "train") else []
        told = ended([*FITUNE, command, *words, *sets], self.args.limit_s, log, env, self.said)
        if told:
            for worker in (self.home / "runs").glob("*/worker.log"):
                shutil.copy(worker, self.args.logs / f"{self.short}-{self.calls}-{worker.parent.name}.log")
            raise Failed(f"{command}: {told}")

    def estimate(self, *words: str) -> int:
        """The bytes of the card that fitune says beforehand."""
        self.fitune("estimate", str(self.recipe), "--json", *words)
        return int(json.loads(self.said.read_text())["total_bytes"])

    def taken(self) -> dict[str, Any]:
        """What the newest training of the run took."""
        run = self.home / "runs" / NAME
        found = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
        begun = max(number for number, event in enumerate(found) if event["type"] == "started")
        began = found[begun]
        steps = [event for event in found[begun:] if event["type"] == "step"]
        memory: dict[str, int] = next(
            (event["data"]["memory"] for event in reversed(found) if event["data"].get("memory")), {}
        )
        return {
            "backend": began["data"]["backend"],
            "said": json.loads((run / "run.json").read_text())["budget"]["total_bytes"],
            "device": memory.get("peak_device"),
            "reserved": memory.get("peak_reserved"),
            "allocated": memory.get("peak_allocated"),
            "step_s": [round(step["t"] - began["t"], 1) for step in steps],
            "losses": [step["data"]["loss"] for step in steps],
        }

    def forget_the_end(self) -> None:
        """Leave the run as if it had been killed after its first checkpoint."""
        run = self.home / "runs" / NAME
        shutil.rmtree(run / "adapter")
        shutil.rmtree(run / "checkpoints" / f"checkpoint-{STEPS}", ignore_errors=True)

    def proof(self) -> list[str]:
        """What the merge proved, a line a check."""
        proof = json.loads((self.home / "runs" / NAME / "merged" / "proof.json").read_text())
        return [f"{check['check']}: {check['got']} ({check['passed']})" for check in proof["checks"]]


if __name__ == "__main__":
    main()
