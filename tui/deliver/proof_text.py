"""The proofs of a run's artifacts as text tables. They contain foreign text, which is cleaned here."""

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
"""Maximum shares of the available columns."""


@dataclass(frozen=True, slots=True)
class ArtifactProof:
    """The proof of one artifact, cleaned for display."""

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
        """The result in one line."""
        counts = {word: sum(check.passed is result for check in self.checks) for result, word in WORDS.items()}
        if not self.passed:
            return f"{self.name}: {counts['FAILED']} of {len(self.checks)} checks FAILED"
        left = f", {counts['n/a']} could not be made" if counts["n/a"] else ""
        return f"{self.name}: {counts['OK']} check{'s' * (counts['OK'] != 1)} passed{left}"


def proofs(run: Run) -> list[ArtifactProof]:
    """The newest proof of the merged model and of each GGUF file, passed or failed."""
    paths = [run.merged / proof.PROOF_FILE, run.path / "merged.failed" / proof.PROOF_FILE]
    paths += sorted((run.path / "gguf").glob(f"*.{proof.PROOF_FILE}"))
    newest: dict[str, ArtifactProof] = {}
    for path in paths:
        if path.is_file():
            proof_read = read(path)
            newer = newest.get(proof_read.name)
            if newer is None or newer.made_s <= proof_read.made_s:
                newest[proof_read.name] = proof_read
    return list(newest.values())


def read(path: Path) -> ArtifactProof:
    """Read a proof's file, with the name of its artifact; one that can't be read becomes a failed check."""
    name = path.parent.name if path.name == proof.PROOF_FILE else path.name.removesuffix(f".{proof.PROOF_FILE}")
    checks = tuple(_cleaned(check) for check in proof.read(path).checks)
    return ArtifactProof(clean(name.removesuffix(".failed"), 100), checks, path.stat().st_mtime)


def table(named: ArtifactProof, columns: int) -> list[str]:
    """The checks as lines of `columns` characters, at least NARROWEST_COLUMNS, the failed ones first: result, check,
    expected, got."""
    columns = max(columns, NARROWEST_COLUMNS)
    rows = sorted(named.checks, key=lambda check: check.passed is not False)
    checks = max((len(check.check) for check in rows), default=0) + 2
    expected = max((len(check.expected) for check in rows), default=0) + 2
    widths = [MARK_COLUMNS, min(checks, int(CHECK_SHARE * columns)), min(expected, int(EXPECTED_SHARE * columns))]
    widths.append(columns - sum(widths))
    cells = [("", "check", "expected", "got")]
    cells += [(WORDS[check.passed], check.check, check.expected, check.got) for check in rows]
    return [line for row in cells for line in _wrapped(row, widths)]


def _wrapped(row: tuple[str, ...], widths: list[int]) -> list[str]:
    """The cells of a row side by side, wrapped over as many lines as the longest needs."""
    cells = [textwrap.wrap(text, width - 1) or [""] for text, width in zip(row, widths, strict=True)]
    height = max(map(len, cells))
    padded = [cell + [""] * (height - len(cell)) for cell in cells]
    lines = zip(*padded, strict=True)
    return ["".join(f"{text:<{width}}" for text, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def _cleaned(check: ProofCheck) -> ProofCheck:
    return ProofCheck(clean(check.check, 200), clean(check.expected, 200), clean(check.got, 200), check.passed)
