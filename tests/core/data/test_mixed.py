"""Several sources with weights, each of its own shape, and general rows mixed in."""

import json
from pathlib import Path
from typing import Any

import pytest

from fitune.core.data import dataset
from fitune.core.data.exchange import exchange_of
from fitune.core.data.mixed import replayed, weighted
from fitune.core.errors import BadInput, UserError
from fitune.core.recipe import Data
from fitune.core.recipe.load import load, parse, to_toml


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def pairs(tmp_path: Path) -> str:
    return write(tmp_path / "pairs.jsonl", [{"question": f"Pair {n}?", "answer": f"Answer {n}."} for n in range(40)])


@pytest.fixture
def chats(tmp_path: Path) -> str:
    turns = [
        [{"from": "human", "value": f"Chat {n}?"}, {"from": "gpt", "value": f"Reply {n}, as promised."}]
        for n in range(10)
    ]
    return write(tmp_path / "chats.jsonl", [{"conversations": each} for each in turns])


def of(*parts: dict[str, Any], **more: Any) -> Data:
    return Data.model_validate({"sources": parts, **more})


@pytest.mark.parametrize(("weight", "count"), [(1, 10), (2, 20), (0.5, 5), (1.5, 15), (0.1, 1), (0.05, 0), (0.3, 3)])
def test_rows_come_as_often_as_their_weight_says(weight: float, count: int) -> None:
    assert len(list(weighted([{"text": str(n)} for n in range(10)], weight))) == count


def test_a_share_is_taken_evenly_from_all_over_the_rows() -> None:
    found = [row["text"] for row in weighted([{"text": n} for n in range(100)], 0.1)]
    assert found == list(range(9, 100, 10))


def test_each_source_is_read_by_its_own_shape(pairs: str, chats: str) -> None:
    data = of({"source": pairs, "weight": 0.5}, {"source": chats, "weight": 2})
    asked = [exchange_of(row)[0] for row in dataset.rows(data)]
    assert asked == [f"Pair {n}?" for n in range(1, 40, 2)] + [f"Chat {n}?" for n in range(10) for _ in range(2)]
    assert asked == [exchange_of(row)[0] for row in dataset.rows(data)]


def test_the_report_is_on_all_sources(pairs: str, chats: str) -> None:
    told: list[tuple[int, int]] = []
    report = dataset.inspect(
        of({"source": pairs}, {"source": chats, "weight": 3}), 2, lambda done, total: told.append((done, total))
    )
    assert (report.rows, report.rows_read, report.format) == (70, 50, "mixed")
    assert (report.sure, report.can_train) == (True, True)
    assert report.files == ("pairs.jsonl", "chats.jsonl")
    assert [exchange_of(row)[0] for row in report.preview[:2]] == ["Pair 0?", "Chat 0?"]
    size = Path(pairs).stat().st_size + Path(chats).stat().st_size
    assert told[-1] == (size, size)


def test_a_source_that_can_not_be_read_stops_all_of_them(pairs: str, tmp_path: Path) -> None:
    bad = write(tmp_path / "bad.jsonl", [{"id": f"row-{n}"} for n in range(30)])
    report = dataset.inspect(of({"source": pairs}, {"source": bad}))
    assert not report.can_train
    assert any(bad in str(each.problem) for each in report.problems if each.severity == "stop")
    with pytest.raises(BadInput):
        list(dataset.rows(of({"source": pairs}, {"source": bad})))


def test_a_guess_in_one_of_the_sources_is_refused(pairs: str, tmp_path: Path) -> None:
    unclear = write(tmp_path / "unclear.jsonl", [{"foo": f"How is {n}?", "bar": f"It is so, {n}."} for n in range(30)])
    with pytest.raises(UserError, match=r"unclear\.jsonl"):
        dataset.refuse_guess(of({"source": pairs}, {"source": unclear}))
    named = {"question": "foo", "answer": "bar"}
    dataset.refuse_guess(of({"source": pairs}, {"source": unclear, "columns": named}))


@pytest.mark.parametrize(("share", "own", "count"), [(0.1, 90, 10), (0.5, 40, 40), (0.0, 40, 0), (0.05, 1000, 53)])
def test_general_rows_make_the_share_of_all(share: float, own: int, count: int) -> None:
    assert replayed(share, own) == count


def test_general_rows_are_mixed_in_and_counted(pairs: str, chats: str) -> None:
    data = Data(source=pairs, replay=0.1, replay_source=chats)
    asked = [exchange_of(row)[0] for row in dataset.general_rows(data, 40)]
    assert asked == ["Chat 2?", "Chat 4?", "Chat 7?", "Chat 9?"]
    assert len(list(dataset.rows(data))) == 40
    assert dataset.inspect(data).general == 4


def test_too_few_general_rows_are_told(pairs: str, chats: str) -> None:
    report = dataset.inspect(Data(source=pairs, replay=0.5, replay_source=chats))
    assert (report.general, report.can_train) == (10, True)
    assert "only 10 of the 40 general rows" in str(report.problems[-1].problem)


def test_general_rows_of_no_clear_shape_stop(pairs: str, tmp_path: Path) -> None:
    unclear = write(tmp_path / "unclear.jsonl", [{"foo": f"How is {n}?", "bar": f"It is so, {n}."} for n in range(30)])
    report = dataset.inspect(Data(source=pairs, replay=0.1, replay_source=unclear))
    assert [each.kind for each in report.problems if each.severity == "stop"] == ["replay"]


# The recipe


SEVERAL = """[model]
id = "a/b"
[data]
sources = [{source = "a.jsonl"}, {source = "b.csv", weight = 2, columns = {question = "Q", answer = "A"}}]
replay = 0.1
"""


def test_a_recipe_with_several_sources_is_written_and_read_again(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(SEVERAL)
    recipe = load(tmp_path / "recipe.toml")
    assert recipe.data.name == "a.jsonl, b.csv"
    assert [(part.source, weight, dict(part.columns)) for part, weight in recipe.data.parts()] == [
        ("a.jsonl", 1.0, {}),
        ("b.csv", 2.0, {"question": "Q", "answer": "A"}),
    ]
    (tmp_path / "again.toml").write_text(to_toml(recipe))
    assert load(tmp_path / "again.toml") == recipe


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({}, "data.source: is missing"),
        ({"source": "a", "sources": [{"source": "b"}]}, "data.sources: stands beside data.source"),
        ({"sources": [{"source": "b"}], "format": "text"}, "data.format: does not say to which"),
        ({"sources": [{"source": "b", "weight": 0}]}, "data.sources"),
        ({"sources": [{"source": "b", "wieght": 2}]}, "data.sources: has no key wieght."),
        ({"source": "a", "replay": 0.6}, "data.replay"),
    ],
)
def test_sources_that_contradict_each_other_are_told(data: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput) as error:
        parse({"model": {"id": "a/b"}, "data": data}, "recipe")
    assert said in str(error.value)
