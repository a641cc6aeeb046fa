"""Settings are found by their label, their key in the recipe, and the words of their help."""

import pytest

from fitune.tui.wizard.fields import form_fields
from fitune.tui.wizard.settings.search import found_fields, matches

ALL = form_fields(folded=False)


@pytest.mark.parametrize(
    ("typed", "first"),
    [
        ("max steps", "train.max_steps"),
        ("MAX_STEPS", "train.max_steps"),
        ("train.max_steps", "train.max_steps"),
        ("strength", "lora.alpha"),
        ("alpha", "lora.alpha"),
        ("memorises", "train.epochs"),
        ("paged lion", "train.optimizer"),
        ("ollama", "deliver.gguf"),
    ],
)
def test_the_setting_that_is_meant_comes_first(typed: str, first: str) -> None:
    assert found_fields(typed, ALL)[0].name == first


def test_no_word_finds_all_and_an_unknown_one_none() -> None:
    assert found_fields(" ", ALL) == ALL
    assert found_fields("zzz", ALL) == ()
    assert matches("b A", "a and B")
    assert not matches("a c", "a and B")
