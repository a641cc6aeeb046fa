"""`fitune handoff RUN|RECIPE --to TARGET`: what runs elsewhere without fitune, as text or as a folder."""

import argparse
import os
import shlex
import sys
from pathlib import Path

from fitune.core import runs
from fitune.core.deliver import handoff
from fitune.core.deliver.archive import fetch_command, pack
from fitune.core.deliver.handoff.spec import TrainingSpec, from_recipe, from_run
from fitune.core.errors import ExitCode, UserError
from fitune.core.recipe import load
from fitune.tui.text import clean, size


def run(args: argparse.Namespace) -> int:
    """Print the main text, or with --out write the folder; for zip, print the command that fetches it. Status 0."""
    jobs = [job(each, args.set) for each in args.what]
    if args.to == "zip":
        return zipped(jobs, args.out)
    if args.out:
        names = handoff.write(args.to, jobs, args.out)
        shown = next(iter(handoff.files_for(args.to, jobs)))
        said = f"Wrote {', '.join(names)} into {args.out}. What to do with it stands on top of {shown}."
        print(clean(said), file=sys.stderr)
        return ExitCode.DONE
    main, *others = handoff.files_for(args.to, jobs).items()
    sys.stdout.write(main[1])
    beside = [name for name, _ in others]
    if args.to in handoff.TRAINING:
        beside += [handoff.TRAIN, handoff.EVAL]
    if beside:
        again = shlex.join(["fitune", "handoff", *args.what, "--to", args.to, "--out", "FOLDER"])
        print(clean(f"It is {main[0]}, and also needs {', '.join(beside)}. All of them: {again}"), file=sys.stderr)
    return ExitCode.DONE


def job(what: str, overrides: list[str]) -> TrainingSpec:
    """The recipe file, preset or run of that name. Raises UserError or BadInput."""
    path = Path(what)
    if path.is_file() or path.suffix == ".toml" or load.preset_file(path):
        return from_recipe(load.load(path, overrides), path)
    if overrides:
        raise UserError(
            "--set changes recipes; a run is handed off as it was.", "Take --set away, or hand off a recipe."
        )
    return from_run(runs.find(runs.home(), what))


def zipped(jobs: list[TrainingSpec], out: Path | None) -> int:
    """Pack an adapter; the path and what it is to stderr, the command to fetch it to stdout. Raises UserError."""
    if len(jobs) > 1 or out:
        raise UserError("zip takes one run, and writes into its folder.", "For example: fitune handoff RUN --to zip")
    path = pack(jobs[0])
    print(clean(f"{path} ({size(path.stat().st_size)}). Type on your own computer:"), file=sys.stderr)
    print(fetch_command(path, os.environ))
    return ExitCode.DONE
