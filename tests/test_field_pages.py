"""The pages of fields are fresh and complete."""

import re
from pathlib import Path

import pytest

from docs import field_pages
from docs.field_tables import table

ROOT = Path(__file__).parents[1]
RUN_FILE = re.compile(r"""run\.path / f?"([^"]+)"|self\.path / "([^"]+)\"""")
PLACEHOLDERS = {"handoff-{target}": "handoff-TARGET", "{run.name}-adapter.zip": "NAME-adapter.zip"}
NOT_ALONE = {"{job}.json", "adapter.part", "gguf.part"}
"""Names of a kind that the page describes as a whole."""


@pytest.mark.parametrize("name", field_pages.pages())
def test_a_page_of_fields_is_fresh(name: str) -> None:
    written = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert written == field_pages.pages()[name], f"{name} is stale: uv run python -m docs.field_pages"


def test_every_file_that_the_code_puts_into_a_run_is_listed() -> None:
    sources = "".join(path.read_text() for top in ("core", "tui") for path in (ROOT / top).glob("**/*.py"))
    names = {first or second for first, second in RUN_FILE.findall(sources)} - NOT_ALONE
    page = field_pages.files()
    assert len(names) > 15
    assert sorted(name for name in names if f"`{PLACEHOLDERS.get(name, name)}" not in page) == []


@pytest.mark.parametrize(
    "ref", [*field_pages.EVENT_TYPES, *field_pages.SMALL_FILES.values(), "core/runs/info.py:RunInfo"]
)
def test_every_field_of_a_file_says_what_it_is(ref: str) -> None:
    assert [field.name for field in table(ref).fields if not field.text] == []
