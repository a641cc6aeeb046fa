"""The forecast of a draft: corrected by history, and the plan that `F` would apply."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from fitune.core.forecast import history
from fitune.core.forecast.forecast import Shortage
from fitune.core.forecast.pace import Pace
from fitune.core.forecast.plans.ranking import rank
from fitune.core.machine.host import Machine
from fitune.core.memory.budget import Card
from fitune.core.memory.shapes import load
from fitune.core.recipe import changed, presets
from fitune.core.recipe.load import parse
from fitune.core.tokens.lengths import TokenStats
from fitune.core.units import GIB
from fitune.tui.wizard.draft import Draft, recipe, set_field, with_prepared, without_settings
from fitune.tui.wizard.fields import all_fields
from fitune.tui.wizard.forecast_text import (
    DraftForecast,
    correction,
    fitted,
    forecast_draft,
    ways_out,
    with_remedy,
)
from fitune.tui.wizard.memory.bar import grouped
from fitune.tui.wizard.options import kept_changes, preset_choices
from fitune.tui.wizard.review_text import lines
from tests.core.forecast.measurements import measurement, on
from tests.tui.wizard.wizard_kit import CARD, VERSIONS, rendered

INT8 = {"model.quant": "int8", "train.backend": "trl", "train.checkpointing": "on"}
HEAVY = {"train.micro_batch": "8", "train.grad_accum": "2", "model.max_seq_length": "8192"}


@pytest.fixture
def draft(this_machine: Machine) -> Draft:
    """An 8B on the 12 GB card of these tests."""
    return Draft(preset="8b-on-12gb", machine=this_machine)


def teach(home: Path, predicted_bytes: int, ratio: float) -> None:
    home.mkdir(exist_ok=True)
    stack = history.stack_of(VERSIONS)
    run = measurement(place_bytes=CARD.total_bytes, stack=stack, predicted_bytes=predicted_bytes,
                 peak_bytes=round(predicted_bytes * ratio))  # fmt: skip
    history.append(home, run)


def test_what_runs_taught_changes_the_outlook_and_says_so(draft: Draft, home: Path) -> None:
    before = forecast_draft(draft)
    assert before.budget is not None
    assert correction(before) == ""
    teach(home, before.budget.total_bytes, 1.1)
    after = forecast_draft(draft)
    assert after.budget is not None
    assert after.budget.total_bytes == pytest.approx(1.1 * before.budget.total_bytes, rel=1e-6)
    assert correction(after) == "corrected by +10.0% from 1 run on this card"
    memory = next(line.text for line in lines(set_field(draft, "data.source", "rows.jsonl")) if line.label == "Memory")
    assert memory.endswith("It is corrected by +10.0% from 1 run on this card.")


def test_a_run_that_keeps_more_in_host_ram_than_is_free_is_no_plain_fit(draft: Draft) -> None:
    """The card has room; the machine would end the training when it pins the layers."""
    away = set_field(set_field(draft, "train.offload_layers", "20"), "model.max_seq_length", "1024")
    assert draft.machine
    poor = forecast_draft(replace(away, machine=replace(draft.machine, ram_available_bytes=3 * GIB)))
    rich = forecast_draft(replace(away, machine=replace(draft.machine, ram_available_bytes=64 * GIB)))
    assert (rich.verdict, poor.verdict) == ("fits", "over")
    assert re.fullmatch(r"It fits: .* GiB to spare\. For its host RAM \d\.\d GiB should be free, and 3\.0 GiB are\.",
                        poor.said)  # fmt: skip
    assert poor.short == "too little host RAM"
    assert poor.known is not None
    for way in ways_out(poor):
        better = with_remedy(away, way)
        after = forecast_draft(better).budget
        assert after is not None
        assert poor.known.budget.host_bytes - after.host_bytes == way.saves_bytes > 0
        assert after.verdict == "fits", "what saves host RAM leaves the card its room"


def test_a_planned_card_learns_nothing_from_this_one(draft: Draft, home: Path) -> None:
    planned = replace(draft, card_gib=12.0)
    before = forecast_draft(planned)
    assert before.budget is not None
    teach(home, before.budget.total_bytes, 1.1)
    assert forecast_draft(planned) == before


def test_remedies_save_what_the_corrected_budget_says(draft: Draft, home: Path) -> None:
    heavy = replace(draft, edits=HEAVY)
    before = forecast_draft(heavy)
    assert before.budget is not None
    teach(home, before.budget.total_bytes, 1.1)
    plain, taught = (ways[0].saves_bytes for ways in (ways_out(before), ways_out(forecast_draft(heavy))))
    assert taught == pytest.approx(1.1 * plain, rel=1e-3)


def test_rows_in_tokens_make_budget_and_pace_those_of_their_true_lengths(draft: Draft, home: Path) -> None:
    draft = set_field(draft, "data.source", "rows.jsonl")
    full = forecast_draft(draft)
    run = rendered(recipe(draft), home / "prepared")
    known = with_prepared(draft, TokenStats.read(run.path))
    short = forecast_draft(known)
    assert full.work is None
    assert short.work is not None
    assert full.budget is not None
    assert short.budget is not None
    assert short.work.longest < 20
    assert short.budget.total_bytes < full.budget.total_bytes
    assert short.known is not None
    assert short.known.decided.data.packing is False
    assert recipe(known).data.packing == "auto"
    packed = forecast_draft(set_field(known, "data.packing", "yes")).budget  # then rows are of full length again
    assert packed is not None
    assert packed.total_bytes == full.budget.total_bytes
    hybrid = set_field(set_field(known, "model.id", "Qwen/Qwen3.5-9B"), "data.packing", "yes")
    assert [line for line in lines(hybrid) if line.label == "Adapted" and "rows are not packed" in line.text]
    heavy = forecast_draft(replace(known, edits={**known.edits, **HEAVY}))
    assert heavy.verdict == "fits"
    assert ways_out(heavy) == []


def test_presets_are_rated_as_they_are_and_changes_that_stay_are_named(draft: Draft) -> None:
    edited = replace(draft, edits=HEAVY)
    assert {each.preset.id: each.forecast for each in preset_choices(edited)}["8b-on-12gb"] == forecast_draft(draft)
    assert forecast_draft(edited) != forecast_draft(draft)
    said = kept_changes(edited)
    assert all(all_fields()[name].label in said and text in said for name, text in HEAVY.items())
    assert kept_changes(without_settings(edited)) == ""
    assert forecast_draft(without_settings(edited)) == forecast_draft(draft)


def test_fitting_applies_the_best_plan_as_edits(draft: Draft) -> None:
    heavy = replace(draft, edits=HEAVY)
    forecast = forecast_draft(heavy)
    assert forecast.verdict == "over"
    better, said = fitted(heavy, forecast)
    assert forecast_draft(better).verdict == "fits"
    rows = [each.train.micro_batch * each.train.grad_accum for each in (recipe(heavy), recipe(better))]
    assert rows == [16, 16]
    assert recipe(better).model == recipe(heavy).model
    train = recipe(better).train
    assert f"Rows at once {train.micro_batch}, Sum up batches {train.grad_accum}" in said
    assert ": The simplest of the fastest plans that fit" in said
    again, said = fitted(better, forecast_draft(better))
    assert again == better
    assert "as it is" in said


def test_fitting_what_fits_nowhere_changes_nothing_and_says_so(draft: Draft) -> None:
    lost = replace(draft, edits={**HEAVY, "run.vram_limit_gib": "1"})
    same, said = fitted(lost, forecast_draft(lost))
    assert same == lost
    assert said.startswith("Nothing fits")


def test_fitting_a_model_of_unknown_size_changes_nothing(draft: Draft) -> None:
    unknown = set_field(draft, "model.id", "owner/unknown")
    same, said = fitted(unknown, forecast_draft(unknown))
    assert same == unknown
    assert "not known" in said


def test_a_plan_can_take_back_layers_that_were_kept_in_host_ram(draft: Draft) -> None:
    roomy = replace(draft, card_gib=80.0, edits={"train.offload_layers": "30", "train.micro_batch": "1"})
    better, said = fitted(roomy, forecast_draft(roomy))
    assert recipe(better).train.offload_layers is None
    assert "Offload layers none" in said


@pytest.mark.parametrize("settings", [{"train.checkpointing": "off"}, INT8])
def test_what_the_rows_take_is_not_called_overhead(draft: Draft, settings: dict[str, str]) -> None:
    found = forecast_draft(replace(draft, card_gib=80.0, edits=settings)).budget
    assert found is not None
    standing = {"CUDA context", "workspace", "allocator slack", "dequantization scratch"}
    assert dict(grouped(found.parts))["overhead"] == sum(part.bytes for part in found.parts if part.name in standing)


def test_a_card_that_hides_its_size_is_said_to(draft: Draft, this_machine: Machine) -> None:
    hidden = replace(CARD, total_bytes=None, free_bytes=None)
    forecast = forecast_draft(replace(draft, machine=replace(this_machine, gpus=(hidden,))))
    assert forecast.budget is None
    assert forecast.said == f"{CARD.name} doesn't tell how much memory it has."


def test_where_unsloth_would_refuse_a_card_that_is_large_enough_it_says_so() -> None:
    asked = parse({"model": {"id": "x"}, "data": {"source": "x"},
                   "train": {"offload_layers": "auto", "backend": "unsloth"}}, "test")  # fmt: skip
    found = on(load("Qwen/Qwen3-8B"), asked, Card(8 * GIB, 3 * GIB))
    assert found.budget.refused
    roomy, tight = (
        DraftForecast(
            "a card", replace(found, budget=replace(found.budget, free_bytes=found.budget.total_bytes + more))
        )
        for more in (GIB, -GIB)
    )
    assert (roomy.verdict, roomy.short) == ("over", "auto finds no room")
    assert roomy.said.endswith("Give train.offload_layers a number.")
    assert tight.short == "1.0 GiB short"


def test_presets_stand_by_verdict_host_ram_size_and_pace() -> None:
    card = Card(12 * GIB, 11 * GIB)
    wanted = changed(presets.find("8b-on-12gb").recipe("rows"), {"train.backend": "unsloth"})
    now = on(load("Qwen/Qwen3-8B"), wanted, card)
    assert now.verdict == "fits"
    away = replace(now, budget=replace(now.budget, offloaded_layers=20))
    later = replace(now, shape=replace(now.shape, model_type="qwen3_5"))
    short = replace(now, shortages=(Shortage("host RAM", 1, False, ""),))
    small, right, large = (presets.find(name) for name in ("1b-on-6gb", "8b-on-12gb", "8b-on-16gb"))
    quick, heavy, slow, unknown = (Pace(each, each, each, flops, "") for each, flops in
                                   ((1000.0, 1.0), (1000.0, 2.0), (10.0, 1.0), (None, 3.0)))  # fmt: skip
    cases = [
        (right, now, quick), (right, now, heavy), (right, now, unknown), (right, later, quick), (small, now, quick),
        (right, away, quick), (large, now, quick), (right, now, slow), (small, short, quick),
    ]  # fmt: skip
    order = [rank(preset, replace(found, pace=pace)) for preset, found, pace in cases]
    assert order == sorted(order)
    assert len(set(order)) == len(order)


def test_what_is_wrong_with_a_setting_is_told_behind_its_name(this_machine: Machine) -> None:
    begun = Draft("8b-on-12gb", machine=this_machine)
    for text, said in (("abc", "lora.r: This is not a number."), ("0", "lora.r: 0 is too small.")):
        assert f"fix it to see the memory. {said}" in forecast_draft(set_field(begun, "lora.r", text)).said
