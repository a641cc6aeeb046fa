"""`fitune push RUN --repo ID`: the adapter, or the merged model, to the Hugging Face Hub."""

import argparse
import sys

from core import launch, runs
from core.errors import UserError
from tui.commands.watch import follow_to_end
from tui.terminal import is_terminal
from tui.text import clean


def run(args: argparse.Namespace) -> int:
    """Exit status: how the push ended, or 130 if it was left running or not confirmed. Raises UserError."""
    run = runs.find(runs.home(), args.run)
    if args.public and not args.yes and not confirmed(args.repo):
        print("Nothing was uploaded.", file=sys.stderr)
        return 130
    launch.push(run, args.repo, private=not args.public, what="merged" if args.merged else "adapter")
    return follow_to_end(run, from_start=False)


def confirmed(repo: str) -> bool:
    """Whether the user types yes to a public upload. Raises UserError where nobody can be asked."""
    if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        raise UserError("--public asks first, and there is no terminal to ask on.", "Add --yes if everyone may see it.")
    print(f"Everyone will see {clean(repo)}; a trained model can repeat its rows. Type yes: ", end="", file=sys.stderr)
    sys.stderr.flush()
    return sys.stdin.readline().strip() == "yes"
