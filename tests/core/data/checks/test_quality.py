"""The quality of the rows at a glance: languages, answers that break off, refusals, keys, questions within texts."""

import json
from pathlib import Path
from typing import Any

import pytest

from fitune.core.data import Report
from fitune.core.data.checks.languages import language_of
from fitune.core.data.checks.scan import CLOSE_ROWS
from fitune.core.data.dataset import inspect, preview
from fitune.core.recipe import Data

ENGLISH = "The harbour was built long ago, and its market opens at dawn on every day of the year."
GERMAN = "Der Hafen wurde vor langer Zeit gebaut, und sein Markt öffnet an jedem Tag im Morgengrauen."


def write(folder: Path, answers: list[str]) -> Path:
    path = folder / "rows.jsonl"
    found: list[dict[str, Any]] = [{"question": f"Question {n}?", "answer": each} for n, each in enumerate(answers)]
    path.write_text("".join(json.dumps(row) + "\n" for row in found))
    return path


def report(folder: Path, answers: list[str]) -> Report:
    return inspect(Data(source=str(write(folder, answers))))


def kinds(found: Report) -> set[str]:
    return {each.kind for each in found.problems}


def test_a_few_answers_in_another_language_are_told(tmp_path: Path) -> None:
    found = report(tmp_path, [f"{ENGLISH} It has {n} piers." for n in range(57)] + [GERMAN] * 3)
    assert {name: round(share, 2) for name, share in found.languages.items()} == {"en": 0.95, "de": 0.05}
    (told,) = (each for each in found.problems if each.kind == "languages")
    assert (told.count, told.problem.text) == (3, "Most answers are in en, some are in de (5%).")


def test_two_languages_of_about_as_many_answers_are_no_finding(tmp_path: Path) -> None:
    found = report(tmp_path, [ENGLISH, GERMAN] * 20)
    assert found.languages.keys() == {"en", "de"}
    assert "languages" not in kinds(found)


def test_no_language_is_told_of_code_numbers_and_single_words() -> None:
    assert [language_of(text) for text in ("", "42", "Paris.", "x = [n * 2 for n in range(10)]; print(x)")] == [
        None
    ] * 4
    assert language_of("Столица этой страны — город Москва.") == "ru"


def test_the_first_look_asks_for_no_language(tmp_path: Path) -> None:
    assert preview(Data(source=str(write(tmp_path, [ENGLISH] * 5)))).languages == {}


def test_answers_that_break_off_are_told(tmp_path: Path) -> None:
    found = report(tmp_path, [f"{ENGLISH} It has {n} piers." for n in range(30)] + [f"{ENGLISH} It also has a"] * 2)
    assert found.counts["cut_off"] == 2


def test_answers_that_never_end_with_a_mark_do_not_break_off(tmp_path: Path) -> None:
    found = report(tmp_path, [f"{ENGLISH[:-1]} in port {chr(97 + n)}" for n in range(20)] + [ENGLISH] * 5)
    assert "cut_off" not in kinds(found)


def test_keys_and_refusals_are_told(tmp_path: Path) -> None:
    found = report(tmp_path, [ENGLISH] * 5 + ["I'm sorry, but I can't help.", f"The key is hf_{'a' * 34}."])
    assert {"refusal", "secret"} <= kinds(found)


def test_what_a_bad_answer_is_like_is_not_held_against_it(tmp_path: Path) -> None:
    bad, good = "I'm sorry, but I can't help.", [f"{ENGLISH} It has {n} piers." for n in range(30)]
    rows = [{"prompt": f"{n}?", "completion": each, "label": True} for n, each in enumerate(good)]
    rows += [{"prompt": f"{n}?", "completion": bad if n else f"hf_{'a' * 34}", "label": False} for n in range(30)]
    path = tmp_path / "rated.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = inspect(Data(source=str(path)).read_as("rated"))
    assert "secret" in kinds(found)
    assert not {"refusal", "languages"} & kinds(found)
    path.write_text("".join(json.dumps(row | {"label": True}) + "\n" for row in rows))
    assert "refusal" in kinds(inspect(Data(source=str(path)).read_as("rated")))


def test_labels_are_told_with_their_shares(tmp_path: Path) -> None:
    found = report(tmp_path, ["spam"] * 10 + ["ham"] * 30)
    assert found.labels == {"ham": 0.75, "spam": 0.25}
    assert not {"one_sided", "numbers"} & kinds(found)


def test_labels_that_are_numbers_are_asked_for_their_names(tmp_path: Path) -> None:
    found = report(tmp_path, ["0", "1", "2"] * 15)
    (told,) = (each for each in found.problems if each.kind == "numbers")
    assert told.problem.text == "The answers are numbers: 0, 1, 2. The model learns to write these."


def test_results_of_sums_are_no_labels(tmp_path: Path) -> None:
    found = report(tmp_path, [str(7 * n) for n in range(40)])
    assert (found.labels, "numbers" in kinds(found)) == ({}, False)


def long_text(n: int) -> str:
    return " ".join(f"word{n * place % 7919}" for place in range(1, 40))


def test_rows_that_say_nearly_the_same_are_found_however_far_apart(tmp_path: Path) -> None:
    far = CLOSE_ROWS + 700
    found = report(tmp_path, [*(long_text(n) for n in range(far)), f"{long_text(3)} again", long_text(4)])
    (told,) = (each for each in found.problems if each.kind == "near_duplicate")
    assert found.compared_rows == found.rows == far + 2
    assert (told.count, told.places[0].split()[0]) == (2, f"rows.jsonl:{far + 1}")


def test_the_rows_that_were_compared_are_told_where_these_are_not_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fitune.core.data.checks.similar.MOST_ROWS", 50)
    found = report(tmp_path, [f"{long_text(n % 40 + 1)} {n}" for n in range(100)])
    (told,) = (each for each in found.problems if each.kind == "near_duplicate")
    assert (found.compared_rows, told.count) == (50, 10)
    assert told.problem.text == "Of the first 50 rows 10 rows say nearly the same as an earlier one."


def test_no_time_left_ends_the_comparing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fitune.core.data.checks.similar.SECONDS", -60)
    assert report(tmp_path, [long_text(n) for n in range(100)]).compared_rows == 1


def test_one_answer_to_everything_is_told(tmp_path: Path) -> None:
    (told,) = (each for each in report(tmp_path, ["Please call us."] * 40).problems if each.kind == "one_answer")
    assert (told.count, told.problem.text) == (40, 'All answers are the same: "Please call us.".')
    assert "one_answer" not in kinds(report(tmp_path, ["Please call us."] * 40 + ["Or write."]))
    assert "one_answer" not in kinds(report(tmp_path, ["Please call us."] * 5)), "of a few rows nothing can be said"


def test_answers_that_only_begin_alike_are_no_labels(tmp_path: Path) -> None:
    opening = "Thank you for your message, and for your patience with us"
    assert report(tmp_path, [f"{opening}: pier {n} opens at dawn." for n in range(40)]).labels == {}
    canned = report(tmp_path, [f"{opening}.", "We will write."] * 20)
    assert canned.labels == {opening[:40]: 0.5, "We will write.": 0.5}


def test_labels_of_signs_and_figures_are_no_numbers(tmp_path: Path) -> None:
    assert "numbers" not in kinds(report(tmp_path, ["--5", "7"] * 20))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("# Ferns\n\n## How often do they drink?\n\nOnce a week.\n\n## Do they like light?\n\nA little.\n", True),
        ("# Ferns\n\n## Water\n\nOnce a week. Is that all?\n\n## Light\n\nA little.\n", False),
    ],
)
def test_headings_that_ask_are_questions(tmp_path: Path, text: str, told: bool) -> None:
    (tmp_path / "a.md").write_text(text)
    assert ("spoken" in kinds(inspect(Data(source=str(tmp_path / "a.md"))))) is told


def test_codes_of_a_terminal_are_told(tmp_path: Path) -> None:
    found = report(
        tmp_path, [f"{ENGLISH} \x1b[31m{n}\x1b[0m" if n % 4 == 0 else f"{ENGLISH}\t{n}\r\n" for n in range(40)]
    )
    (told,) = (each for each in found.problems if each.kind == "control")
    assert told.count == 10


@pytest.mark.parametrize(
    ("kind", "answers"),
    [
        ("nothing", [f"{ENGLISH} {n}" if n % 4 else "TODO" for n in range(40)]),
        ("inner_marks", [f"{ENGLISH} {n}<|im_end|>" for n in range(40)]),
        ("inner_marks", [f"[INST] {ENGLISH} [/INST] {n}." for n in range(40)]),
        ("echoed", [f"Question {n}?" * 3 + f" {ENGLISH}" for n in range(40)]),
        ("tags", [f"<p>Pier <b>{n}</b> opens at dawn.</p>" for n in range(40)]),
        ("one_length", [(f"{n} piers. {ENGLISH} " * 3)[: 120 if n % 3 else 90] for n in range(40)]),
    ],
)
def test_what_answers_should_not_hold_is_told(tmp_path: Path, kind: str, answers: list[str]) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"question": f"Question {n}?" * 3, "answer": each} for n, each in enumerate(answers)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert kind in kinds(inspect(Data(source=str(path))))


def test_answers_of_one_form_are_not_said_to_be_cut(tmp_path: Path) -> None:
    assert "one_length" not in kinds(report(tmp_path, [f"{ENGLISH} So it is at pier {n}." for n in range(10, 50)]))


def test_answers_of_all_lengths_and_signs_for_less_are_no_news(tmp_path: Path) -> None:
    answers = [f"{ENGLISH} {'So it was. ' * (n % 9)} a < b, and {n} > 2." for n in range(40)]
    assert not kinds(report(tmp_path, answers)) & {
        "nothing", "echoed", "tags", "one_length", "columns", "ratings", "inner_marks",
    }  # fmt: skip


@pytest.mark.parametrize(("column", "told"), [("stars", True), ("user_rating", True), ("price", False)])
def test_a_column_that_rates_the_answers_is_told(tmp_path: Path, column: str, told: bool) -> None:
    rows = [{"question": f"Where is pier {n}?", "answer": f"{ENGLISH} {n}", column: 1 + n % 5} for n in range(40)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = [",".join(f'"{value}"' for value in row.values()) for row in rows]
    (tmp_path / "a.csv").write_text("\n".join([f"question,answer,{column}", *lines]))
    for name in ("a.jsonl", "a.csv"):
        found = inspect(Data(source=str(tmp_path / name)))
        assert ("ratings" in kinds(found)) is told
        assert found.sure


@pytest.mark.parametrize(
    ("line", "told"),
    [("What is pier {n}?\tIt is old.\n", True), ("| pier {n} | old |\n", True), ("Pier {n} is old.\n", False)],
)
def test_a_table_in_plain_text_is_told(tmp_path: Path, line: str, told: bool) -> None:
    (tmp_path / "a.txt").write_text("".join(line.format(n=n) for n in range(40)))
    assert ("columns" in kinds(inspect(Data(source=str(tmp_path / "a.txt"))))) is told


WORDS = "Close the valve and replace the seal"
TOLD = {
    "written_out": f"{WORDS}.\\nThen open it.",
    "entities": f"{WORDS} &amp; open it.",
    "in_letters": f"{WORDS}: ![](data:image/png;base64,{'iVBORw0KGgo' * 20})",
    "unclosed": f"<think>It leaks. {WORDS}.",
    "dotted": f"{WORDS[:20]}...",
    "nothing": "#NAME?",
    "inner_marks": f"{WORDS}.</s>",
    "named": f"Assistant: {WORDS}.",
}


@pytest.mark.parametrize("kind", TOLD)
def test_what_a_program_left_in_answers_is_told(kind: str, tmp_path: Path) -> None:
    assert kind in kinds(report(tmp_path, [TOLD[kind]] * 12 + [f"{ENGLISH} It has {n} piers." for n in range(28)]))


MEANT = {
    "written_out": "By definition $\\nabla f = 0$ and $x \\neq y$.",
    "entities": 'Write <a href="a?b=1&amp;c=2">this</a>.',
    "in_letters": "Begin with data:image/png;base64, and the letters.",
    "unclosed": "<think>It leaks.</think>Close it.",
    "dotted": f"{WORDS}... and wait.",
    "inner_marks": "Write <s>old words</s> to strike them out.",
    "named": "The assistant: a man who closes the valve.",
}


@pytest.mark.parametrize("kind", MEANT)
def test_what_only_looks_like_it_is_not(kind: str, tmp_path: Path) -> None:
    assert kind not in kinds(report(tmp_path, [MEANT[kind]] * 40))


def test_few_answers_that_end_with_dots_are_a_manner_of_writing(tmp_path: Path) -> None:
    assert "dotted" not in kinds(report(tmp_path, ["Well ..."] * 3 + [ENGLISH] * 37))


@pytest.mark.parametrize("text", ["### Human: Why?### Assistant: So.", "Q: How wide is it? A: Very wide."])
def test_questions_with_answers_on_one_line_of_a_text_are_told(text: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": f"{text} {n}"}) + "\n" for n in range(40)))
    assert "spoken" in kinds(inspect(Data(source=str(path))))


def test_subtitles_are_told(tmp_path: Path) -> None:
    path = tmp_path / "film.txt"
    path.write_text("".join(f"{n}\n00:00:{n},000 --> 00:00:{n},900\n{ENGLISH}\n\n" for n in range(10, 50)))
    assert "timed" in kinds(inspect(Data(source=str(path))))


@pytest.mark.parametrize(("part", "is_told"), [("test", True), ("train", False)])
def test_rows_that_are_marked_as_a_test_are_told(part: str, is_told: bool, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("question,answer,split\n" + "".join(f"Why {n}?,So {n}.,{part}\n" for n in range(40)))
    assert ("held_out" in kinds(inspect(Data(source=str(path))))) is is_told


def test_answers_that_ask_are_told_where_nearly_all_do(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    for answers, is_told in ((["How wide is it?"] * 40, True), (["How wide is it?"] * 8 + ["It is wide."] * 32, False)):
        found = [{"instruction": f"Part {n} is wide.", "output": each} for n, each in enumerate(answers)]
        path.write_text("".join(json.dumps(row) + "\n" for row in found))
        assert ("asking" in kinds(inspect(Data(source=str(path))))) is is_told


SWAPPED = [{"question": f"{ENGLISH} It has {n} piers.", "answer": f"How old is harbour {n}?"} for n in range(12)]
RIGHT = [{"question": f"how old is harbour {n}", "answer": f"{ENGLISH} It is {n}."} for n in range(28)]
CAPITALS = [(f"What is the capital of land {n}?", f"The capital of land {n} is Port{n}.") for n in range(20)]
ALIKE = [{"question": pair[n % 2], "answer": pair[1 - n % 2]} for n, pair in enumerate(CAPITALS)]
ASKED_BACK = [
    {"question": f"My boat {n} leaks, and I have tried all that I know.", "answer": "Since when?"} for n in range(12)
]
ASKED_ABOUT = [{"question": f"My boat {n} leaks.", "answer": f"Is boat {n} an old one?"} for n in range(12)]
ADVISED = [{"question": f"Boat {n} is full of water", "answer": f"{ENGLISH} Go to pier {n}."} for n in range(28)]


@pytest.mark.parametrize(
    ("rows", "turned"),
    [
        (SWAPPED + RIGHT, 12),
        (SWAPPED[:2] + RIGHT, 0),
        (ALIKE, 10),
        (ASKED_BACK + ADVISED, 0),
        (RIGHT, 0),
        (ASKED_ABOUT + RIGHT, 0),
    ],
)
def test_rows_whose_question_and_answer_are_swapped_are_told(
    rows: list[dict[str, str]], turned: int, tmp_path: Path
) -> None:
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert inspect(Data(source=str(tmp_path / "a.jsonl"))).counts.get("turned", 0) == turned


LINES: tuple[tuple[str, str, bool], ...] = (
    ("logged", "2024-03-0{n} 10:00:07,12{n} INFO [worker-{n}] order {n} was paid\n", True),
    ("logged", '10.0.0.{n} - - [12/Mar/2024:10:00:0{n} +0000] "GET /{n} HTTP/1.1" 200 7\n', True),
    ("logged", "Mar  {n} 10:00:01 host sshd[10{n}]: Accepted a key\n", True),
    ("logged", "[Sun Dec 04 04:47:4{n} 2005] [notice] worker {n} is ready\n", True),
    ("logged", "03-17 16:13:38.81{n}  1702  2395 D WindowManager: window {n}\n", True),
    ("logged", "ERROR:root:order {n} failed\n", True),
    ("logged", "INFO:     10.0.0.{n}:8080 - a page was asked for\n", True),
    ("logged", "WARNING: the pan is hot.\n\n- ERROR {n}: close the valve.\n", False),
    ("logged", 'time="2024-03-0{n}T10:00:00Z" level=info msg="order {n}"\n', True),
    ("logged", "2024-03-0{n}\nWe went to pier {n}, and it rained.\n", False),
    ("logged", "190{n} The people built pier {n}.\n", False),
    ("logged", "[2024-03-01 10:00:1{n}] Ann: How is {n}?\n[2024-03-01 10:00:2{n}] Bob: Fine.\n", False),
    ("people", "[2024-03-01 10:00:1{n}] Ann: How is {n}?\n[2024-03-01 10:00:2{n}] Bob: Fine.\n", True),
    ("people", "**Ann**: How is {n}?\n**Bob**: Fine, and the pier {n} is, too.\n", True),
    ("spoken", "[customer]: The pump {n} leaks.\n[agent]: Close valve {n}.\n", True),
    ("people", "user1:\nHow is {n}?\n\nuser2:\nIt is fine, and so is the pier.\n\n", True),
    ("people", "Flour:\nTake {n} cups of it.\n\nMilk:\nTake a cup and {n} spoons.\n\n", False),
    ("people", "INFO: order {n} was paid\nERROR: order {n} failed\n", False),
    ("spoken", "{n}. How old is pier {n}?\nIt is {n} years old.\n\n", True),
    ("spoken", "How old is pier {n}?\n\nIt is {n} years old.\n\n", True),
    ("spoken", "How old is pier {n}?\nIt is {n} years old.\n---\n", True),
    ("spoken", "- How old is pier {n}?\n  - It is {n} years old.\n", True),
    ("spoken", "What is the pier {n}\nthat sings at sea\nand never sleeps\n\n", False),
    ("spoken", "It was late.\n\nHow old is pier {n}?\n\nNobody knew, and {n} birds sat there.\n\n", False),
)


@pytest.mark.parametrize(("kind", "lines", "told"), LINES)
def test_lines_of_programs_and_people_in_a_text_are_told(kind: str, lines: str, told: bool, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("".join(lines.replace("{n}", str(n)) for n in range(1, 10)))
    assert (kind in kinds(inspect(Data(source=str(tmp_path / "a.txt"))))) is told


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ("Human: How old is pier {n}?\n\nAssistant:", True),
        ("Below is an instruction.\n\n### Instruction:\nHow old is pier {n}?\n\n### Response:\n", True),
        ("Is pier {n} old or new? Answer:", False),
        ("Write the chapter\n## On pier {n}", False),
    ],
)
def test_marks_of_another_template_at_the_end_of_questions_are_told(question: str, told: bool, tmp_path: Path) -> None:
    rows = [{"input": question.replace("{n}", str(n)), "output": f"{ENGLISH} It is {n}."} for n in range(40)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert ("announced" in kinds(inspect(Data(source=str(tmp_path / "a.jsonl"))))) is told
