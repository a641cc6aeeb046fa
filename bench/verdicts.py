"""Adapters whose worth is known get the verdict that they deserve, by real `fitune train` and `fitune score`.

usage: python bench/verdicts.py WORKDIR [--cases NAME ...] [--seeds N ...] [--out FILE.jsonl]
Real files, real trainings; each prints a JSON line with the verdict, its numbers, and whether it is one of those that
are right. On one thread of a processor a case takes half a minute, and tickets about four. The cases:

better     it learnt what its base could not: to send words to desks
untouched  its weights are noise, as rounding leaves it: some answers change, and none for a reason
shuffled   the labels of its training rows were exchanged at random, which spoils what its base knew
guessing   random labels that its base never writes: it learns to write them, and not which
overfit    as many passes over a few rows of random labels as bring the training loss to 0
few        too few rows to hold out enough
leak       rows of random labels, each twice in other spelling: it knows the second spelling by heart
reworded   scored on training rows in other spelling, and fresh ones beside them: only these count
prose      answers of twenty words, judged by their loss: the right ones, and those of other questions
tickets    the demo's rows alone and its real model of 135M: better at them, and it forgot how to answer anything else
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
from bench.knowing_model import DESKS, KINDS, make, triples
from fitune.core.recipe import presets_dir
from fitune.core.runs import Run
from fitune.core.runs.findings import findings
from fitune.core.score import Scores, scores

FITUNE = [sys.executable, "-P", "-m", "fitune"]
NOISE = 0.11
"""Standard deviation of the weights of an adapter that learnt nothing: it changes about 5 of 200 answers."""
SEEDS = [3407, 3408, 3409, 3410, 3411]
NOT_BETTER = {"no different", "worse", "can't tell"}
Row = tuple[str, str]


@dataclass(frozen=True)
class Outcome:
    """What a case came to."""

    got: str
    """The verdict's word, and what else is expected of it."""
    expected: bool
    found: Scores | None
    more: dict[str, Any]


class Work:
    """A case with its seed: its rows, its runs."""

    def __init__(self, folder: Path, case: str, seed: int) -> None:
        self.name, self.seed, self.folder = f"{case}-{seed}-{os.getpid()}", seed, folder
        self.dice = random.Random(seed)
        self.fresh = triples(self.dice)

    def known(self, count: int) -> list[Row]:
        """Questions that the base model can answer."""
        return [(f"Sort: {words}", kind) for words, kind in self.take(count)]

    def take(self, count: int) -> list[Row]:
        return [next(self.fresh) for _ in range(count)]

    def random_labels(self, count: int, labels: Sequence[str]) -> list[Row]:
        return [(f"Sort: {words}", self.dice.choice(labels)) for words, _ in self.take(count)]

    def write(self, rows: Sequence[Row], name: str = "rows") -> Path:
        path = self.folder / f"{self.name}-{name}.jsonl"
        path.write_text("".join(json.dumps({"question": asked, "answer": told}) + "\n" for asked, told in rows))
        return path

    def train(self, rows: Path, held_out: float | str = "auto", **train: Any) -> Run:
        """A run of the tiny model by `fitune train`. held_out: data.eval_fraction."""
        settings: dict[str, Any] = {
            "micro_batch": 16, "grad_accum": 1, "lr": 2e-3, "max_steps": 100, "checkpointing": "off",
            "optimizer": "adamw_torch", "score": "all", "seed": self.seed, "eval_every": 50, "save_every": 1000,
            **train,
        }  # fmt: skip
        recipe = self.folder / f"{self.name}.toml"
        recipe.write_text(
            f'[model]\nid = "{self.folder / "knowing"}"\nquant = "bf16"\nmax_seq_length = 160\n[lora]\nalpha = 32\n'
            f'[data]\nsource = "{rows}"\npacking = false\neval_fraction = {json.dumps(held_out)}\n'
            f'[run]\nname = "{self.name}"\n[train]\n'
            + "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items() if value is not None)
        )
        return self.run_recipe(recipe)

    def run_recipe(self, recipe: Path, *sets: str) -> Run:
        self.fitune("train", str(recipe), "--yes", *(part for each in sets for part in ("--set", each)))
        return Run(self.folder / "runs" / self.name)

    def score(self, run: Run, rows: Path) -> tuple[int, str]:
        """The exit status of `fitune score` on other rows, and what it said."""
        return self.fitune("score", run.name, "--data", str(rows))

    def fitune(self, *arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [*FITUNE, *arguments],
            env={**os.environ, "FITUNE_HOME": str(self.folder)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        with (self.folder / f"{self.name}.log").open("a") as log:
            log.write(f"$ fitune {' '.join(arguments)}\n{done.stdout}exit status {done.returncode}\n")
        return done.returncode, done.stdout


def judged(run: Run, words: set[str], **more: Any) -> Outcome:
    """The newest verdict on a run, on other rows if it was scored on them, and if it is one of `words`."""
    found = next(iter(scores.elsewhere(run.path)), None) or scores.read(run.path)
    got = found.verdict.word if found else "no score"
    return Outcome(got, got in words, found, {**more, "findings": kinds_of(run)})


def kinds_of(run: Run) -> list[str]:
    return [each.kind for each in findings(run.state())]


def better(work: Work) -> Iterator[Outcome]:
    rows = [(f"Desk: {words}", DESKS[kind]) for words, kind in work.take(400)]
    yield judged(work.train(work.write(rows)), {"better"})


def untouched(work: Work) -> Iterator[Outcome]:
    from safetensors.torch import load_file, save_file
    from torch import Generator, randn

    run = work.train(work.write(work.known(100)), max_steps=1, lr=1e-9, score="off", eval_every=1)
    path = run.adapter / "adapter_model.safetensors"
    dice = Generator().manual_seed(work.seed)
    weights = {
        name: randn(weight.shape, generator=dice) * NOISE if "lora_B" in name else weight
        for name, weight in load_file(path).items()
    }
    save_file(weights, path, {"format": "pt"})
    # Half of the questions have no right answer, so that the base model is right in some of them only.
    work.score(run, work.write([*work.known(100), *work.random_labels(100, list(KINDS))], "test"))
    yield judged(run, {"no different", "can't tell"})


def shuffled(work: Work) -> Iterator[Outcome]:
    rows = work.known(400)
    labels = [kind for _, kind in rows]
    work.dice.shuffle(labels)
    run = work.train(work.write([(asked, kind) for (asked, _), kind in zip(rows, labels, strict=True)]))
    yield judged(run, NOT_BETTER, on="held-out rows, shuffled too")
    work.score(run, work.write(work.known(120), "test"))
    yield judged(run, {"worse"}, on="right rows")


def guessing(work: Work) -> Iterator[Outcome]:
    yield judged(work.train(work.write(work.random_labels(400, list(DESKS.values())))), NOT_BETTER)


def overfit(work: Work) -> Iterator[Outcome]:
    rows = work.write(work.random_labels(140, list(KINDS)))
    run = work.train(rows, held_out=0.4, max_steps=500, patience=0, lr=4e-3, eval_every=100)
    last = [loss for _, loss in run.state().loss.points][-20:]
    found = judged(run, NOT_BETTER, train_loss=round(sum(last) / len(last), 4))
    told = not {"memorised", "overfitting"}.isdisjoint(found.more["findings"])
    yield Outcome(found.got, found.expected and told, found.found, found.more)


def few(work: Work) -> Iterator[Outcome]:
    rows = [(f"Desk: {words}", DESKS[kind]) for words, kind in work.take(60)]
    found = judged(work.train(work.write(rows)), {"can't tell"})
    more_rows = found.found.verdict.more_rows if found.found else None
    yield Outcome(found.got, found.expected and bool(more_rows), found.found, {**found.more, "more_rows": more_rows})


def leak(work: Work) -> Iterator[Outcome]:
    rows = work.random_labels(200, list(KINDS))
    again = [(f"{asked.upper()}!", label) for asked, label in rows]
    yield judged(work.train(work.write([*rows, *again]), max_steps=300, lr=4e-3, eval_every=100), NOT_BETTER)


def reworded(work: Work) -> Iterator[Outcome]:
    rows = [(f"Desk: {words}", DESKS[kind]) for words, kind in work.take(400)]
    run = work.train(work.write(rows), held_out=0, eval_every=None, score="off")
    trained = [(f"{asked.upper()}.", f" {desk.capitalize()} ") for asked, desk in rows]
    status, said = work.score(run, work.write(trained[:100], "trained"))
    refused = status == 1 and "among the training rows" in said
    yield Outcome("refused" if refused else "not refused", refused, None, {"on": "training rows alone"})
    fresh = [(f"Desk: {words}", DESKS[kind]) for words, kind in work.take(80)]
    work.score(run, work.write([*trained[:100], *fresh], "mixed"))
    found = judged(run, {"better"}, on="fresh rows beside training rows")
    counted = found.found is not None and found.found.verdict.rows == len(fresh)
    yield Outcome(found.got, found.expected and counted, found.found, found.more)


def prose(work: Work) -> Iterator[Outcome]:
    def reply(kind: str) -> str:
        return f"{DESKS[kind]} desk: {' '.join(KINDS[kind])} are {kind} and go {DESKS[kind]}"

    rows = [(f"Desk: {words}", reply(kind)) for words, kind in work.take(400)]
    longer: dict[str, Any] = {"max_steps": 150, "lr": 4e-3}
    yield judged(work.train(work.write(rows, "right"), **longer), {"better"}, on="right answers")
    answers = [answer for _, answer in rows]
    work.dice.shuffle(answers)
    exchanged = [(asked, answer) for (asked, _), answer in zip(rows, answers, strict=True)]
    work.name += "-exchanged"
    yield judged(work.train(work.write(exchanged), **longer), NOT_BETTER, on="answers of other questions")


def tickets(work: Work) -> Iterator[Outcome]:
    demo = presets_dir() / "demo"
    sets = (
        f"data.source={demo / 'tickets.jsonl'}",
        f"train.seed={work.seed}",
        f"run.name={work.name}",
        "data.replay=0",
    )
    run = work.run_recipe(demo / "recipe.toml", *sets, "train.score=off")
    work.fitune("score", run.name)  # which asks all general questions, at the end of a training only some
    yield judged(run, {"better"}, on="held-out rows")
    found = scores.read(run.path)
    forgot = found.forgetting if found else None
    word, numbers = (forgot.word, (forgot.rows, forgot.base, forgot.tuned, forgot.p)) if forgot else ("not asked", ())
    yield Outcome(word, word == "worse", None, {"on": "general questions", "rows_base_tuned_p": numbers})


CASES: dict[str, Callable[[Work], Iterator[Outcome]]] = {
    each.__name__: each
    for each in (better, untouched, shuffled, guessing, overfit, few, leak, reworded, prose, tickets)
}


def line_of(case: str, seed: int, outcome: Outcome, elapsed_s: float) -> str:
    """The JSON line of an outcome."""
    numbers: dict[str, Any] = {}
    if outcome.found:
        found = outcome.found.verdict
        numbers = {
            "metric": found.metric, "n": found.rows, "leaked": found.leaked, "base": round(found.base, 4),
            "tuned": round(found.tuned, 4), "p": float(f"{found.p:.3g}"),
            "interval": [round(found.low, 4), round(found.high, 4)],
        }  # fmt: skip
    line = {"case": case, "seed": seed, "verdict": outcome.got, "expected": outcome.expected, **numbers, **outcome.more}
    return json.dumps({**line, "elapsed_s": round(elapsed_s, 1)}) + "\n"


def main() -> None:
    """Run the cases, seed by seed."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("work", type=Path)
    options.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    options.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    options.add_argument("--out", type=Path)
    args = options.parse_args()
    folder = args.work.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "knowing").is_dir():
        make(folder / "knowing")
    for seed in args.seeds:
        for case in args.cases:
            began = time.monotonic()
            for outcome in CASES[case](Work(folder, case, seed)):
                line = line_of(case, seed, outcome, time.monotonic() - began)
                print(line, end="", flush=True)
                if args.out:
                    with args.out.open("a") as file:
                        file.write(line)


if __name__ == "__main__":
    main()
