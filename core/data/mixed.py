"""Several sources as one: how often each row comes, and one report on all of them."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from math import floor

from fitune.core.data.checks.report import Report
from fitune.core.data.checks.sentences import Finding
from fitune.core.data.values import Row

MIXED = "mixed"
"""The format of sources of several formats."""


def weighted(rows: Iterable[Row], weight: float | Fraction) -> Iterator[Row]:
    """Each row as often as its weight says: 2 is twice, 0.5 every second one; of n rows come floor(n x weight)."""
    exact = weight if isinstance(weight, Fraction) else Fraction(str(weight))
    for place, row in enumerate(rows):
        for _ in range(floor((place + 1) * exact) - floor(place * exact)):
            yield row


def replayed(share: float, own: int) -> int:
    """The general rows that make `share` of all, beside so many own ones."""
    return round(own * share / (1 - share))


def progress_of_all(
    on_progress: Callable[[int, int], None], sizes: Sequence[int]
) -> Iterator[Callable[[int, int], None]]:
    """A callback for each source in turn that tells the bytes done, and in all, across all of them."""
    if len(sizes) == 1:
        yield on_progress
        return
    for place in range(len(sizes)):
        before = sum(sizes[:place])
        yield lambda done, _, before=before: on_progress(before + done, sum(sizes))  # type: ignore[misc]


def combined(reports: Sequence[tuple[Report, float]]) -> Report:
    """One report on several sources with their weights. What can't be said of all together is left empty."""
    if len(reports) == 1 and reports[0][1] == 1:
        return reports[0][0]
    found = [report for report, _ in reports]
    one = found[0]
    formats = {report.format for report in found}
    summed = sum((Counter(report.counts) for report in found), Counter[str]())
    return replace(
        one,
        source=", ".join(report.source for report in found),
        kind=", ".join(dict.fromkeys(report.kind for report in found)),
        files=tuple(name for report in found for name in report.files),
        left_out=tuple(name for report in found for name in report.left_out),
        format=one.format if len(formats) == 1 else MIXED,
        sure=all(report.sure for report in found),
        why=" ".join(f"{report.source} ({weight:g} x {report.rows:,}): {report.why}" for report, weight in reports),
        mapping=one.mapping if all(report.mapping == one.mapping for report in found) else {},
        candidates=(),
        objectives=one.objectives if all(report.objectives == one.objectives for report in found) else (),
        choices=(),
        rows=sum(floor(report.rows * Fraction(str(weight))) for report, weight in reports),
        rows_read=sum(report.rows_read for report in found),
        image_rows=sum(report.image_rows for report in found),
        rows_counted=all(report.rows_counted for report in found),
        columns={name: kinds for report in found for name, kinds in report.columns.items()},
        preview=tuple(row for rows in zip(*(report.preview for report in found), strict=False) for row in rows),
        counts=dict(summed),
        close_rows=sum(report.close_rows for report in found),
        compared_rows=sum(report.compared_rows for report in found),
        duplicates_exact=all(report.duplicates_exact for report in found),
        labels={},
        languages=_languages(found),
        problems=tuple(_of_source(finding, report) for report in found for finding in report.problems),
    )


def _languages(found: Sequence[Report]) -> dict[str, float]:
    """The shares of all sources, by the rows of each that were looked at."""
    looked_at = max(1, sum(report.close_rows for report in found))
    shares = Counter[str]()
    for report in found:
        for name, share in report.languages.items():
            shares[name] += share * report.close_rows / looked_at  # type: ignore[assignment]
    return dict(shares.most_common())


def _of_source(finding: Finding, report: Report) -> Finding:
    """A finding that names its source, where it does not name a place in a file."""
    if finding.places or finding.problem.where == report.source:
        return finding
    problem = finding.problem
    return replace(finding, problem=replace(problem, where=f"{report.source}: {problem.where}".removesuffix(": ")))
