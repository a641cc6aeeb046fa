"""`fitune runs`: list every run with its status, newest first."""

import argparse
import sys
from dataclasses import asdict

from fitune.core import runs
from fitune.core.errors import ExitCode
from fitune.tui.home.documents import RunDocument, describe, elsewhere_text, memory
from fitune.tui.text import as_ascii_json, clean, clock, number, table

HEADINGS = ["RUN", "STATUS", "STEP", "LOSS", "VERDICT", "MEMORY", "STARTED"]


def run(args: argparse.Namespace) -> int:
    """Print the table, or with --json a list of objects. Exit status 0."""
    home = runs.home()
    documents = [describe(document) for document in runs.all_runs(home)]
    unreadable = runs.unreadable_runs(home)
    for path in unreadable:
        print(f"WARN  You may not read all of {clean(str(path))}", file=sys.stderr)
    if args.json:
        print(as_ascii_json([asdict(document) for document in documents]))
    elif not documents and not unreadable:
        print("No runs yet. Start one: fitune demo")
    elif documents:
        print(table([HEADINGS, *map(row, documents)], numbers={2, 3}))
        for document in documents:
            note = f"note: {document.note}" if document.note else None
            others = elsewhere_text(document)
            scored = f"also scored: {others}" if others else None
            for text in (document.problem, *document.findings, scored, note):
                if text:
                    print(clean(f"{document.name}: {text}", 500))
    return ExitCode.DONE


def row(described: RunDocument) -> list[str]:
    """A run in the table."""
    return [
        clean(described.name),
        described.status,
        f"{described.step or 0}/{described.total_steps or '?'}",
        "" if described.loss is None else number(described.loss),
        clean(described.verdict or "", 20),
        memory(described),
        clock(described.created) if described.created else "",
    ]
