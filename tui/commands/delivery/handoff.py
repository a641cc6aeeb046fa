"""`fitune handoff RUN|RECIPE --to TARGET`: print or write files that run elsewhere without fitune."""

import argparse
import contextlib
import os
import shlex
import sys
from pathlib import Path

from fitune.core import runs
from fitune.core.deliver import handoff
from fitune.core.deliver.archive import fetch_command, pack
from fitune.core.deliver.handoff.spec import TrainingSpec, from_recipe, from_run
from fitune.core.errors import ExitCode, UserError
from fitune.core.forecast import learning_rate
from fitune.core.memory import shapes
from fitune.core.recipe import Recipe, changed, load
from fitune.tui.text import clean, size


def run(args: argparse.Namespace) -> int:
    """Print the main file, or with --out write the folder; for zip, print the command that fetches it. Status 0."""
    specs = [spec_of(source, args.set) for source in args.what]
    if args.to == "zip":
        return zipped(specs, args.out)
    if args.out:
        names = handoff.write(args.to, specs, args.out)
        main_file = next(iter(handoff.files_for(args.to, specs)))
        message = f"Wrote {', '.join(names)} into {args.out}. The instructions are at the top of {main_file}."
        print(clean(message), file=sys.stderr)
        return ExitCode.DONE
    main_text, *other_texts = handoff.files_for(args.to, specs).items()
    sys.stdout.write(main_text[1])
    other_files = [name for name, _ in other_texts] + handoff.row_files(args.to, specs[0])
    if other_files:
        command = shlex.join(["fitune", "handoff", *args.what, "--to", args.to, "--out", "FOLDER"])
        print(
            clean(f"It is {main_text[0]}, and also needs {', '.join(other_files)}. All of them: {command}"),
            file=sys.stderr,
        )
    return ExitCode.DONE


def spec_of(what: str, overrides: list[str]) -> TrainingSpec:
    """The spec of a recipe file, a preset or the run with that name. Raises UserError or BadInput."""
    path = Path(what)
    if path.is_file() or path.suffix == ".toml" or load.preset_file(path):
        return from_recipe(with_rate(load.load(path, overrides)), path)
    if overrides:
        raise UserError(
            "--set changes recipes; a run is handed off as it was.", "Take --set away, or hand off a recipe."
        )
    return from_run(runs.find(runs.home(), what))


def with_rate(recipe: Recipe) -> Recipe:
    """The recipe with its learning rate as a number, which is told where the recipe leaves it open."""
    if recipe.train.lr != "auto":
        return recipe
    shape = None
    with contextlib.suppress(UserError):  # of a model that is out of reach: the reason then says so
        shape = shapes.load(recipe.model.id, recipe.model.revision, recipe.model.trust_remote_code)
    found = learning_rate(recipe, shape, None)
    print(f"train.lr = {found.lr:g}: {found.why}.", file=sys.stderr)
    return changed(recipe, {"train.lr": found.lr})


def zipped(specs: list[TrainingSpec], out: Path | None) -> int:
    """Pack an adapter; print the path to stderr, and the command that fetches it to stdout. Raises UserError."""
    if len(specs) > 1 or out:
        raise UserError("zip takes one run, and writes into its folder.", "For example: fitune handoff RUN --to zip")
    path = pack(specs[0])
    print(clean(f"{path} ({size(path.stat().st_size)}). Type on your own computer:"), file=sys.stderr)
    print(fetch_command(path, os.environ))
    return ExitCode.DONE
