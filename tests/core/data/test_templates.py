"""The example rows that fitune writes are read by it, and teach what they say."""

from pathlib import Path

import pytest

from fitune.core.data.dataset import inspect
from fitune.core.data.templates import templates
from fitune.core.recipe import Data
from fitune.tui.cli import DATA_TEMPLATES


def test_the_command_line_offers_each() -> None:
    assert set(DATA_TEMPLATES) == set(templates())


@pytest.mark.parametrize("name", sorted(templates().keys() - {"preference"}))
def test_a_template_is_read_without_any_setting(name: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(templates()[name].rows)
    report = inspect(Data(source=str(path)))
    assert (report.sure, report.rows, report.can_train) == (True, len(templates()[name].rows.splitlines()), True)
    assert [finding.kind for finding in report.problems] == ["few"]


def test_the_template_of_preference_is_recognised_as_that(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(templates()["preference"].rows)
    assert inspect(Data(source=str(path))).format == "preference"
