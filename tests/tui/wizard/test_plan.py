"""The fastest plan is proposed once the rows are known, says what it changes, and is undone by one key."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fitune.core.data import Report, dataset
from fitune.core.machine.host import Machine
from fitune.core.tokens.lengths import TokenStats
from fitune.tui.wizard.draft import Draft, recipe, set_field, with_prepared
from fitune.tui.wizard.forecast_text import forecast_draft, long_rows_text, with_plan, without_plan
from fitune.tui.wizard.review_text import lines
from tests.tui.wizard.wizard_kit import Wizard, rendered, settle, until

FASTER = re.compile(r"(times\s+as\s+fast\s+as|%\s+faster\s+than)\s+the\s+recipe\s+as\s+it\s+is")


@pytest.fixture
def draft(this_machine: Machine, home: Path) -> Draft:
    """An 8B on the 12 GB card of these tests, its short rows in tokens."""
    rows = Path("rows.jsonl")
    return drafted(this_machine, home, rows.read_text() * 200)  # in a few steps there is nothing to gain


def drafted(machine: Machine, home: Path, rows: str) -> Draft:
    """An 8B on a machine, these rows in tokens."""
    Path("rows.jsonl").write_text(rows)
    chosen = set_field(Draft(preset="8b-on-12gb", machine=machine), "data.source", "rows.jsonl")
    return with_prepared(chosen, TokenStats.read(rendered(recipe(chosen), home / "rows").path))


def test_the_plan_is_faster_fits_and_keeps_the_rows_of_a_step(draft: Draft) -> None:
    planned = with_plan(draft)
    before, after = recipe(draft).train, recipe(planned).train
    assert after.micro_batch > before.micro_batch
    assert after.micro_batch * after.grad_accum == before.micro_batch * before.grad_accum
    assert forecast_draft(planned).verdict == "fits"
    assert planned.plan is not None
    assert f"Rows at once {after.micro_batch}" in planned.plan.text
    assert FASTER.search(planned.plan.text)
    told = next(line.text for line in lines(planned) if line.label == "Plan")
    assert told == f"{planned.plan.text} u undoes it."


def test_undone_it_is_gone_and_not_proposed_again(draft: Draft) -> None:
    undone = without_plan(with_plan(draft))
    assert undone.edits == draft.edits
    assert with_plan(undone) == undone
    assert all(line.label != "Plan" for line in lines(undone))
    assert without_plan(draft) == draft


def test_nothing_is_proposed_over_the_users_own_words_or_unknown_rows(draft: Draft) -> None:
    own = set_field(draft, "train.micro_batch", "1")
    assert with_plan(own) == own
    unknown = replace(draft, rendered=None)
    assert with_plan(unknown) == unknown
    best = replace(with_plan(draft), plan=None)
    assert with_plan(best) == best, "as fast as any"


def test_longer_rows_are_told_with_the_plan_that_makes_them_fit(this_machine: Machine, home: Path) -> None:
    answer = "Because of the weather. "
    rows = [json.dumps({"question": "Why?", "answer": answer * count}) + "\n" for count in (50, 50, 16_000)]
    draft = drafted(this_machine, home, "".join(rows) * 4)
    texts = [long_rows_text(set_field(draft, "model.max_seq_length", length)) for length in ("64", "36864", "131072")]
    assert texts[0] == "OK It fits with rows of up to 64 tokens."
    assert re.match(r"OK It fits with rows of up to 36,864 tokens and .*: the review will propose that\.", texts[1])
    assert re.match(r"WARN With rows of up to 131,072 tokens: .* won't fit\.", texts[2])
    planned = with_plan(set_field(draft, "model.max_seq_length", "36864"))
    assert forecast_draft(planned).verdict == "fits"
    assert planned.plan is not None


def test_a_second_card_is_proposed_where_it_is_clearly_faster(this_machine: Machine, home: Path) -> None:
    (card,) = this_machine.gpus
    box = replace(this_machine, gpus=(card, replace(card, index=1, uuid="GPU-two")))
    long = json.dumps({"question": "Why?", "answer": "Because of the weather. " * 150}) + "\n"
    draft = drafted(box, home, long * 400)
    planned = with_plan(draft)
    assert recipe(planned).run.gpus == 2
    assert planned.plan is not None
    assert re.search(r"GPUs together 2.*: about 1\.\d times as fast as one card", planned.plan.text)
    assert forecast_draft(planned).verdict == "fits"
    on = next(line.text for line in lines(planned) if line.label == "On")
    assert on.startswith(f"{card.name} and {card.name}")
    assert without_plan(planned).edits == draft.edits
    assert recipe(with_plan(set_field(draft, "run.gpus", "1"))).run.gpus == 1


async def test_the_review_proposes_it_and_u_undoes_it(at_step: Callable[..., Wizard], draft: Draft) -> None:
    app = at_step("review", edits=draft.edits, rendered=draft.rendered, report=report(draft))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(app, FASTER)
        assert recipe(app.step.draft).train.micro_batch > 2
        await pilot.press("u")
        await settle(pilot)
        assert not FASTER.search(" ".join(app.shown().split()))
        assert recipe(app.step.draft) == recipe(draft)


def report(draft: Draft) -> Report:
    return dataset.inspect(recipe(draft).data, 50)
