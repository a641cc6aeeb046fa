"""A value means what was typed, and its text means the value again."""

import pytest

from fitune.tui.wizard.fields import all_fields, parse, problem, text_of


@pytest.mark.parametrize("text", ["2,000", "1,000", "1,5"])
def test_a_comma_does_not_make_2_steps_of_2_000(text: str) -> None:
    assert "without commas" in problem(all_fields()["train.max_steps"], text)


@pytest.mark.parametrize(("text", "value"), [("0,0002", 2e-4), ("2e-4", 2e-4), ("0.05", 0.05)])
def test_a_number_may_have_a_decimal_comma(text: str, value: float) -> None:
    assert parse(all_fields()["train.lr"], text) == value


@pytest.mark.parametrize("value", [2e-4, 1.2345e-4, 2.125e-5, 5e-7, 0.0123, 1.5])
def test_the_text_of_a_number_means_that_number(value: float) -> None:
    assert parse(all_fields()["train.lr"], text_of(min(value, 1.0))) == min(value, 1.0)


@pytest.mark.parametrize(("text", "value"), [("2", 2), ("0, 1", [0, 1]), ("all", "all"), ("auto", "auto")])
def test_a_number_of_gpus_is_no_card_of_that_number(text: str, value: object) -> None:
    field = all_fields()["run.gpus"]
    assert parse(field, text) == value
    assert text_of(value) == text


def test_a_label_leaves_room_before_its_value() -> None:
    from fitune.tui.wizard.widgets.form import LABEL_COLUMNS

    assert max(len(field.label) for field in all_fields().values()) < LABEL_COLUMNS
