"""A question of the data before, during and after the training, as `watch` tells it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fitune.core.runs import Event, EventLog, Failed, Sample, Started
from fitune.tui.watch.event_text import event_line, sample_texts
from fitune.tui.watch.progress import RunProgress
from tests.fake_worker import make_run
from tests.tui.watch.test_screen import shown, watching

FIRST = Sample(step=0, prompt="1 + 1?", before="Nine.", after=None, reference="Two.")
LATER = replace(FIRST, step=40, after="Two!")
OTHER = replace(LATER, prompt="2 + 2?")


@pytest.mark.parametrize(
    ("samples", "words", "unsaid"),
    [
        ([FIRST], ["before the training", "1 + 1?", "Nine.", "Two."], "after "),
        ([FIRST, LATER, OTHER], ["at step 40", "1 + 1?", "Nine.", "Two!"], "2 + 2?"),
    ],
)
async def test_the_screen_tells_the_first_question_of_the_newest_look(
    tmp_path: Path, samples: list[Sample], words: list[str], unsaid: str
) -> None:
    run = make_run(tmp_path)
    log = EventLog(run / "events.jsonl", "train")
    log.write(Started(device="cpu"))
    for sample in samples:
        log.write(sample)
    log.write(Failed(kind="bug", message="An end.", hint=""))
    async with watching(run, "A question from the data", (120, 40)) as (app, _):
        assert [word for word in words if word not in shown(app)] == []
        assert unsaid not in shown(app)


@pytest.mark.parametrize(
    ("ended", "mark"),
    [
        ({"stops": False, "tokens": 96}, " ... (cut at 96 tokens)"),
        ({"stops": None, "tokens": 12}, " ... (cut by its time, at 12 tokens)"),
        ({"stops": True, "tokens": 12}, ""),
        ({}, ""),
    ],
)
def test_an_answer_that_was_cut_has_a_mark(ended: dict[str, Any], mark: str) -> None:
    before, later = replace(FIRST, **ended), replace(LATER, **ended)
    assert dict(sample_texts(later, before)) == {
        "asked": "1 + 1?", "before": f"Nine.{mark}", "after": f"Two!{mark}", "in the data": "Two.",
    }  # fmt: skip
    assert dict(sample_texts(later, later))["before"] == "Nine.", "of its own end nothing is known"
    assert event_line(Event(1, 1.0, "train", later), RunProgress()).endswith(f"Two!{mark}")


def test_a_line_says_only_what_is_known() -> None:
    first, later = (event_line(Event(1, 1.0, "train", sample), RunProgress()) for sample in (FIRST, LATER))
    assert first == "asked     1 + 1?\nbefore    Nine."
    assert later == "asked     1 + 1?\nbefore    Nine.\nafter     Two!"
