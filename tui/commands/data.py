"""`fitune data SOURCE`: what a source holds, problems first, and whether it can be trained on."""

import argparse
import dataclasses
import sys
import time

import orjson

from core import config, dataset
from core.recipe_fields import Data
from core.rows.report import Report
from tui.text import clean

PROGRESS_EVERY_S = 0.5


def run(args: argparse.Namespace) -> int:
    """Exit status: 0, or 2 if training on the source can't work."""
    data = config.load(args.recipe).data.model_copy(update={"source": args.source}) if args.recipe else None
    report = dataset.inspect(data or Data(source=args.source), on_progress=_Progress())
    if args.json:
        document = dataclasses.asdict(report) | {"can_train": report.can_train}
        print(orjson.dumps(document, option=orjson.OPT_INDENT_2, default=str).decode())
    else:
        tell(report)
    return 0 if report.can_train else 2


def tell(report: Report) -> None:
    """Print a report, problems first."""
    for finding in report.problems:
        mark = "ERROR" if finding.severity == "stop" else "WARN "
        print(f"{mark} {clean(str(finding.problem))}")
        if finding.places:
            print(f"      at {clean(', '.join(map(str, finding.places)))}")
    mapping = ", ".join(f"{role} = {column}" for role, column in report.mapping.items())
    print(f"{clean(report.source)}: {report.rows:,} usable rows of {report.rows_read:,}, {report.kind}")
    print(f"format: {report.format}{'' if report.sure else ' (not sure)'}; {clean(report.why)}; {clean(mapping)}")
    for column, kinds in report.columns.items():
        print(f"  {clean(column)}: {clean(kinds)}")
    for row in report.preview[:2]:
        print()
        for turn in row.get("messages") or [{"role": role, "content": text} for role, text in row.items()]:
            print(f"  {clean(str(turn['role'])):>10}  {clean(str(turn['content']), limit=400)}")


class _Progress:
    """A line on a terminal that says how far the reading is."""

    def __init__(self) -> None:
        self._told = time.monotonic()

    def __call__(self, done_bytes: int, total_bytes: int) -> None:
        if sys.stderr.isatty() and time.monotonic() - self._told > PROGRESS_EVERY_S:
            self._told = time.monotonic()
            print(f"\rread {done_bytes / max(1, total_bytes):.0%} ", end="", file=sys.stderr, flush=True)
