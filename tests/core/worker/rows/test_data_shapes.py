"""Rows of every shape in five templates: the question is shown, the answer is learned to its end."""

from typing import Any

import pytest

from fitune.core.data.canonical import converter
from fitune.core.worker.rows.render import RefusedRow, render
from fitune.core.worker.rows.tokenized import IGNORED
from tests.core.data.shapes.test_recognise import LEARNED, WITH_MORE, Make, a, q, shape_of
from tests.core.worker.chat_models import KINDS, tokenizer

ENDS = {
    "qwen2.5": "<|im_end|>",
    "llama3": "<|eot_id|>",
    "gemma3": "<end_of_turn>",
    "mistral": "</s>",
    "qwen3": "<|im_end|>",
}
"""Template -> the end of an answer in it."""
SHAPES: tuple[tuple[str, Make, tuple[str, str]], ...] = (
    *((name, make, (q(3), a(3))) for name, make in LEARNED),
    *WITH_MORE,
)


def learned(row: dict[str, Any], coder: Any) -> tuple[str, str] | RefusedRow:
    """The whole text of a row, and the trained part of it."""
    (made,) = render([row], coder, "answers")
    if isinstance(made, RefusedRow):
        return made
    ids = made[0].ids
    trained = [token for token, label in zip(ids, made[0].labels, strict=True) if label != IGNORED]
    return coder.decode(ids), coder.decode(trained)


@pytest.mark.parametrize("template", ENDS)
@pytest.mark.parametrize(("name", "make", "taught"), SHAPES, ids=[name for name, *_ in SHAPES])
def test_the_question_is_shown_and_the_answer_learned_to_its_end(
    name: str, make: Make, taught: tuple[str, str], template: str
) -> None:
    shape = shape_of(make)
    (row,) = converter(shape.format, shape.columns)(make(3))
    asked, answer = taught
    found = learned(row, tokenizer(template))
    if "tools" in row:  # a template that knows no tools refuses the row, which is told
        assert isinstance(found, RefusedRow) or '"n": 3' in found[1]
        return
    assert not isinstance(found, RefusedRow), found
    whole, trained = found
    assert asked in whole
    assert asked not in trained or not asked
    end = ENDS[template] if "messages" in row else KINDS[template].eos
    assert trained.rstrip("\n").endswith(
        f"{answer[not asked :]}{end}"
    )  # nothing stands before the first token of a text
