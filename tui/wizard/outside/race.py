"""The race of learning rates on the rows of a draft, as `fitune tune-lr` runs it."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson

from fitune.core.errors import ExitCode, UserError
from fitune.core.recipe import Recipe, load
from fitune.core.records import from_json
from fitune.core.score import Race
from fitune.tui.text import exponent

FILE = "recipe-of-race.toml"
ASKED = "Four short trainings on your rows, ten minutes in all, find the learning rate that learns fastest. Race now?"

WORDS = (
    "Racing four learning rates on your rows. The first training begins after the model is loaded; Ctrl+C goes back."
)


def raced(asked: Recipe, base: Path, run: Callable[[Sequence[str]], tuple[int, str]]) -> Race:
    """Race the learning rates. run: runs a command on the terminal and gives what it prints.

    base: a folder for the recipe. Raises UserError where the race was left or failed.
    """
    file = base / FILE
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.write_text(load.to_toml(asked), encoding="utf-8")
    except OSError as error:
        hint = "Set FITUNE_HOME to a folder you can write to."
        raise UserError(f"{file} can't be written: {error.strerror}.", hint) from None
    status, printed = run([sys.executable, "-m", "fitune", "tune-lr", str(file), "--json"])
    if status == ExitCode.STOPPED:
        raise UserError(
            "The race was left.",
            "It goes on by itself and holds the card until it ends; fitune stop with its name ends it.",
        )
    try:
        return from_json(Race, orjson.loads(printed))
    except (orjson.JSONDecodeError, TypeError, ValueError, KeyError):
        raise UserError("The race has no result.", f"See: fitune tune-lr {file}", ExitCode.FAILED) from None


def outcome(race: Race) -> str:
    """The rate that won, which is set then, as a sentence."""
    if race.best_lr is None:
        return "ERROR Every rate diverged: set a lower one, such as 1e-5."
    return f"OK {exponent(race.best_lr)} learned fastest of {len({lap.lr for lap in race.laps})} rates, and is set now."
