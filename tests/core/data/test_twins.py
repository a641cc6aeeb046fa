"""Rows that say nearly the same: told in the report, and never held out beside one that is trained on."""

import json
import random
from pathlib import Path

from fitune.core.data.dataset import Row, inspect, rows
from fitune.core.data.split import split
from fitune.core.data.twins import with_a_twin
from fitune.core.recipe import Data

WORDS = [f"{one}{two}" for one in ("har", "mar", "lan", "tor", "sel", "vin") for two in ("bour", "ket", "tern", "ner")]


def pairs(count: int, seed: int = 1) -> list[dict[str, str]]:
    """Questions with answers of random words, of which no two are alike."""
    draw = random.Random(seed)

    def text(words: int) -> str:
        return " ".join(draw.choice(WORDS) for _ in range(words))

    return [{"question": f"{text(9)}?", "answer": f"{text(16)}."} for _ in range(count)]


def reworded(row: dict[str, str]) -> dict[str, str]:
    """The same with another first word, in capitals."""
    return {"question": f"Tell: {row['question'].upper()}", "answer": row["answer"]}


def canonical(found: list[dict[str, str]], folder: Path) -> list[Row]:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in found))
    return list(rows(Data(source=str(path))))


def test_a_row_that_says_nearly_the_same_is_told_with_the_place_of_the_other(tmp_path: Path) -> None:
    found = pairs(40)
    canonical([*found, reworded(found[3]), found[4]], tmp_path)
    report = inspect(Data(source=str(tmp_path / "rows.jsonl")))
    assert (report.counts["near_duplicate"], report.counts["duplicate"]) == (1, 1)
    (near,) = (each for each in report.problems if each.kind == "near_duplicate")
    assert near.places == ("rows.jsonl:41 says nearly the same as rows.jsonl:4.",)


def test_rows_with_a_twin_are_trained_on_and_told(tmp_path: Path) -> None:
    found = pairs(100)
    made = canonical([*found, *map(reworded, found[:50])], tmp_path)
    moved: list[int] = []
    train, held = split(made, 0.2, 3, moved.append)
    assert held
    assert all(50 <= place < 100 for place in held)
    assert sorted([*train, *held]) == list(range(150))
    assert sum(moved) > 0


def test_where_every_row_has_a_twin_some_are_held_out_all_the_same(tmp_path: Path) -> None:
    found = pairs(30)
    made = canonical([*found, *map(reworded, found)], tmp_path)
    assert len(split(made, 0.1, 3)[1]) == 6


def test_an_instruction_that_all_rows_share_makes_no_twins(tmp_path: Path) -> None:
    shared = " ".join(f"rule{n}" for n in range(200))
    made = canonical([{**row, "question": f"{shared} {row['question']}"} for row in pairs(60)], tmp_path)
    assert with_a_twin(made, range(60), {}) == set()


def test_rows_of_few_words_have_no_twins(tmp_path: Path) -> None:
    made = canonical([{"question": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(40)], tmp_path)
    assert with_a_twin(made, range(40), {}) == set()


def test_chinese_is_compared_letter_by_letter(tmp_path: Path) -> None:
    text = "港口建于很久以前，每天黎明都有市场开放，还有一座古老的灯塔。"
    made = canonical(
        [{"question": "请介绍一下这个港口", "answer": text}, {"question": "请介绍这个港口", "answer": text}], tmp_path
    )
    assert with_a_twin(made, [0], {}) == {0}
