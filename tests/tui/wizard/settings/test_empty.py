"""An empty setting shows the value that will be used, and it is the one that the training takes."""

from dataclasses import replace

from fitune.core.data import dataset
from fitune.core.intervals import steps_between
from fitune.core.machine.host import Machine
from fitune.tui.wizard.draft import Draft, recipe
from fitune.tui.wizard.fields import all_fields
from fitune.tui.wizard.forecast_text import forecast_draft
from fitune.tui.wizard.settings.empty import meanings
from fitune.tui.wizard.settings.groups import ELSEWHERE


def test_every_setting_that_may_be_empty_has_a_meaning(this_machine: Machine) -> None:
    draft = Draft(preset="8b-on-12gb", machine=this_machine)
    empty = {name for name, field in all_fields().items() if field.optional and name not in ELSEWHERE}
    assert empty <= meanings(draft, forecast_draft(draft)).keys()


def test_steps_are_told_once_the_rows_are_known(this_machine: Machine) -> None:
    draft = Draft(preset="8b-on-12gb", machine=this_machine, edits={"data.source": "rows.jsonl", "train.epochs": "50"})
    before = meanings(draft, forecast_draft(draft))
    assert (before["train.max_steps"], before["train.eval_every"]) == ("by epochs", "10 in a run")
    known = replace(draft, report=dataset.inspect(recipe(draft).data))
    after = meanings(known, forecast_draft(known))
    assert after["train.max_steps"] == "250, by epochs"  # 40 rows in steps of 8, 50 times
    assert after["train.save_every"] == f"{steps_between(None, 250)} steps"


def test_a_wrong_setting_leaves_the_meanings_that_hold_anyway(this_machine: Machine) -> None:
    draft = Draft(preset="8b-on-12gb", machine=this_machine, edits={"lora.r": "x"})
    assert meanings(draft, forecast_draft(draft))["run.stop_at"] == "no limit"
