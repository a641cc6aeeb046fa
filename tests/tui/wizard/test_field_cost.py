"""The cost of a field, in words below the form."""

import re

import pytest

from fitune.core.machine.host import Machine
from fitune.tui.wizard.draft import Draft
from fitune.tui.wizard.field_cost import field_cost
from fitune.tui.wizard.fields import all_fields
from fitune.tui.wizard.forecast_text import forecast_draft


@pytest.mark.parametrize(("name", "pace"), [("train.micro_batch", ", [2-9]% faster"), ("lora.r", "")])
def test_a_change_of_the_pace_is_told_from_one_percent_on(this_machine: Machine, name: str, pace: str) -> None:
    draft = Draft(preset="8b-on-12gb", machine=this_machine)
    cost = field_cost(draft, all_fields()[name], forecast_draft(draft))
    assert re.fullmatch(rf"Would cost: \d+: \+[\d.]+ MiB{pace}\.", cost)
