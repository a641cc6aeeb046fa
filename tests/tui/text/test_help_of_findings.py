"""The help of a watched run begins with what was found wrong with it."""

from fitune.core.runs.findings import Finding
from fitune.tui.text.help_pages import COLUMNS, watch_help

FOUND = Finding(
    kind="spike",
    symptom="The loss jumped at step 7.",
    evidence="It was 9.00.",
    cause="A row that is unlike the others (another language, rubbish, very long), or a rate too high.",
    remedy="Look at the rows.",
    set={"train.lr": 1e-4},
)


def test_a_finding_stands_first_with_each_of_its_parts() -> None:
    heading, text = watch_help([FOUND])[0]
    assert heading == FOUND.symptom
    assert text.splitlines()[0] == "seen        It was 9.00."
    assert "what to do  Look at the rows." in text
    assert "the change  fitune resume RUN --set train.lr=0.0001" in text
    assert max(map(len, text.splitlines())) <= COLUMNS


def test_a_healthy_run_has_the_help_alone() -> None:
    assert watch_help()[0][0] == "Watching a run"
