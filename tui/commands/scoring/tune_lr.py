"""`fitune tune-lr RECIPE`: race four learning rates on the recipe's own rows, and say which one won."""

import argparse
import sys

import orjson

from fitune.core import jobs
from fitune.core.errors import ExitCode
from fitune.core.recipe import load
from fitune.core.records import from_json, to_json
from fitune.core.score import Race
from fitune.tui.commands.running.train import start
from fitune.tui.data.clear_rows import with_clear_rows
from fitune.tui.text import as_ascii_json, clean, count, duration, exponent, number, table
from fitune.tui.watch.follow import follow_to_end


def run(args: argparse.Namespace) -> int:
    """Print the laps and the winner, or with --json what race.json holds. Exit status: 0 done, 1 failed or no winner;
    with --train that of the training."""
    recipe = with_clear_rows(load.load(args.recipe, args.set), accept_guess=False)
    raced = jobs.tune_lr(recipe, args.minutes, args.share_gpu)
    status = follow_to_end(raced)
    if status:
        return status
    race = from_json(Race, orjson.loads((raced.path / "race.json").read_bytes()))
    if args.json:
        print(as_ascii_json(to_json(race)))
    else:
        rows = [["RATE", "STEPS", "TRAINING LOSS", "HELD-OUT LOSS", "TIME"]]
        for lap in race.laps:
            last = lap.losses[-1] if lap.losses else None
            shown = (exponent(lap.lr), count(lap.steps), number(last), number(lap.held_out), duration(lap.elapsed_s))
            rows.append(list(shown))
        print(table(rows, numbers={1, 2, 3, 4}))
    if race.best_lr is None:
        print("Every rate diverged: start lower, with --set train.lr=1e-5.", file=sys.stderr)
        return ExitCode.FAILED
    if args.train:
        print(f"The best rate is {exponent(race.best_lr)}; the training starts with it.", file=sys.stderr)
        train = recipe.train.model_copy(update={"lr": race.best_lr})
        return start(recipe.model_copy(update={"train": train}), anyway=False, detach=False, share_gpu=args.share_gpu)
    sets = "".join(f" --set {each}" for each in (*args.set, f"train.lr={race.best_lr:g}"))
    command = clean(f"fitune train {args.recipe}{sets}", 400)
    print(f"The best rate is {exponent(race.best_lr)}. Train with it: {command}", file=sys.stderr)
    return ExitCode.DONE
