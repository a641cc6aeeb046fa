"""The scores of a run: what is summed up, kept in scores.json, and compared between runs."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fitune.core.records import to_json
from fitune.core.score import Metric, RowScore, labels_of, mark, scores, sentence

LABELS = ("billing", "delivery", "login", "praise")


def row(
    key: int,
    reference: str,
    before: str,
    after: str,
    metric: Metric = "match",
    losses: tuple[float, float] = (2.0, 1.0),
    choices: tuple[str | None, str | None] = (None, None),
) -> RowScore:
    sides = [
        scores.side(mark(metric, reference, answer, LABELS if metric == "label" else ()), answer, loss, choice)
        for answer, loss, choice in zip((before, after), losses, choices, strict=True)
    ]
    return RowScore(
        key=str(key), question=f"Question {key}", reference=reference, tokens=4, base=sides[0], tuned=sides[1]
    )


def test_a_run_that_learnt_is_kept_and_read_back(tmp_path: Path) -> None:
    found = scores.judge("match", [row(n, f"team {n}", "I am sorry", f"Team {n}.") for n in range(60)], leaked=3)
    assert (found.verdict.word, found.verdict.base_loss, found.verdict.tuned_loss) == ("better", 2, 1)
    assert "3 more rows were left out" in sentence(found.verdict)
    details = {each.name: (each.base, each.tuned) for each in found.details}
    assert details["exact"] == (0, 0)
    assert details["loss"] == (2, 1)
    scores.write(tmp_path, found)
    assert scores.read(tmp_path) == found


def test_scores_on_other_rows_are_kept_beside_those_of_the_run(tmp_path: Path) -> None:
    def judged(rows: int, source: str | None = None) -> scores.Scores:
        return scores.judge("match", [row(n, f"team {n}", "no", f"team {n}") for n in range(rows)], source=source)

    sources = [("/a/test.jsonl", 60), ("/b/test.jsonl", 60), ("/a/test.jsonl", 9), ("me/a set", 60)]
    sources += [("/a/" + "ю" * 120 + ".jsonl", 60)]
    for source, rows in [(None, 64), *sources, sources[0]]:
        scores.write(tmp_path, judged(rows, source))
    assert scores.read(tmp_path) == judged(64)
    found = scores.elsewhere(tmp_path)
    assert {(str(each.source), each.verdict.rows) for each in found} == set(sources)
    assert len(found) == len(sources)
    assert [path.name.rpartition("-")[0] for path in (tmp_path / "scores").glob("me*")] == ["me_a_set-60-rows"]
    assert "60 of 60 rows of test.jsonl" in str(scores.document(judged(60, "/a/test.jsonl"))["sentence"])
    assert "at least 50: give 41 more" in str(scores.document(judged(9, "me/a set"))["sentence"])
    scores.discard(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_an_older_version_kept_of_other_rows_is_not_the_runs_own(tmp_path: Path) -> None:
    old = scores.judge("match", [row(1, "team", "no", "team")], source="/a/test.jsonl")
    (tmp_path / scores.FILE).write_text(json.dumps(to_json(old)))
    assert scores.read(tmp_path) is None
    assert scores.elsewhere(tmp_path) == [old]


def test_the_same_share_has_the_same_interval_in_the_verdict_and_in_the_table() -> None:
    found = scores.judge("match", [row(n, f"team {n}", "I am sorry", f"team {n % 55}") for n in range(64)])
    exact = next(each for each in found.details if each.name == "exact")
    told = found.verdict
    assert (exact.base, exact.tuned, exact.low, exact.high) == (told.base, told.tuned, told.low, told.high)


def test_rows_for_which_the_time_was_too_short_are_no_reason_to_hold_out_more() -> None:
    found = scores.judge("match", [row(n, "yes", "no", "yes") for n in range(48)], unscored=16)
    assert "16 more are there, and fitune score asks them all" in sentence(found.verdict)
    assert "hold out" not in sentence(found.verdict)


@pytest.mark.parametrize(
    ("metric", "before", "told"), [("match", "I am sorry", False), ("json", "I am sorry", True), ("json", "[2]", False)]
)
def test_the_form_of_answers_is_told_only_where_one_misses_it(metric: Metric, before: str, told: bool) -> None:
    found = scores.judge(metric, [row(n, "[1]", before, "[1]", metric) for n in range(60)])
    assert ("valid" in {each.name for each in found.details}) == told


def test_damage_is_no_score(tmp_path: Path) -> None:
    assert scores.read(tmp_path) is None
    (tmp_path / scores.FILE).write_text('{"verdict": ')
    assert scores.read(tmp_path) is None


def test_shuffled_labels_are_worse_although_the_base_never_wrote_one() -> None:
    """The base puts the right label first without being asked to write it; the tuned model writes labels at random."""
    rows = [
        row(n, LABELS[n % 4], "Dear customer, ...", LABELS[n * 7 // 4 % 4], "label", (3, 1), (LABELS[n % 4], LABELS[0]))
        for n in range(120)
    ]
    assert labels_of([each.reference for each in rows]) == LABELS
    found = scores.judge("label", rows, LABELS)
    assert (found.verdict.word, found.verdict.metric) == ("worse", "choice")
    assert "Don't use it" in sentence(found.verdict)
    assert sum(sum(given.values()) for given in found.confusion.values()) == 120


def test_labels_that_were_learnt_are_better_and_show_which_are_mixed_up() -> None:
    rows = [
        row(n, LABELS[n % 4], "Hello", LABELS[n % 4] if n % 10 else "login", "label", (3, 1), ("login", LABELS[n % 4]))
        for n in range(120)
    ]
    found = scores.judge("label", rows, LABELS)
    assert found.verdict.word == "better"
    assert found.confusion["billing"]["login"] > 0
    f1 = next(each for each in found.details if each.name == "macro_f1")
    assert f1.base == 0 < f1.tuned < 1


def test_free_text_is_judged_by_its_loss() -> None:
    assert scores.judge("text", [row(n, "a b", "x", "y", "text") for n in range(60)]).verdict.word == "better"
    worse = [row(n, "a b", "x", "y", "text", (1.0, 1.5)) for n in range(60)]
    assert scores.judge("text", worse).verdict.word == "worse"


def test_two_runs_are_compared_on_the_rows_that_both_scored() -> None:
    first = scores.judge("match", [row(n, "yes", "no", "no") for n in range(80)])
    second = scores.judge("match", [row(n, "yes", "no", "yes") for n in range(20, 100)])
    found = scores.compared(first, second)
    assert found is not None
    assert (found.word, found.rows, found.base, found.tuned) == ("better", 60, 0, 1)
    likeliest = replace(second, verdict=replace(second.verdict, metric="choice"))
    labels = replace(first, verdict=replace(first.verdict, metric="label"))
    assert scores.compared(labels, likeliest) is not None, "both marked their rows by the labels that were written"
    assert scores.compared(first, scores.judge("match", [row(500, "yes", "no", "yes")])) is None
    assert scores.compared(first, scores.judge("text", [row(1, "yes", "no", "yes", "text")])) is None


def chat(asked: str, told: str) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": told}]}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"prompt": "Where is  it?", "completion": "Here."}, {"prompt": "where is it", "completion": "here"}, True),
        ({"prompt": "Where is it?", "completion": "Here."}, {"prompt": "Where is it?", "completion": "There."}, False),
        ({"prompt": "Where is it?", "completion": "Here."}, chat("Where is it?", "Here."), True),
        ({"prompt": "Where is it?", "completion": "Here."}, chat("Here.", "Where is it?"), False),
    ],
)
def test_rows_that_differ_in_spaces_and_case_only_have_one_digest(
    one: dict[str, object], other: dict[str, object], same: bool
) -> None:
    assert (scores.key_of(one) == scores.key_of(other)) is same


def test_rows_whose_thoughts_end_alike_are_different_rows() -> None:
    asked = [
        [{"role": "user", "content": f"{n} less 1?"}, {"role": "assistant", "content": f"<think>{n}</think>ok"}]
        for n in range(9)
    ]
    assert len({scores.key_of({"messages": turns}) for turns in asked}) == 9
    assert scores.key_of({"text": "x + 1"}) != scores.key_of({"text": "x = 1"})
