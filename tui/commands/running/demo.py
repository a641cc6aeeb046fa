"""`fitune demo`: train a small real model on any machine, and show that it learnt. CPU: minutes; GPU: seconds."""

import argparse
import sys

from fitune.core import jobs
from fitune.core.errors import ExitCode, UserError
from fitune.core.recipe import load, presets_dir
from fitune.core.runs import Run
from fitune.core.score import scores
from fitune.tui.text import clean, wrapped
from fitune.tui.watch.follow import follow_to_end
from fitune.tui.watch.score_text import score_lines

TASK = (
    "turns a customer's message into one line, such as `team: delivery | urgency: high | item: kettle`. It learns from "
    "400 messages that were made up for this demo; a sixth of them is kept aside to score it."
)


def run(args: argparse.Namespace) -> int:
    """Train the small model that ships with fitune, and score it. Exit status: 0 if it got better, else 1."""
    if args.steps is not None and args.steps < 1:
        raise UserError(f"--steps {args.steps}: the demo needs at least one step; without --steps it takes 42.")
    folder = presets_dir() / "demo"
    sets = [f"data.source={folder / 'tickets.jsonl'}", f"data.replay_source={folder / 'general.jsonl'}"]
    sets += [] if args.steps is None else [f"train.max_steps={args.steps}", f"train.eval_every={args.steps}"]
    recipe = load.load(folder / "recipe.toml", sets)
    begun = jobs.begin(recipe, preset="demo", share_gpu=True)
    print(wrapped(f"Demo: {recipe.model.id} {TASK}", sys.stderr), file=sys.stderr)
    for note in (begun.backend_reason, *begun.notes):
        print(wrapped(clean(note), sys.stderr), file=sys.stderr)
    return follow_to_end(begun.run, tells_verdict=False) or show(begun.run)


def show(run: Run) -> int:
    """Print the scores of the demo's run and what comes next. Exit status as `run`."""
    found = scores.read(run.path)
    if found is None:
        print("It was not scored, so nobody can tell if it learnt; the warnings above say why.", file=sys.stderr)
        return ExitCode.FAILED
    print("\n" + "\n".join(score_lines(found)))
    if found.verdict.word != "better":
        why = (
            "It did not get better, so this demo has failed (exit status 1); too few steps do that. Again: fitune demo"
        )
        print(f"\n{why}", file=sys.stderr)
        return ExitCode.FAILED
    name = clean(run.name)
    print(f"\nWhat next:\n  fitune chat {name}     ask it yourself\n  fitune merge {name}    make one model of it")
    print(f"  {'fitune':<{len(name) + 17}}train on your own data")
    return ExitCode.DONE
