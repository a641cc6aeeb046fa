"""Answers that repeat themselves without an end are found, those that only hold a list are not."""

import pytest

from fitune.core.runs import Event, EventData, Sample, Step, fold
from fitune.core.runs.findings import findings

LIST = "1. Oil the lock.\n2. Turn the key.\n3. Close the door.\n" * 2
TABLE = "| a | b |\n" + "| --- | --- |\n" * 4
LOOP = "It is " + "is " * 60


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ("Yes.", [LOOP, LOOP, "Yes."], True),
        ("Yes.", [LOOP, "Yes.", "No."], False),
        (LOOP, [LOOP, LOOP, LOOP], False),
        ("Yes.", [LIST, TABLE, "Ha ha ha ha ha!"], False),
        ("Yes.", ["#" * 400, "\n" * 90, "Yes."], True),
        ("Yes.", [LOOP], False),
    ],
)
def test_answers_without_an_end_are_found(before: str, after: list[str], found: bool) -> None:
    samples = [Sample(step=9, prompt=f"{n}?", before=before, after=text) for n, text in enumerate(after)]
    earlier = [Sample(step=0, prompt="0?", before=before, after=None), Sample(step=5, prompt="0?", after="Yes.")]
    told: list[EventData] = [Step(step=9, loss=1.0, lr=2e-4), *earlier, *samples]
    kinds = [each.kind for each in findings(fold(Event(n, float(n), "train", data) for n, data in enumerate(told, 1)))]
    assert kinds == ["garbage"] * found
