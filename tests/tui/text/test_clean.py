"""Nothing that a terminal would obey, or Textual would read as markup, comes out of tui.text.clean."""

import json
import re
import sys
from subprocess import run

import pytest

from fitune.tui.text.clean import as_ascii_json, clean, encodable, log_line, safe

OSC_52 = "\x1b]52;c;Y3VybCBldmls\x1b\\"
HARMFUL = [
    OSC_52, "\x1b]0;title\x07", "\x1b[2J", "\x9b2J", "\x7f", "\x08", "\r", "\x0e", "\u202e", "\u2066", "\u200b",
    "\u200d", "\ufeff", "\u2028", "\U000e0041", "\ud800", "\x00", "\xad",
]  # fmt: skip
OBEYED = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\U000e0000-\U000e0fff]"
)


@pytest.mark.parametrize("payload", HARMFUL, ids=ascii)
def test_a_terminal_gets_nothing_to_obey(payload: str) -> None:
    for said in (
        clean(f"a{payload}b"),
        log_line(f"a{payload}b"),
        safe(f"a{payload}b").plain,
    ):
        assert not OBEYED.search(said)
    assert clean(f"a{payload}b") != "ab", "what was there stays visible"


def test_ordinary_text_of_any_language_is_untouched() -> None:
    for text in ("[/INST] {'a': [1, 2]}", "Grüße, 你好, مرحبا, नमस्ते", "x² ≤ 3 — “quoted” 🎉 ❤️", "a b"):
        assert clean(text) == text


@pytest.mark.parametrize(
    "markup", ["[/INST]", "[red]hi[/red]", "[@click=app.quit]x[/]", "[link=https://a]b", "[/", "[1, 2]"]
)
def test_markup_is_text(markup: str) -> None:
    assert safe(markup).plain == markup


def test_long_text_is_cut_and_the_rest_counted() -> None:
    assert clean("x" * 2500) == "x" * 2000 + "… (+500)"


def test_newlines_are_kept_only_when_asked_for() -> None:
    assert clean("a\nb") == "a␊b"
    assert clean("a\nb\tc", keep_newlines=True) == "a\nb    c"


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("  3%|▎ | 3/99\r 50%|█ | 50/99\r100%|██| 99/99", "100%|██| 99/99"),
        (" 50%|█ | 50/99\r", " 50%|█ | 50/99"),
        ("\x1b[31;1merror\x1b[0m: out of memory", "error: out of memory"),
        ("\x1b[2Jgone", "␛[2Jgone"),
        ("\r\r", ""),
    ],
)
def test_a_log_line_is_what_a_terminal_would_have_left(raw: str, shown: str) -> None:
    assert log_line(raw) == shown


def test_what_an_encoding_lacks_becomes_a_question_mark() -> None:
    assert encodable("loss ≤ 2 █", "latin-1") == "loss ? 2 ?"
    assert encodable("grün", "ascii") == "gr?n"
    assert encodable("grün █", "utf-8") == "grün █"


def test_cleaning_needs_no_textual() -> None:
    code = (
        "import sys, fitune.tui.text.format; from fitune.tui.text.clean import clean; clean('x');"
        "print({'textual', 'rich'} & set(sys.modules))"
    )
    assert run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "set()"


@pytest.mark.parametrize("payload", HARMFUL, ids=ascii)
def test_json_reaches_a_terminal_as_plain_ascii_and_is_read_back_as_it_was(payload: str) -> None:
    said = as_ascii_json({f"k{payload}": [f"a{payload}b", 1.5, None]})
    assert re.fullmatch(r"[\x20-\x7e\n]*", said)
    assert json.loads(said) == {f"k{payload}": [f"a{payload}b", 1.5, None]}
