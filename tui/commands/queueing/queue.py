"""`fitune queue`: recipes that are trained one after the other, by a process of its own."""

import argparse
import datetime
import re
import sys
from dataclasses import asdict

from fitune.core import at_end, queue, runs
from fitune.core.errors import BadInput, ExitCode, Problem, UserError, problems_of
from fitune.core.queue import Addition, Queue, Variant
from fitune.core.recipe import STOP_AT, Recipe, changed, load, next_time
from fitune.tui.data.clear_rows import with_clear_rows
from fitune.tui.home.queue_rows import HEADINGS, cells, describe, doing
from fitune.tui.text import as_ascii_json, clean, table


def run(args: argparse.Namespace) -> int:
    """Exit status: 0 done, 1 the queue's process did not come up, 2 bad input."""
    actions = {"add": add, "list": list_, "move": move, "remove": remove, "run": start, "stop": stop}
    actions[args.action](args)
    return ExitCode.DONE


def add(args: argparse.Namespace) -> None:
    """Add a recipe, or one for each combination of values; print the names of their runs."""
    after = moment(args.after, datetime.datetime.now().astimezone()) if args.after else None
    how = Addition(source=str(args.recipe), after=after, when_idle=args.when_idle, anyway=args.yes)
    added = queue.add(recipes(args), how)
    for entry in added:
        print(clean(entry.name))
    held = "the queue is at work and comes to it" if queue.runner_pid() else "start the queue: fitune queue run"
    print(f"Added {len(added)}; {held}", file=sys.stderr)


def recipes(args: argparse.Namespace) -> list[Recipe]:
    """The recipe of each combination of values, with a name for its run. Raises BadInput with all their problems."""
    found: list[Recipe] = []
    problems: dict[Problem, None] = {}
    for variant in queue.variants(args.set):
        try:
            found.append(with_clear_rows(load.load(args.recipe, variant.overrides), args.accept_guess))
        except UserError as error:
            problems.update(dict.fromkeys(problems_of(error)))
    if problems:
        raise BadInput(list(problems))
    stem = found[0].run.name or runs.new_name(found[0])
    return [
        changed(recipe, {"run.name": run_name(recipe.run.name or stem, variant)})
        for recipe, variant in zip(found, queue.variants(args.set), strict=True)
    ]


def run_name(stem: str, variant: Variant) -> str:
    """The name of a variant's run; at most 100 characters."""
    return f"{stem[: 99 - len(variant.suffix)]}-{variant.suffix}" if variant.suffix else stem


def moment(text: str, now: datetime.datetime) -> float:
    """The UTC seconds of a time of the day, the next such, or of a date and time. Raises UserError."""
    try:
        at = next_time(text, now) if re.fullmatch(STOP_AT, text) else None
    except ValueError:  # a day that its month does not have
        at = None
    if at is None:
        hint = "Write 22:00, or with a date 2027-01-31T22:00."
        raise UserError(f"--after {text}: is not a time.", hint)
    if at < now:
        raise UserError(f"--after {text}: is in the past.", "Leave it out, to start as soon as a card is free.")
    return at.timestamp()


def list_(args: argparse.Namespace) -> None:
    """Print what has ended, what is at work and what waits, in this order; or with --json an object."""
    found = queue.read()
    documents = describe(found)
    if args.json:
        told = {"runner_pid": queue.runner_pid(), "entries": [asdict(each) for each in documents]}
        print(as_ascii_json(told))
        return
    if not documents:
        print("The queue is empty. Add a recipe: fitune queue add RECIPE")
        return
    print(table([HEADINGS, *map(cells, documents)]))
    for each in documents:
        if each.said and each.state not in ("finished", "waiting"):
            print(clean(f"{each.name}: {each.said}", 500))
    print(progress(found), file=sys.stderr)


def progress(found: Queue) -> str:
    """Whether the queue is at work, and the command that changes that."""
    if not found.open():
        return "All of the queue has ended."
    if queue.runner_pid() is not None:
        return f"The queue {doing(describe(found))}. It begins nothing more after: fitune queue stop"
    return "Nobody runs the queue: fitune queue run"


def move(args: argparse.Namespace) -> None:
    """Move an entry that waits."""
    moved = queue.move(args.entry, args.place)
    waiting = [entry.name for entry in queue.read().open() if entry.state() == "waiting"]
    print(
        clean(f"{moved.name} is number {waiting.index(moved.name) + 1} of {len(waiting)} that wait."), file=sys.stderr
    )


def remove(args: argparse.Namespace) -> None:
    """Take entries out of the queue; their runs stay."""
    if bool(args.entries) == args.ended:
        raise UserError("Which entries?", "Name them, or take out all that have ended: fitune queue remove --ended")
    gone = queue.remove_ended() if args.ended else queue.remove(args.entries)
    for entry in gone:
        print(clean(entry.name))
    print(f"Removed {len(gone)}; their runs, as far as there are any, stay.", file=sys.stderr)


def start(args: argparse.Namespace) -> None:
    """Start the process that runs the queue."""
    on_end = at_end.checked(args.on_end, args.webhook)
    if not queue.read().open():
        raise UserError("Nothing waits in the queue.", "Add a recipe: fitune queue add RECIPE")
    was_at_work = queue.runner_pid() is not None
    queue.start(on_end)
    said = "is at work already" if was_at_work else "is at work by itself: you can close this window"
    print(f"The queue {said}. See it: fitune queue list", file=sys.stderr)


def stop(_: argparse.Namespace) -> None:
    """Let nothing more begin."""
    queue.stop()
    at_work = [entry.name for entry in queue.read().open() if entry.state() == "at work"]
    print("The queue begins nothing more. Go on with it: fitune queue run", file=sys.stderr)
    for name in at_work:
        print(clean(f"{name} goes on to its end. Stop it, too: fitune stop {name}"), file=sys.stderr)
