"""The review of answers that were taken up again: it has not been at the rows, so it reads them itself."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fitune.core.data.dataset import inspect
from fitune.core.data.split import eval_fraction, split
from fitune.core.machine.host import Machine
from fitune.core.memory.config_json import shipped_configs
from fitune.core.recipe.load import parse
from fitune.core.tokens.lengths import TokenStats
from fitune.tui.wizard import review_text
from fitune.tui.wizard.draft import Draft, recipe, with_prepared
from fitune.tui.wizard.forecast_text import forecast_draft
from fitune.tui.wizard.review_text import TRACKER_SERVERS, duration_words, lines, network
from tests.tui.wizard.wizard_kit import Wizard, rendered, said, settle, until

At = Callable[..., Wizard]


async def test_check_15_a_review_that_is_taken_up_again_reads_the_rows_itself(at_step: At) -> None:
    app = at_step("review", edits={"data.source": "rows.jsonl"})
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        assert re.search(r"Time +about .*, from .* to .*: .* to start", app.shown())
        assert "rows.jsonl: 40 rows" in app.shown()


@pytest.mark.parametrize(("step", "told"), [("data", "to spare"), ("review", "Plan ")])
async def test_the_size_of_a_model_on_disk_is_asked_for_where_its_step_was_left_early(
    at_step: At, tmp_path: Path, step: str, told: str
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(shipped_configs()["qwen/qwen3-8b"]))
    app = at_step(step, edits={"data.source": "rows.jsonl", "model.id": str(folder)})
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await until(app, told)
        assert "is not known yet" not in app.shown()


async def test_check_35_its_keys_start_and_scroll(at_step: At) -> None:
    changed = {"lora.alpha": "32", "train.lr": "1e-4", "train.epochs": "2", "deliver.push_repo": "me/it"}
    app = at_step("review", edits={"data.source": "rows.jsonl", "train.report_to": "wandb", **changed})
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert app.shown().splitlines()[-1].split()[:2] == ["enter", "Start"]
        assert "Strength (lora.alpha) = 32" not in app.shown()
        await pilot.press(*["down"] * 9)
        await until(app, "Strength (lora.alpha) = 32")
        await pilot.press(*["up"] * 9)
        await until(app, "Teach ")


def test_a_time_is_told_whole_or_left_to_the_watch_screen(this_machine: Machine, home: Path) -> None:
    draft = Draft(preset="8b-on-12gb", machine=this_machine, edits={"data.source": "rows.jsonl"})
    known = with_prepared(draft, TokenStats.read(rendered(recipe(draft), home / "rows").path))
    forecast = forecast_draft(known)
    assert forecast.known is not None
    paces = [replace(forecast.known.pace, tokens_per_s=speed) for speed in (None, 1000.0)]
    paces[1] = replace(paces[1], low_tokens_per_s=500.0, high_tokens_per_s=2000.0)
    silent, told = (duration_words(known, replace(forecast, known=replace(forecast.known, pace=it))) for it in paces)
    assert silent == "Unknown here; the watch screen tells it."
    assert re.fullmatch(r"about .*, from .* to .*: .* to start, .* of steps, .* of checks and saving", told)
    assert duration_words(draft, replace(forecast, known=None)) == "Unknown until the rows are read."


@pytest.mark.parametrize(
    ("rows", "edits", "said"),
    [
        (1, {}, "1 row (question_answer), none held out to check"),
        (9, {}, "9 rows (question_answer), none held out to check"),
        (11, {}, "11 rows (question_answer), none held out to check"),
        (11, {"data.eval_fraction": "0.1"}, "11 rows (question_answer), 10% held out to check"),
        (60, {}, "60 rows (question_answer), 17% held out to check"),
        (50_000, {}, "50,000 rows (question_answer), about 256 held out to check"),
        (10_000, {"data.eval_fraction": "0"}, "10,000 rows (question_answer), none held out to check"),
    ],
)
def test_what_is_held_out_is_said_as_it_will_be_done(
    this_machine: Machine, rows: int, edits: dict[str, str], said: str
) -> None:
    draft = Draft(preset="8b-on-12gb", machine=this_machine, edits={"data.source": "rows.jsonl", **edits})
    report = replace(inspect(recipe(draft).data), rows=rows)
    told = {line.label: line.text for line in lines(replace(draft, report=report))}
    assert told["From"] == f"rows.jsonl: {said}"
    _, held = split([{"text": str(n)} for n in range(rows)], eval_fraction(recipe(draft), rows), 0)
    assert ("none held out" in said) is (not held)


@pytest.mark.parametrize("rows", ["{broken\n", '{"chosen": "a", "rejected": "b"}\n' * 3, ""])
async def test_a_review_whose_rows_have_gone_bad_starts_nothing(at_step: At, rows: str) -> None:
    Path("rows.jsonl").write_text(rows)
    app = at_step("review", edits={"data.source": "rows.jsonl"})
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert said(pilot, "#status").startswith("ERROR")
        await pilot.press("enter")
        await settle(pilot)
    assert app.begun is None


@pytest.mark.parametrize(
    ("tracker", "server", "away"),
    [("none", "", False), ("tensorboard", "", False), ("wandb", "", True), ("mlflow", "", False),
     ("mlflow", "MLFLOW_TRACKING_URI", True), ("trackio", "", False), ("trackio", "TRACKIO_SPACE_ID", True)],
)  # fmt: skip
def test_numbers_go_to_a_tracker_only_if_it_has_a_server(
    tracker: str, server: str, away: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for each in TRACKER_SERVERS.values():
        monkeypatch.delenv(each, raising=False)
    if server:
        monkeypatch.setenv(server, "https://somewhere")
    tree = {"model": {"id": "a/b"}, "data": {"source": "rows.jsonl"}, "train": {"report_to": tracker}}
    assert (f"Numbers go to {tracker}." in network(parse(tree, "recipe"))) is away


def test_a_machine_with_several_cards_says_how_to_take_all(this_machine: Machine, home: Path) -> None:
    cards = tuple(replace(this_machine.gpus[0], index=n, uuid=f"GPU-{n}") for n in range(2))
    box = replace(this_machine, gpus=cards)
    draft = Draft(preset="8b-on-12gb", machine=box, edits={"data.source": "rows.jsonl"})

    def told(machine: Machine, edits: dict[str, str]) -> dict[str, str]:
        changed = replace(draft, machine=machine, edits={**draft.edits, **edits})
        return {line.label: line.text for line in lines(changed)}

    name = cards[0].name
    assert told(box, {})["Cards"].startswith("2 are here")
    assert told(box, {})["On"].startswith(f"{name}. ")
    both = told(box, {"run.gpus": "2"})
    assert both["On"].startswith(f"{name} and {name}. ")
    assert "Cards" not in both
    assert "Cards" not in told(this_machine, {})


@pytest.mark.parametrize(("card_gib", "is_told"), [(None, True), (24.0, False)])
def test_another_training_on_the_same_card_is_told_before_the_start(
    this_machine: Machine, home: Path, monkeypatch: pytest.MonkeyPatch, card_gib: float | None, is_told: bool
) -> None:
    asked: list[tuple[list[str], Path]] = []

    def beside(cards: list[str], base: Path) -> str:
        asked.append((cards, base))
        return "first trains on NVIDIA L4, too."

    monkeypatch.setattr(review_text, "trainings_beside", beside)
    edits = {"data.source": "rows.jsonl"}
    told = lines(Draft(preset="8b-on-12gb", machine=this_machine, edits=edits, card_gib=card_gib))
    beside_lines = [line.text for line in told if line.label == "Beside"]
    assert beside_lines == ["WARN first trains on NVIDIA L4, too."] * is_told
    assert asked == [([gpu.uuid for gpu in this_machine.gpus], home)] * is_told
