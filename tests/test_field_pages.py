"""The pages of fields are complete, and each field has a meaning."""

import re
from pathlib import Path

import pytest

from docs import field_pages
from docs.field_tables import find, in_words, table

ROOT = Path(__file__).parents[1]
RUN_FILE = re.compile(r"""run\.path / f?"([^"]+)"|self\.path / "([^"]+)\"""")
PLACEHOLDERS = {"handoff-{target}": "handoff-TARGET", "{run.name}-adapter.zip": "NAME-adapter.zip"}
NOT_ALONE = {"{job}.json", "adapter.part", "gguf.part"}
"""Names of a kind that the page describes as a whole."""


def test_every_file_that_the_code_puts_into_a_run_is_listed() -> None:
    sources = "".join(path.read_text() for top in ("core", "tui") for path in (ROOT / top).glob("**/*.py"))
    names = {first or second for first, second in RUN_FILE.findall(sources)} - NOT_ALONE
    page = field_pages.files()
    assert len(names) > 15
    assert sorted(name for name in names if f"`{PLACEHOLDERS.get(name, name)}" not in page) == []


@pytest.mark.parametrize("name", field_pages.pages())
def test_every_field_has_a_meaning(name: str) -> None:
    rows = [line for line in field_pages.pages()[name].splitlines() if line.startswith("| `")]
    assert len(rows) > 100
    assert [row for row in rows if row.endswith("|  |")] == []


@pytest.mark.parametrize(
    ("name", "near", "values"),
    [("Check", "tui/commands/planning/doctor.py:DoctorDocument", "`ok`"), ("RunDocument", "", "`starting`")],
)
def test_a_type_that_two_files_name_alike_is_the_right_one(name: str, near: str, values: str) -> None:
    ref = find(name, near)
    assert ref
    (status,) = (field.type for field in table(ref).fields if field.name == "status")
    assert in_words(status, ref).startswith(values)
