"""The chart can be read: round labels at even distances, every value inside, few points however long the run."""

import itertools
import random

import pytest

from fitune.tui.widgets.step_chart import FANCY, Row, bucket, draw, scale


def text(rows: list[Row]) -> list[str]:
    return ["".join(part for part, _ in row) for row in rows]


LONG = [(step, 2.0 / step**0.3) for step in range(1, 2049)]


@pytest.mark.parametrize("rows", range(3, 40))
def test_every_value_lies_on_the_axis(rows: int) -> None:
    dice = random.Random(rows)
    for _ in range(200):
        low = dice.choice([0.0, -3.0, 1e-5, 2.2, dice.random() * 10])
        high = low + dice.choice([0, 1e-6, 0.03, 1, 7, 1e5])
        axis = scale(low, high, rows)
        assert axis.bottom <= low + 1e-6 * abs(low)
        assert axis.top >= high - 1e-6 * abs(high)
        places = sorted(axis.labels)
        assert len({b - a for a, b in itertools.pairwise(places)}) <= 1, "labels at even distances"
        assert len(set(axis.labels.values())) == len(axis.labels), "no label twice"


@pytest.mark.parametrize("train", [[], LONG])
def test_a_long_title_is_cut_with_a_mark(train: list[tuple[int, float]]) -> None:
    title = "loss of 2026-11-30-smollm2-135m-instruct-8105"
    for columns in (24, 38, 80):
        first = text(draw(train, train[-1:], columns, 10, False, title=title))[0]
        assert len(first) <= columns
        assert ("..") in first or title in first
        assert first.split()[-1] in ("yet", "held-out") or first.endswith("8105")


@pytest.mark.parametrize("rows", range(4, 8))
@pytest.mark.parametrize(("low", "high"), [(0.17, 5.3), (3.9, 5.2), (1.18, 1.54)])
def test_a_curve_uses_half_of_a_low_chart(low: float, high: float, rows: int) -> None:
    axis = scale(low, high, rows)
    assert (high - low) / (axis.top - axis.bottom) > 0.4


@pytest.mark.parametrize("plain", [True, False])
def test_a_loss_of_more_digits_than_there_are_columns_is_not_drawn(plain: bool) -> None:
    assert draw([(1, 3e38), (2, 1e38)], [], 30, 12, plain) == []


@pytest.mark.parametrize(("columns", "rows"), [(24, 6), (78, 12), (198, 40)])
@pytest.mark.parametrize("plain", [True, False])
def test_it_fills_exactly_its_place(columns: int, rows: int, plain: bool) -> None:
    drawn = text(draw(LONG, [(1000, 0.3)], columns, rows, plain))
    assert len(drawn) == rows
    assert {len(line) for line in drawn[1:]} == {columns}
    assert drawn[-1].split()[0] == "1"
    assert drawn[-1].endswith("step 2,048")
    if plain:
        assert all(line.isascii() for line in drawn)


def test_what_is_too_small_is_left_out() -> None:
    assert draw(LONG, [], 20, 12, False) == []
    assert draw(LONG, [], 80, 5, False) == []


def test_a_run_without_steps_says_so() -> None:
    assert text(draw([], [], 80, 12, False))[0] == "no loss yet"


def test_one_point_is_drawn() -> None:
    drawn = text(draw([(1, 2.25)], [], 80, 12, False))
    assert any(0x2800 < ord(each) <= 0x28FF for line in drawn[1:] for each in line)
    assert drawn[-1].strip() == "step 1"


def test_held_out_points_stand_at_their_step() -> None:
    drawn = text(draw([(1, 1.0), (101, 1.0)], [(51, 2.0)], 81, 12, False))
    line = next(line for line in drawn[1:] if FANCY.held_out in line)
    width = 81 - line.index("┤" if "┤" in line else "│") - 1
    assert abs(line.index(FANCY.held_out) - (81 - width) - width / 2) <= 1


def test_two_points_a_column_however_many_steps() -> None:
    points = bucket([(step, float(step % 2)) for step in range(1, 10001)], 80)
    assert len(points) <= 160
    assert all(abs(loss - 0.5) < 0.1 for _, loss in points)


def test_a_learning_rate_uses_the_height_of_its_chart() -> None:
    drawn = text(draw([(step, 2e-4 * step / 100) for step in range(101)], [], 60, 9, False, 100, "learning rate"))
    assert drawn[0].strip() == "learning rate"
    assert sum(any(0x2800 < ord(each) <= 0x28FF for each in line) for line in drawn) >= 5


def test_an_unfinished_run_leaves_room_up_to_its_last_step() -> None:
    drawn = text(draw([(1, 2.0), (50, 1.0)], [], 80, 12, False, 100))
    assert drawn[-1].endswith("step 100")
    assert all(line[50:].strip(" ⠀") == "" for line in drawn[1:-2])
