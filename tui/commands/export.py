"""`fitune export RUN --gguf KIND ...`: the merged model as GGUF files for llama.cpp and Ollama, each proven."""

import argparse

from core import launch, runs
from tui.commands.watch import follow_to_end


def run(args: argparse.Namespace) -> int:
    """Exit status: how the export ended, or 130 if it was left running. Raises UserError for an unknown kind."""
    run = runs.find(runs.home(), args.run)
    launch.export(run, [kind.lower() for kind in args.gguf])
    return follow_to_end(run, from_start=False)
