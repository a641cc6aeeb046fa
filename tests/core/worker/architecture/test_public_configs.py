"""config.json files as public models of 2023 to 2026 have them: quantized in each way, nested, with nulls, by others.

public_configs.json holds the keys that matter of each, with what is known of the model.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from fitune.core.errors import UserError
from fitune.core.memory.shapes import known
from fitune.core.memory.shapes.storage import stored

CASES: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("public_configs.json").read_text())
COUNTED = {name: case for name, case in CASES.items() if "params" in case}


@pytest.mark.train
@pytest.mark.parametrize("name", COUNTED)
def test_parameters_and_storage_are_those_of_the_model(name: str) -> None:
    from fitune.core.worker.architecture.build import build
    from fitune.core.worker.architecture.describe import describe

    case = CASES[name]
    known.refuse_impossible(case["config"], name)
    model = build(case["config"])
    shape = describe(model)
    assert shape.params == case["params"] == sum(weight.numel() for weight in model.parameters())
    assert stored(case["config"], shape, name) == (case["stored_as"], case["kept_16bit"])


@pytest.mark.train
@pytest.mark.parametrize("name", sorted(CASES.keys() - COUNTED.keys()))
def test_what_transformers_can_not_build_is_told_in_a_sentence(name: str, tmp_path: Path) -> None:
    from fitune.core.memory.shapes import load

    (tmp_path / "config.json").write_text(json.dumps(CASES[name]["config"]))
    with pytest.raises(UserError) as caught:
        load(str(tmp_path))
    assert CASES[name]["said"] in f"{caught.value} {caught.value.hint}"


def test_there_are_cases_of_each_way_to_store_weights() -> None:
    kinds = {case["stored_as"] for case in COUNTED.values()}
    assert {"gptq", "awq", "fp8", "compressed-tensors", "mxfp4", "nf4", "int8", "mlx", "torchao", None} <= kinds
    assert len(COUNTED) >= 35
