"""The metric is chosen by the shape of the answers, and marks them as a reader would."""

import pytest

from fitune.core.score.answers import final_number, tool_calls
from fitune.core.score.metrics import Metric, label_in, labels_of, macro_f1, mark, metric_for

CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>'


@pytest.mark.parametrize(
    ("answers", "metric"),
    [
        (["positive", "negative", "positive.", "Negative"] * 5, "label"),
        (["0", "1"] * 10, "label"),
        ([f"a long way to it\n#### {n}" for n in range(20)], "number"),
        ([str(n * 7) for n in range(20)], "number"),
        ([f'{{"name": "{n}", "age": {n}}}' for n in range(20)], "json"),
        ([CALL] * 20, "tool_call"),
        ([f"team: {n} | urgency: low" for n in range(20)], "match"),
        ([f"word{n} " * 40 for n in range(20)], "text"),
        ([f"<think>\nlong {n} {'word ' * 90}\n</think>\n\nCity {n}" for n in range(20)], "match"),
        (["yes"] * 20, "match"),
        (["Die Antwort ist ja", "好的"], "match"),
    ],
)
def test_the_shape_of_the_answers_chooses_the_metric(answers: list[str], metric: Metric) -> None:
    assert metric_for(answers) == metric


@pytest.mark.parametrize(
    ("metric", "reference", "answer", "right", "valid"),
    [
        ("number", "so\n#### 1,234", "It is 1234.", True, True),
        ("number", "#### 18", "#### 18.0 dollars", True, True),
        ("number", "#### 18", "She makes 9 * 2 = 18. Then 19", False, True),
        ("number", "#### 18", "I don't know", False, False),
        ("number", "#### -3", "the result is -3", True, True),
        ("json", '{"a": 1, "b": [1, 2]}', '```json\n{"b": [1, 2], "a": 1}\n```', True, True),
        ("json", '{"a": 1}', '{"a": "1"}', False, True),
        ("json", '{"a": 1}', '{"a": 1', False, False),
        ("tool_call", CALL, '{"name":"weather","parameters":{"city":"Oslo"}}', True, True),
        ("tool_call", CALL, '{"name": "weather", "arguments": "{\\"city\\": \\"Oslo\\"}"}', True, True),
        ("tool_call", CALL, '{"name": "weather", "arguments": {"city": "Bergen"}}', False, True),
        ("tool_call", CALL, "The weather in Oslo is fine.", False, False),
        ("match", "Team: A | low", "team: a|LOW.", True, True),
        ("match", "team: a", "team: b", False, True),
        ("match", "team: a", "<think>\nwell\n</think>\n\nteam: a", True, True),
        ("text", "one two", "one two", True, True),
    ],
)
def test_an_answer_is_marked(metric: Metric, reference: str, answer: str, right: bool, valid: bool) -> None:
    found = mark(metric, reference, answer)
    assert (found.right, found.valid) == (right, valid)


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("Negative.", "negative"),
        ("The mood is clearly negative here.", "negative"),
        ("positive or negative", None),
        ("very positive", "very positive"),
        ("It is very positive!", "very positive"),
        ("unsure", None),
    ],
)
def test_a_label_is_found_where_it_is_the_only_one_named(answer: str, label: str | None) -> None:
    labels = labels_of(["negative", "positive", "very positive", "negative"])
    assert labels[0] == "negative"
    assert label_in(answer, labels) == label


def test_how_near_an_answer_is_lies_between_nothing_and_all() -> None:
    assert mark("json", '{"a": 1, "b": 2}', '{"a": 1, "b": 3}').near == 0.5
    assert mark("match", "red blue", "blue green").near == 0.5
    assert 0 < mark("text", "a word or two of it", "a word or three of it").near < 1
    assert mark("text", "abc", "").near == 0


def test_rare_labels_count_as_much_as_frequent_ones() -> None:
    assert macro_f1([("a", "a")] * 98 + [("b", "a")] * 2) < 0.5
    assert macro_f1([("a", "a"), ("b", "b")]) == 1


@pytest.mark.parametrize("text", ["", "{", "{" * 5000, '{"name": 3, "arguments": {}}', "\ud800", "[1, 2"])
def test_broken_answers_are_wrong_and_break_nothing(text: str) -> None:
    for metric in ("tool_call", "json", "label", "number", "match", "text"):
        assert not mark(metric, CALL, text, ("a", "b")).right


def test_numbers_are_read_as_people_write_them() -> None:
    assert final_number("1 234,000 and then 70,000") == 70_000
    assert final_number("\\boxed{12.5} of 99") == 12.5
    assert final_number("no") is None
    assert tool_calls("[" + '{"name": "f", "arguments": {}}, {"name": "g", "arguments": {}}' + "]") == [
        ("f", {}),
        ("g", {}),
    ]
