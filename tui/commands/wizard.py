"""`fitune`: the wizard, on a screen where the terminal can show it, else as numbered lines."""

import argparse
import tomllib
from typing import Any

from fitune.core import runs
from fitune.core.errors import UserError
from fitune.tui.terminal import surface


def run(args: argparse.Namespace) -> int:
    """Exit status: 130 if the user left before a run started; else 0 on a screen, that of the run in lines."""
    if args.answers and args.yes:
        from fitune.core.forecast import PLANNED  # it imports pydantic, which would delay the first frame
        from fitune.core.recipe import load
        from fitune.tui.commands.running import train

        recipe = load.load(args.answers)
        # As the wizard does: what the file sets stays as it is.
        is_open = not recipe.train.model_fields_set & {name.partition(".")[2] for name in PLANNED}
        return train.start(recipe, anyway=True, detach=False, fastest=is_open)
    if args.yes:
        raise UserError("--yes has nothing to start.", "Name the recipe: fitune --answers recipe.toml --yes")
    runs.home()  # that there is none is told before a screen is up
    answers = read_answers(args) if args.answers else None
    terminal = surface()
    if terminal == "none":
        raise UserError(
            "There is no terminal to ask on.", "Give the answers in a recipe file: fitune --answers recipe.toml --yes"
        )
    if args.plain or terminal == "plain":
        from fitune.tui.plain.wizard import run_plain

        return run_plain(answers)
    from fitune.tui.app import run_wizard

    return run_wizard(answers, plain_glyphs=terminal == "basic")


def read_answers(args: argparse.Namespace) -> dict[str, Any]:
    """The groups of a recipe file, checked. Raises UserError or BadInput."""
    from fitune.core.recipe import load

    load.load(args.answers)
    return tomllib.loads(args.answers.read_text(encoding="utf-8-sig"))
