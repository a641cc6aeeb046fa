"""`fitune push RUN --repo ID`: adapter, merged model, GGUF files or checkpoints to the Hugging Face Hub."""

import argparse
import getpass
import sys
from collections.abc import Sequence

from fitune.core import hub, jobs, runs
from fitune.core.deliver import UPLOAD_KINDS, Upload, UploadKind, uploads
from fitune.core.errors import ExitCode, TokenNeeded, UserError
from fitune.tui.deliver.options import amount
from fitune.tui.terminal import is_terminal
from fitune.tui.text import clean
from fitune.tui.watch.follow import follow_to_end


def run(args: argparse.Namespace) -> int:
    """Exit status: how the push ended, or 130 if it was left running or not confirmed. Raises UserError."""
    run = runs.find(runs.home(), args.run)
    what: UploadKind = next((what for what in UPLOAD_KINDS if getattr(args, what, False)), "adapter")
    jobs.check_push(run, args.repo, what)
    tell(uploads(run, what), args.repo, "PUBLIC: everyone can see it" if args.public else "private")
    if args.public and not args.yes and not confirmed(args.repo):
        print("Nothing was uploaded.", file=sys.stderr)
        return ExitCode.STOPPED
    who = account()
    who.require_write(args.repo if "/" in args.repo else f"{who.name}/{args.repo}")
    jobs.push(run, args.repo, private=not args.public, what=what)
    return follow_to_end(run, from_start=False)


def tell(parts: Sequence[Upload], repo: str, seen_by: str) -> None:
    """What will leave this machine, before anything does: each part with its size, where to, and who may see it."""
    print(f"To {clean(repo)}, {seen_by}:", file=sys.stderr)
    for part in parts:
        branch = "" if part.step is None else f", branch {part.branch}"
        print(f"  {clean(part.folder.name)}{branch}: {amount([part])}, and a model card", file=sys.stderr)


def account() -> hub.Account:
    """Whose token it is; where there is none that the Hub knows, ask for one on the terminal. Raises UserError."""
    try:
        return hub.account()
    except TokenNeeded as error:
        if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
            raise
        print(f"{error}\nOr paste one here; it is not shown, and kept for this push only.", file=sys.stderr)
    hub.use_token(getpass.getpass("Token: ", sys.stderr))
    return hub.account()


def confirmed(repo: str) -> bool:
    """Whether the user types yes to a public upload. Raises UserError where nobody can be asked."""
    if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        raise UserError("--public asks first, and there is no terminal to ask on.", "Add --yes if everyone may see it.")
    print(f"Everyone will see {clean(repo)}; a trained model can repeat its rows. Type yes: ", end="", file=sys.stderr)
    sys.stderr.flush()
    return sys.stdin.readline().strip() == "yes"
