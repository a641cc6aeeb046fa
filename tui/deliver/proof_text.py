"""The proofs beside what was made of an adapter: found, and written as a small table of words.

What stands in them is foreign text: it is cleaned here.
"""

import textwrap
from dataclasses import dataclass
from pathlib import Path

from fitune.core.deliver import ProofCheck, proof
from fitune.core.runs import Run
from fitune.tui.text import clean

WORDS = {True: "OK", False: "FAILED", None: "n/a"}
MARK_COLUMNS = 8
NARROWEST_COLUMNS = 40
CHECK_SHARE, EXPECTED_SHARE = 0.31, 0.39
"""Of the columns that there are, at most."""


@dataclass(frozen=True, slots=True)
class NamedProof:
    """The proof of one artefact, as it is shown."""

    name: str
    """merged, or a GGUF file's name."""
    checks: tuple[ProofCheck, ...]
    made_s: float
    """UTC seconds."""

    @property
    def passed(self) -> bool:
        return all(check.passed is not False for check in self.checks)

    @property
    def summary(self) -> str:
        """How it went, in a line."""
        counts = {said: sum(check.passed is each for check in self.checks) for each, said in WORDS.items()}
        if not self.passed:
            return f"{self.name}: {counts['FAILED']} of {len(self.checks)} checks FAILED"
        left = f", {counts['n/a']} could not be made" if counts["n/a"] else ""
        return f"{self.name}: {counts['OK']} check{'s' * (counts['OK'] != 1)} passed{left}"


def proofs(run: Run) -> list[NamedProof]:
    """The newest proof of the merged model and of each GGUF file, passed or failed."""
    paths = [run.merged / proof.PROOF_FILE, run.path / "merged.failed" / proof.PROOF_FILE]
    paths += sorted((run.path / "gguf").glob(f"*.{proof.PROOF_FILE}"))
    newest: dict[str, NamedProof] = {}
    for path in paths:
        if path.is_file():
            found = read(path)
            known = newest.get(found.name)
            if known is None or known.made_s <= found.made_s:
                newest[found.name] = found
    return list(newest.values())


def read(path: Path) -> NamedProof:
    """A proof's file, with the name of what it is about; one that can't be read is told as a check that failed."""
    named = path.parent.name if path.name == proof.PROOF_FILE else path.name.removesuffix(f".{proof.PROOF_FILE}")
    checks = tuple(_cleaned(check) for check in proof.read(path).checks)
    return NamedProof(clean(named.removesuffix(".failed"), 100), checks, path.stat().st_mtime)


def table(named: NamedProof, columns: int) -> list[str]:
    """The checks as lines of so many columns, at least NARROWEST_COLUMNS, those that failed first: how it went in a
    word, check, expected, got."""
    columns = max(columns, NARROWEST_COLUMNS)
    rows = sorted(named.checks, key=lambda each: each.passed is not False)
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


def _cleaned(check: ProofCheck) -> ProofCheck:
    return ProofCheck(clean(check.check, 200), clean(check.expected, 200), clean(check.got, 200), check.passed)
