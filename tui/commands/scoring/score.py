"""`fitune score RUN`: the base and the tuned model answer the same held-out rows: the verdict and its numbers."""

import argparse
import sys

from fitune.core import jobs, runs
from fitune.core.errors import ExitCode
from fitune.core.score import scores
from fitune.tui.text import as_ascii_json
from fitune.tui.watch.follow import follow_to_end
from fitune.tui.watch.score_text import score_lines


def run(args: argparse.Namespace) -> int:
    """Print the scores, or with --json what scores.json holds. Exit status: 0 whatever the verdict, 1 failed."""
    run = runs.find(runs.home(), args.run)
    jobs.score(run, args.data, args.rows, args.share_gpu)
    status = follow_to_end(run, from_start=False)
    if status:
        return status
    found = scores.read(run.path)
    if found is None:
        print(f"{run.path / scores.FILE} can't be read.", file=sys.stderr)
        return ExitCode.FAILED
    if args.json:
        print(as_ascii_json(scores.document(found)))
    else:
        print("\n".join(score_lines(found)))
    return ExitCode.DONE
