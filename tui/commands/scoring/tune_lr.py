"""`fitune tune-lr RECIPE`: race four learning rates on the recipe's own rows, and say which one won."""

import argparse
import sys
from math import isfinite

import orjson

from fitune.core import jobs
from fitune.core.errors import ExitCode
from fitune.core.recipe import Recipe, load
from fitune.core.records import from_json, to_json
from fitune.core.runs import Run
from fitune.core.score import Race
from fitune.tui.commands.running.train import start
from fitune.tui.data.clear_rows import with_clear_rows
from fitune.tui.text import (
    as_ascii_json,
    clean,
    count,
    curve,
    duration,
    exponent,
    number,
    shows_unicode,
    table,
    wrapped,
)
from fitune.tui.watch.follow import follow_to_end

GOES_ON = "The training goes on from step {step} of the race: up to there it would take the same steps again."
ANEW = (
    "The training starts anew with it: its warm-up is longer than the trainings of the race, which had a shorter one. "
    "With more --minutes they are longer."
)
OTHER_ROWS = (
    "Its held-out losses are not to be compared with those of the race: each looks at other rows of those held out."
)
ANEW_WITHOUT_REPLAY = "The training starts anew with it: the race was without the general rows of data.replay."


def run(args: argparse.Namespace) -> int:
    """Print the laps and the winner, or with --json what race.json holds. Exit status: 0 done, 1 failed or no winner;
    with --train that of the training."""
    recipe = with_clear_rows(load.load(args.recipe, args.set), accept_guess=False)
    raced = jobs.tune_lr(recipe, args.minutes, args.share_gpu)
    limit = f"{args.minutes:g} min together (--minutes)"
    _tell(f"Four rates are tried in short trainings, for {limit}; loading comes first.")
    status = follow_to_end(raced)
    if status:
        return status
    race = from_json(Race, orjson.loads((raced.path / "race.json").read_bytes()))
    print(as_ascii_json(to_json(race)) if args.json else laps_table(race))
    if race.best_lr is None:
        _tell("Every rate diverged: start lower, with --set train.lr=1e-5.")
        return ExitCode.FAILED
    _tell(f"The best rate is {exponent(race.best_lr)}.{in_the_noise(race)}{at_the_edge(race)}")
    if args.train:
        train = recipe.train.model_copy(update={"lr": race.best_lr})

        def go_on(run: Run) -> None:
            _tell(f"{_where_it_begins(jobs.go_on(raced, run), recipe)} {OTHER_ROWS}")

        winner = recipe.model_copy(update={"train": train})
        return start(winner, anyway=False, detach=False, share_gpu=args.share_gpu, prepare=go_on)
    sets = "".join(f" --set {each}" for each in (*args.set, f"train.lr={race.best_lr:g}"))
    print(clean(f"Train with it: fitune train {args.recipe}{sets}", 400), file=sys.stderr)
    return ExitCode.DONE


def _tell(text: str) -> None:
    print(wrapped(text, sys.stderr), file=sys.stderr)


def _where_it_begins(step: int | None, recipe: Recipe) -> str:
    """A sentence on the step of the race that the training goes on from, or on why it starts anew."""
    if step is not None:
        return GOES_ON.format(step=count(step))
    return ANEW_WITHOUT_REPLAY if recipe.data.replay else ANEW


def laps_table(race: Race) -> str:
    """The trainings of a race as a table, with the course of each loss on one scale."""
    finite = [loss for lap in race.laps for loss in lap.losses if isfinite(loss)] or [0.0]
    rows = [["RATE", "STEPS", "TRAINING LOSS", "HELD-OUT LOSS", "TIME", "ITS COURSE"]]
    for lap in race.laps:
        losses = [loss for loss in lap.losses if isfinite(loss)]
        last = lap.losses[-1] if lap.losses else None
        shown = (exponent(lap.lr), count(lap.steps), number(last), number(lap.held_out), duration(lap.elapsed_s))
        rows.append([*shown, curve(losses, min(finite), max(finite), unicode=shows_unicode(sys.stdout.encoding))])
    return table(rows, numbers={1, 2, 3, 4})


def in_the_noise(race: Race) -> str:
    """A sentence where another rate of the last round can't be told from the best."""
    if not race.level:
        return ""
    return f" {', '.join(map(exponent, race.level))} can't be told from it: what lies between them is within chance."


def at_the_edge(race: Race) -> str:
    """A sentence where the lowest or the highest rate of the race has won, as there was no time for one beyond it."""
    rates = sorted({lap.lr for lap in race.laps})
    if race.best_lr is None or race.best_lr not in (rates[0], rates[-1]):
        return ""
    side, centre = ("highest", race.best_lr) if race.best_lr == rates[-1] else ("lowest", race.best_lr / 2)
    return (
        f" It is the {side} of the race, which had no time for one beyond it: give it more --minutes, or race with "
        f"--set train.lr={centre:g}."
    )
