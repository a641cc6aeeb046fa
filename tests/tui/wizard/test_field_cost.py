"""The cost of a field, in words below the form."""

import re

import pytest

from fitune.core.machine.host import Machine
from fitune.tui.wizard.draft import Draft, set_field, shown
from fitune.tui.wizard.field_cost import field_cost
from fitune.tui.wizard.fields import all_fields
from fitune.tui.wizard.forecast_text import forecast_draft


@pytest.mark.parametrize(("name", "pace"), [("train.micro_batch", ", [2-9]% faster"), ("lora.r", "")])
def test_a_change_of_the_pace_is_told_from_one_percent_on(this_machine: Machine, name: str, pace: str) -> None:
    draft = Draft(preset="8b-on-12gb", machine=this_machine)
    cost = field_cost(draft, all_fields()[name], forecast_draft(draft))
    gib = r"<?[\d.]+ GiB"
    assert re.fullmatch(rf"\d+: saves {gib}(, \d+% slower)?; \d+: costs {gib}{pace}\.", cost)


def test_lower_saves_what_going_back_up_costs(this_machine: Machine) -> None:
    draft, field = Draft(preset="8b-on-12gb", machine=this_machine), all_fields()["model.max_seq_length"]
    told = field_cost(draft, field, forecast_draft(draft))
    length = int(shown(draft, field.name))
    half = set_field(draft, field.name, str(length // 2))
    (saves,) = re.findall(rf"{length // 2}: saves ([\d.]+) GiB", told)
    assert float(saves) > 0
    assert field_cost(half, field, forecast_draft(half)).startswith(f"Instead of {length}: saves {saves} GiB")
    assert f"{2 * length}: costs " in told


@pytest.mark.parametrize("name", ["train.seed", "train.warmup_ratio", "run.name", "train.scheduler", "lora.alpha"])
def test_what_costs_nothing_says_nothing(this_machine: Machine, name: str) -> None:
    draft = Draft(preset="8b-on-12gb", machine=this_machine)
    assert field_cost(draft, all_fields()[name], forecast_draft(draft)) == ""
    edited = set_field(draft, name, {"run.name": "trial", "train.scheduler": "constant"}.get(name, "1"))
    assert field_cost(edited, all_fields()[name], forecast_draft(edited)) == ""
