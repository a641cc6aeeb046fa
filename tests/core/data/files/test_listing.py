"""The files of a folder that hold rows, and those beside them that only look so."""

import json
from pathlib import Path

from fitune.core.data.dataset import inspect
from fitune.core.recipe.data_fields import Data

ROWS = "question,answer\n" + "".join(f"What is {n} + 1?,{n + 1}\n" for n in range(40))


def test_files_of_a_project_and_locks_of_office_hold_no_rows(tmp_path: Path) -> None:
    (tmp_path / "qa.csv").write_text(ROWS)
    (tmp_path / "package.json").write_text(json.dumps({"name": "x", "version": "1.0.0"}))
    (tmp_path / "~$qa.xlsx").write_bytes(b"\x05user")
    found = inspect(Data(source=str(tmp_path)))
    assert (found.files, found.rows, found.can_train) == (("qa.csv",), 40, True)


def test_metadata_is_the_table_of_a_folder_of_images_and_else_speaks_about_one(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text(ROWS)
    assert inspect(Data(source=str(tmp_path))).files == ("metadata.csv",)
    (tmp_path / "qa.csv").write_text(ROWS)
    assert inspect(Data(source=str(tmp_path))).files == ("qa.csv",)
