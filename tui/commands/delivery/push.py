"""`fitune push RUN --repo ID`: upload adapter, merged model, GGUF files or checkpoints to the Hugging Face Hub."""

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
    """Exit status: that of the push, or 130 if it was left running or not confirmed. Raises UserError."""
    run = runs.find(runs.home(), args.run)
    what: UploadKind = next((what for what in UPLOAD_KINDS if getattr(args, what, False)), "adapter")
    jobs.check_push(run, args.repo, what)
    print_uploads(uploads(run, what), args.repo, "PUBLIC: everyone can see it" if args.public else "private")
    if args.public and not args.yes and not confirmed(args.repo):
        print("Nothing was uploaded.", file=sys.stderr)
        return ExitCode.STOPPED
    hub_account = account()
    hub_account.require_write(args.repo if "/" in args.repo else f"{hub_account.name}/{args.repo}")
    jobs.push(run, args.repo, private=not args.public, what=what)
    return follow_to_end(run, from_start=False)


def print_uploads(folders: Sequence[Upload], repo: str, seen_by: str) -> None:
    """Print the files to upload, before it begins: each folder with its size, the repository, and its visibility."""
    print(f"To {clean(repo)}, {seen_by}:", file=sys.stderr)
    for folder in folders:
        branch = "" if folder.step is None else f", branch {folder.branch}"
        print(f"  {clean(folder.folder.name)}{branch}: {amount([folder])}, and a model card", file=sys.stderr)


def account() -> hub.Account:
    """The account of the token; ask for a token on the terminal if the Hub knows none. Raises UserError."""
    try:
        return hub.account()
    except TokenNeeded as error:
        if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
            raise
        print(f"{error}\nOr paste one here; it is not shown, and kept for this push only.", file=sys.stderr)
    hub.use_token(getpass.getpass("Token: ", sys.stderr))
    return hub.account()


def confirmed(repo: str) -> bool:
    """Ask for a yes to a public upload. Raises UserError without a terminal."""
    if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        raise UserError("--public asks first, and there is no terminal to ask on.", "Add --yes if everyone may see it.")
    print(f"Everyone will see {clean(repo)}; a trained model can repeat its rows. Type yes: ", end="", file=sys.stderr)
    sys.stderr.flush()
    return sys.stdin.readline().strip() == "yes"
