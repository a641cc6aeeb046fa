"""A question of the data before, during and after the training, as `watch` tells it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fitune.core.runs import Eval, Event, EventLog, Failed, RunState, Sample, Started, Step
from fitune.tui.watch.event_text import event_line, sample_texts
from fitune.tui.watch.progress import RunProgress
from fitune.tui.watch.screen_text import Snapshot, numbers
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


def test_where_answers_are_compared_a_line_tells_how_far_they_lie_apart() -> None:
    step = Step(step=4, loss=0.61, lr=5e-6, chosen_reward=0.25, rejected_reward=-0.5, pair_accuracy=0.875)
    assert "loss 0.610  margin 0.75  pairs 88%  lr 5e-6" in event_line(Event(1, 1.0, "train", step), RunProgress())
    look = Eval(step=4, loss=0.61, chosen_reward=0.25, rejected_reward=-0.5)
    line = event_line(Event(1, 1.0, "train", look), RunProgress())
    assert line == "step 4  held-out loss 0.610  margin 0.75", "rated answers make no pairs"


@pytest.mark.parametrize(
    ("columns", "last"), [(110, "   1,480 tokens/s   lr 5e-5"), (78, "   1,480 tokens/s"), (45, "   margin 10.00")]
)
def test_of_the_numbers_of_a_step_those_at_the_end_go_where_there_is_no_room(columns: int, last: str) -> None:
    state = RunState()
    step = Step(step=4, loss=0.6493, lr=5e-5, tokens_per_s=1480, chosen_reward=0.25, rejected_reward=-0.5)
    look = Eval(step=4, loss=0.652, chosen_reward=1.0, rejected_reward=-9.0, pair_accuracy=1.0)
    state.apply(Event(1, 1.0, "train", step))
    state.apply(Event(2, 2.0, "train", look))
    line = numbers(Snapshot("running", state), 3.0, columns).plain
    assert line.startswith("loss 0.649   held-out 0.652   margin 10.00")
    assert line.endswith(last)


async def test_the_screen_shows_the_held_out_margin_and_pairs(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    log = EventLog(run / "events.jsonl", "train")
    log.write(Started(device="cpu"))
    for number in (1, 2):
        log.write(Step(step=number, loss=0.6, lr=5e-6, chosen_reward=0.1, rejected_reward=-0.1, pair_accuracy=0.5))
    log.write(Eval(step=2, loss=0.5, chosen_reward=0.3, rejected_reward=-0.6, pair_accuracy=0.91))
    log.write(Failed(kind="bug", message="An end.", hint=""))
    for size in ((80, 24), (120, 40)):
        async with watching(run, "An end.", size) as (app, _):
            text = shown(app)
            assert "margin 0.90" in text
            assert "pairs 91%" in text
            assert "grad norm" not in text.split("An end.")[0] or size == (120, 40), "there it has a chart"
