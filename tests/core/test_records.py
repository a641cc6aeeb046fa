"""Dataclasses as JSON: what is written is read, and what is damaged becomes a default."""

from dataclasses import dataclass, field
from typing import Any, Literal

import orjson
import pytest

from fitune.core.records import from_json, to_json


@dataclass(frozen=True, slots=True)
class Inner:
    name: str
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Outer:
    count: int
    share: float
    known: str | None
    mode: Literal["on", "off"]
    inner: Inner
    pair: tuple[int, int] | None = None
    names: tuple[str, ...] = ("a",)
    parts: tuple[Inner, ...] = ()
    text_or_list: list[dict[str, Any]] | str = ""
    by_name: dict[str, str | None] = field(default_factory=dict)
    flag: bool = True


FULL = Outer(
    3, 0.5, None, "off", Inner("x"), (8, 9), ("b", "c"), (Inner("y", 1),), [{"role": "user"}], {"k": None}, False
)
EMPTY = Outer(0, 0.0, None, "on", Inner(""))


def test_what_is_written_is_read() -> None:
    assert from_json(Outer, orjson.loads(orjson.dumps(to_json(FULL)))) == FULL
    assert from_json(Outer, orjson.loads(orjson.dumps(to_json(FULL))), strictly=True) == FULL


def test_none_is_left_out_where_it_is_the_default() -> None:
    assert to_json(Inner("x")) == {"name": "x"}
    assert from_json(Inner, to_json(Inner("x")), strictly=True) == Inner("x")
    assert "pair" not in to_json(EMPTY)
    assert to_json(EMPTY)["known"] is None


@pytest.mark.parametrize("raw", [None, 3, "text", [1], {}, {"unknown": 1}])
def test_what_is_no_object_or_has_nothing_is_empty(raw: object) -> None:
    assert from_json(Outer, raw) == EMPTY
    with pytest.raises(ValueError, match="count is missing"):
        from_json(Outer, raw, strictly=True)


@pytest.mark.parametrize("odd", [None, [1], {"a": 1}, "many", True, 1e300, -1])
def test_a_value_of_a_wrong_type_is_as_if_it_were_missing(odd: object) -> None:
    read = from_json(Outer, dict.fromkeys(to_json(FULL), odd))
    for name, kinds in (("count", int), ("share", int | float), ("names", tuple), ("by_name", dict), ("flag", bool)):
        assert isinstance(getattr(read, name), kinds)
        assert not (kinds in (int, int | float) and isinstance(getattr(read, name), bool))
    assert read.mode in ("on", "off")
    assert isinstance(read.inner, Inner)


def test_a_whole_number_may_come_with_a_point() -> None:
    assert from_json(Outer, {"count": 3.0}).count == 3
    assert from_json(Outer, {"count": 3.5}).count == 0


def test_of_a_list_the_items_of_a_wrong_type_are_left_out_and_a_pair_is_a_pair() -> None:
    assert from_json(Outer, {"names": ["x", 1, None, "y"]}).names == ("x", "y")
    assert from_json(Outer, {"pair": [8]}).pair is None
    assert from_json(Outer, {"pair": [8, "9"]}).pair is None
