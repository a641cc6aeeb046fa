"""The metric is chosen by the shape of the answers, and marks them as a reader would."""

import pytest

from fitune.core.score.answers import final_number, tool_calls, words
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
        (["客户服务投诉", "产品质量问题"] * 5, "label"),
        (
            [
                f"您的订单{n}将于明天发货，请注意查收。如有任何问题，请随时联系我们的客服团队，我们会尽快为您处理。" * 2
                for n in range(20)
            ],
            "text",
        ),
        (
            [
                f"ご注文{n}は明日発送されます。ご不明な点がございましたら、いつでもお問い合わせください。よろしくお願いします。"
                * 2
                for n in range(20)
            ],
            "text",
        ),
        (
            [
                f"คำสั่งซื้อของคุณ{n}จะถูกจัดส่งในวันพรุ่งนี้หากมีคำถามใดๆโปรดติดต่อเราได้ตลอดเวลาทีมงานของเรายินดีช่วยเหลือ" * 2
                for n in range(20)
            ],
            "text",
        ),
        ([f"第{n}章" for n in range(20)], "match"),
        ([f"{n},20,500 rupees" for n in range(10, 30)], "number"),
        ([f"\u2212{n} °C" for n in range(20)], "number"),
        ([f"{n}.5e-3 mol" for n in range(20)], "number"),
        ([f"{n}:30" for n in range(20)], "match"),
        ([f"{n}/4" for n in range(20)], "match"),
        ([f"{n}.7.3" for n in range(20)], "match"),
        ([f"12,{n}" for n in range(20)], "match"),
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
        ("number", "\u22125", "The result is -5.", True, True),
        ("number", "\u22125", "5", False, True),
        ("number", "1,20,500", "It costs 120500 rupees.", True, True),
        ("number", "2e-3", "0.002", True, True),
        ("number", "7", "<think>\nSo it may be 7", False, False),
        ("match", "10:30", "at 11:30", False, True),
        ("match", "the change is -5", "The change is 5.", False, True),
        ("match", "return x + 1", "return x - 1", False, True),
        ("match", "return x * 2", "return x 2", False, True),
        ("match", "WHERE a > 1", "where a < 1", False, True),
        ("match", "C++", "C#", False, True),
        ("match", "Paris", "**Paris**.", True, True),
        ("match", "Vitamin A", "vitamin", False, True),
        ("match", "It is a cat.", "it is cat", True, True),
        ("match", "ดี", "ดุ", False, True),
        ("match", "की", "का", False, True),
        ("match", "caf\u00e9", "Cafe\u0301", True, True),
        ("match", "good \U0001f600", "good \U0001f621", False, True),
        ("match", "\u2764\ufe0f", "\u2764", True, True),
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


@pytest.mark.parametrize(
    ("labels", "answer", "label"),
    [
        (["A", "B", "C", "D"], "A. Paris", "A"),
        (["A", "B", "C", "D"], "The answer is B, a river.", "B"),
        (["Option A", "Option B"], "option C", None),
        (["C", "C#", "C++"], "It is C++.", "C++"),
        (["正面", "负面"], "这条评论是正面的。", "正面"),
        (["+", "-"], "+", "+"),
        (["yes", "no"], "<think>\nIt may be yes", None),
    ],
)
def test_a_label_is_known_by_all_that_it_is_written_with(labels: list[str], answer: str, label: str | None) -> None:
    assert len(labels_of(labels)) == len(labels)
    assert label_in(answer, labels) == label


def test_a_text_of_ascii_has_the_words_of_any_text() -> None:
    text = "x*y a * b **c** #d e# f#, -.5 3-4 g-h (-1)-2 $5 i^j `k` l_m <n> o|p q=r"
    ascii_only, with_accent = words(text), words(text + " é")
    assert with_accent == [*ascii_only, "é"]


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
