"""The proofs beside what was made of an adapter: found, and written as a small table of words.

What stands in them is foreign text: it is cleaned here.
"""

import json
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.runs import Run
from tui.text import clean

WORDS = {True: "OK", False: "FAILED", None: "n/a"}
MARK_COLUMNS = 8
CHECK_SHARE, EXPECTED_SHARE = 0.31, 0.39
"""Of the columns that there are, at most."""


@dataclass(frozen=True, slots=True)
class Check:
    """One row of a table."""

    check: str
    expected: str
    got: str
    passed: bool | None
    """None: it could not be checked."""


@dataclass(frozen=True, slots=True)
class Proof:
    """The table of one artefact."""

    name: str
    """merged, or a GGUF file's name."""
    passed: bool
    checks: tuple[Check, ...]
    made_s: float
    """UTC seconds."""

    @property
    def summary(self) -> str:
        """How it went, in a line."""
        counts = {said: sum(check.passed is each for check in self.checks) for each, said in WORDS.items()}
        if counts["FAILED"] or not self.passed:
            return f"{self.name}: {counts['FAILED']} of {len(self.checks)} checks FAILED"
        left = f", {counts['n/a']} could not be made" if counts["n/a"] else ""
        return f"{self.name}: {counts['OK']} check{'s' * (counts['OK'] != 1)} passed{left}"


def proofs(run: Run) -> list[Proof]:
    """The newest proof of the merged model and of each GGUF file, passed or failed."""
    paths = [run.merged / "proof.json", run.path / "merged.failed" / "proof.json"]
    paths += sorted((run.path / "gguf").glob("*.proof.json"))
    newest: dict[str, Proof] = {}
    for path in paths:
        if path.is_file():
            found = read(path)
            known = newest.get(found.name)
            if known is None or known.made_s <= found.made_s:
                newest[found.name] = found
    return list(newest.values())


def read(path: Path) -> Proof:
    """A proof.json; one that can't be read is told as a check that failed."""
    named = path.parent.name if path.name == "proof.json" else path.name.removesuffix(".proof.json")
    name, made_s = clean(named.removesuffix(".failed"), 100), path.stat().st_mtime
    try:
        told = json.loads(path.read_bytes())
        return Proof(name, told["passed"] is True, tuple(_check(each) for each in told["checks"]), made_s)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Proof(name, False, (Check("proof.json", "readable", clean(str(error), 200), False),), made_s)


def table(proof: Proof, columns: int) -> list[str]:
    """The checks as lines of so many columns, those that failed first: how it went in a word, check, expected, got."""
    rows = sorted(proof.checks, key=lambda each: each.passed is not False)
    checks = max((len(each.check) for each in rows), default=0) + 2
    expected = max((len(each.expected) for each in rows), default=0) + 2
    widths = [MARK_COLUMNS, min(checks, int(CHECK_SHARE * columns)), min(expected, int(EXPECTED_SHARE * columns))]
    widths.append(columns - sum(widths))
    cells = [("", "check", "expected", "got")]
    cells += [(WORDS[each.passed], each.check, each.expected, each.got) for each in rows]
    return [line for row in cells for line in _wrapped(row, widths)]


def _wrapped(row: tuple[str, ...], widths: list[int]) -> list[str]:
    """The cells of a row side by side, over as many lines as the longest needs."""
    cells = [textwrap.wrap(text, width - 1) or [""] for text, width in zip(row, widths, strict=True)]
    height = max(map(len, cells))
    padded = [cell + [""] * (height - len(cell)) for cell in cells]
    lines = zip(*padded, strict=True)
    return ["".join(f"{text:<{width}}" for text, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def _check(told: Any) -> Check:
    passed = told["passed"]
    check, expected, got = (clean(str(told[key]), 200) for key in ("check", "expected", "got"))
    return Check(check, expected, got, passed if isinstance(passed, bool) else None)
