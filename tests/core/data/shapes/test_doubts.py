"""Names that say one thing while the values say another: asked about, and not where the values agree."""

from collections.abc import Callable
from typing import Any

import pytest

from fitune.core.data.shapes.recognise import recognise
from fitune.core.data.shapes.shape import Shape
from fitune.core.recipe import Data

Make = Callable[[int], dict[str, Any]]


def shape_of(make: Make) -> Shape:
    return recognise([make(n) for n in range(24)], Data(source="rows.jsonl"))


def q(n: int) -> str:
    return f"How do I repair pump number {n} when it leaks?"


def a(n: int) -> str:
    return f"Close valve {n}, then replace the seal of the pump."


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


DOUBTED: tuple[tuple[str, Make, str], ...] = (
    ("answers that ask", lambda n: {"question": a(n), "answer": q(n)}, "swapped"),
    ("answers that ask without a mark",
     lambda n: {"question": a(n), "answer": f"how do i repair pump {n}"}, "swapped"),
    ("messages of an export", lambda n: {"AuthorID": f"{10**17 + n % 2}", "Content": a(n)}, "plain text"),
    ("Arabic", lambda n: {"سؤال": f"في المدينة {n}", "جواب": f"أين تقع {n}؟"}, "swapped"),
    ("right answers beside those of a model",
     lambda n: {"user_input": q(n), "reference": a(n), "response": f"Hit it {n} times with a bar."}, "right answers"),
    ("an evaluation by RAGAS",
     lambda n: {"question": q(n), "contexts": [a(n), q(n)], "answer": f"Hit it {n} times.", "ground_truths": [a(n)]},
     "right answers"),
    ("answers that were corrected",
     lambda n: {"question": q(n), "model_response": f"Hit it {n} times.", "correct_response": a(n)}, "right answers"),
    ("chats with a number to be found", lambda n: {"messages": [turn("user", q(n))], "target": n}, "checks"),
    ("chats that the assistant begins",
     lambda n: {"messages": [turn("assistant", q(n)), turn("user", a(n))]}, "before the assistant"),
    ("names of people", lambda n: {"Index": n, "Name": f"John H. Smith-{'abcdefgh'[n % 8] * (n + 1)}"}, "plain text"),
)  # fmt: skip


@pytest.mark.parametrize(("name", "make", "said"), DOUBTED, ids=[name for name, *_ in DOUBTED])
def test_values_that_speak_against_the_names_are_asked_about(name: str, make: Make, said: str) -> None:
    shape = shape_of(make)
    assert not shape.sure
    assert said in shape.why


UNDOUBTED: tuple[tuple[str, Make, dict[str, str]], ...] = (
    ("questions to be written about a text",
     lambda n: {"instruction": f"Ask something about part {n}.", "input": a(n), "output": q(n)},
     {"instruction": "instruction", "input": "input", "output": "output"}),
    ("questions to be written by an instruction", lambda n: {"instruction": a(n), "output": q(n)},
     {"instruction": "instruction", "output": "output"}),
    ("questions without a mark", lambda n: {"question": f"how do i repair pump {n}", "answer": q(n)},
     {"question": "question", "answer": "answer"}),
    ("answers that ask back", lambda n: {"question": q(n), "answer": "Which one is it?"},
     {"question": "question", "answer": "answer"}),
    ("a short answer to check by",
     lambda n: {"problem": q(n), "solution": f"{a(n)} Then it holds. So the answer is {n}.", "expected_answer": f"{n}"},
     {"question": "problem", "answer": "solution"}),
    ("where the answer was found",
     lambda n: {"instruction": q(n), "output": a(n), "source": f"Manual/Chapter {n} on pumps.md"},
     {"instruction": "instruction", "output": "output"}),
    ("a chat that the assistant begins",
     lambda n: {"messages": [turn("assistant", "Hello!"), turn("user", q(n)), turn("assistant", a(n))]},
     {"messages": "messages"}),
    ("short posts", lambda n: {"tweet": f"The pump number {n} leaks again"}, {"text": "tweet"}),
)  # fmt: skip


@pytest.mark.parametrize(("name", "make", "columns"), UNDOUBTED, ids=[name for name, *_ in UNDOUBTED])
def test_values_that_agree_with_the_names_are_not(name: str, make: Make, columns: dict[str, str]) -> None:
    shape = shape_of(make)
    assert (shape.sure, dict(shape.columns)) == (True, columns)


def test_a_chat_whose_answer_is_a_letter_in_another_column_is_read() -> None:
    shape = shape_of(lambda n: {"input": [turn("system", "Answer Y or N."), turn("user", q(n))], "ideal": "YN"[n % 2]})
    assert (shape.is_usable, dict(shape.columns)) == (True, {"question": "input", "answer": "ideal"})
