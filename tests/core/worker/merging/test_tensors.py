"""The files that hold a model's tensors."""

from pathlib import Path

import pytest

from fitune.core.errors import UserError


@pytest.mark.parametrize(
    ("index", "problem"),
    [
        ("", r"index\.json does not say which file holds which weights"),
        ('{"weight_map": {"a": "part-1.safetensors", "b": "part-2.safetensors"}}', "lacks part-2.safetensors"),
    ],
)
def test_a_damaged_index_or_a_missing_file_is_told(tmp_path: Path, index: str, problem: str) -> None:
    from fitune.core.worker.merging.tensors import locate_tensors

    (tmp_path / "part-1.safetensors").touch()
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(UserError, match=problem):
        locate_tensors(tmp_path)
