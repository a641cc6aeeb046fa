"""`fitune score RUN`: the base and the tuned model answer the same rows: the verdict and its numbers.

The run's own verdict is the one on its held-out rows; a score on other rows is kept beside it.
"""

import argparse
import sys

from fitune.core import jobs, runs
from fitune.core.deliver import ScoreRequest, requests
from fitune.core.errors import ExitCode
from fitune.core.score import scores
from fitune.tui.text import as_ascii_json, clean
from fitune.tui.watch.follow import follow_to_end
from fitune.tui.watch.score_text import score_lines


def run(args: argparse.Namespace) -> int:
    """Print the scores, or with --json what their file holds. Exit status: 0 whatever the verdict, 1 failed."""
    run = runs.find(runs.home(), args.run)
    jobs.score(run, args.data, args.rows, args.share_gpu)
    status = follow_to_end(run, from_start=False, tells_verdict=False)
    if status:
        return status
    source = requests.read(ScoreRequest, run.path / "score.json").data
    if source is None:
        found = scores.read(run.path)
    else:
        found = next((each for each in scores.elsewhere(run.path) if each.source == source), None)
    if found is None:
        print(clean(f"The scores in {run.path} can't be read."), file=sys.stderr)
        return ExitCode.FAILED
    if args.json:
        print(as_ascii_json(scores.document(found)))
    else:
        print("\n".join(score_lines(found)))
    return ExitCode.DONE
