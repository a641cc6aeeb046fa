"""`fitune export RUN --gguf KIND ...`: write the merged model as proven GGUF files for llama.cpp and Ollama."""

import argparse
import sys
from pathlib import Path

from fitune.core import jobs, runs
from fitune.core.deliver import gguf_tools
from fitune.core.errors import ConverterMissing
from fitune.tui.terminal import is_terminal
from fitune.tui.text import clean
from fitune.tui.watch.follow import follow_to_end


def run(args: argparse.Namespace) -> int:
    """Exit status: that of the export, or 130 if it was left running. Raises UserError, also for an unknown kind."""
    run = runs.find(runs.home(), args.run)
    kinds = [kind.lower() for kind in args.gguf]
    jobs.check_export(run, kinds)
    require_converter(run.path.parent.parent)
    jobs.export(run, kinds)
    return follow_to_end(run, from_start=False)


def require_converter(home: Path) -> None:
    """Fetch llama.cpp's converter if it is not here and the user types yes.

    Raises ConverterMissing, with the command that fetches it, otherwise; and UserError if it can't be fetched.
    """
    try:
        gguf_tools.find_converter(home)
    except ConverterMissing:
        if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
            raise
        question = clean(gguf_tools.install_question(home), 2000, keep_newlines=True)
        print(f"{question} Type yes: ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip() != "yes":
            raise
        gguf_tools.install(home)
