"""The help of a watched run begins with what was found wrong with it."""

from dataclasses import replace

from fitune.core.runs import Event, EventData, Failed, Recovered, fold
from fitune.core.runs.findings import Finding
from fitune.tui.text.fault_help import FAULTS, faults_of
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


def test_what_can_t_change_on_a_resume_is_for_a_new_run() -> None:
    _, text = watch_help([replace(FOUND, set={"train.epochs": 2})])[0]
    assert "the change  in a new run: --set train.epochs=2" in text


def test_the_help_of_a_failure_stands_before_what_was_put_right() -> None:
    told: list[EventData] = [Recovered(kind=kind, message=".") for kind in ("rate", "nan", "hot")]
    ended: list[EventData] = [*told, Failed(kind="nan", message=".", hint=".")]
    for events, is_killed, kinds in (
        (ended, False, ["nan", "rate"]),
        (told, False, ["rate", "nan"]),
        (told, True, ["killed", "rate", "nan"]),
        ([], False, []),
    ):
        state = fold(Event(number, 0.0, "train", data) for number, data in enumerate(events, 1))
        assert faults_of(state, is_killed) == tuple(FAULTS[kind] for kind in kinds)
    assert watch_help((), faults_of(state, True))[0][0] == "Killed"


def test_a_healthy_run_has_the_help_alone() -> None:
    assert watch_help()[0][0] == "Watching a run"
