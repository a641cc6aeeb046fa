"""Which cards an entry of the queue gets, and which card counts as idle."""

import time
from dataclasses import replace
from typing import Any

import pytest

from fitune.core import jobs
from fitune.core.errors import UserError
from fitune.core.machine import Gpu, Machine
from fitune.core.queue.cards import PROCESSOR, Idleness, choose, is_busy, on_cards, when_free
from fitune.core.recipe import Recipe, parse
from fitune.core.units import GIB
from tests.core.jobs.test_training import CARD, Start

pytestmark = pytest.mark.usefixtures("minute_of_steps")


def card(number: int, free_gib: float = 79.0) -> Gpu:
    return Gpu(number, f"GPU-{number}", "NVIDIA H100", 80 * GIB, round(free_gib * GIB), compute_capability=(9, 0))


TWO = Machine(gpus=(card(0, 78.0), card(1)), gpu_state="ok")


def recipe(**run: Any) -> Recipe:
    return parse({"model": {"id": "a/b"}, "data": {"source": "c/d"}, "run": run}, "test")


def test_each_of_two_entries_gets_a_card_and_the_third_waits() -> None:
    taken = set[str]()
    first = choose(recipe(), TWO, taken)
    assert first == ("GPU-1",), "the one with most free memory"
    taken.update(first)
    assert choose(recipe(), TWO, taken) == ("GPU-0",)
    taken.add("GPU-0")
    assert choose(recipe(), TWO, taken) is None
    assert on_cards(recipe(), ("GPU-0",), TWO).run.gpu == "GPU-0"
    assert on_cards(recipe(gpus=2), ("GPU-0", "GPU-1"), TWO).run.gpus == ("GPU-0", "GPU-1")
    one = replace(TWO, gpus=TWO.gpus[:1])
    assert on_cards(recipe(), ("GPU-0",), one) == recipe()


def test_who_waits_for_a_named_card_leaves_the_others_to_those_behind() -> None:
    taken = {"GPU-0"}
    assert choose(recipe(gpu="0"), TWO, taken) is None, "a 0 is in the name of the other one, too"
    assert choose(recipe(), TWO, taken) == ("GPU-1",)


@pytest.mark.parametrize("wanted", [2, "all"])
def test_who_waits_for_both_cards_is_not_overtaken(wanted: object) -> None:
    taken = {"GPU-0"}
    assert choose(recipe(gpus=wanted), TWO, taken) is None
    assert choose(recipe(), TWO, taken) is None


def test_a_card_that_is_not_there_is_told() -> None:
    with pytest.raises(UserError, match="is no card of this machine"):
        choose(recipe(gpu="7"), TWO, set())


def test_a_processor_holds_one_training() -> None:
    assert choose(recipe(), Machine(), set()) == (PROCESSOR,)
    assert choose(recipe(), Machine(), {PROCESSOR}) is None


@pytest.mark.parametrize(
    ("gpu", "busy"),
    [
        (card(0), False),
        (replace(card(0), utilisation_percent=4), False),
        (replace(card(0), utilisation_percent=90), True),
        (card(0, free_gib=60.0), True),
        (replace(card(0), free_bytes=None, total_bytes=None), False),
    ],
)
def test_a_card_is_busy_while_others_compute_or_hold_memory(gpu: Gpu, busy: bool) -> None:
    assert is_busy(gpu) == busy


def test_a_card_is_idle_after_a_minute_without_others(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    looks, busy = Idleness(), replace(TWO, gpus=(card(0), card(1, free_gib=10.0)))
    looks.look(busy, ())
    now += 61
    looks.look(busy, ())
    assert looks.all_idle(["GPU-0"])
    assert not looks.all_idle(["GPU-1"])
    assert not looks.all_idle(["GPU-0", "GPU-1"])
    looks.look(replace(TWO, gpus=(card(0, free_gib=10.0), card(1))), {"GPU-0"})
    assert looks.all_idle(["GPU-0"]), "what a training of ours takes is no sign of others"


def test_the_budget_of_what_waits_counts_on_the_card_that_a_training_will_leave(
    make: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make("first", gpu={**CARD, "uuid": "GPU-0"})
    monkeypatch.setattr(jobs, "at_work", lambda base: [(run, run.info().cards)])
    full = Machine(gpus=(card(0, 5.0), card(1, 6.0)), ram_available_bytes=8 * GIB)
    assert [gpu.free_bytes for gpu in when_free(full, all_of_it=False).gpus] == [76 * GIB, 6 * GIB]
    assert [gpu.free_bytes for gpu in when_free(full, all_of_it=True).gpus] == [76 * GIB, 76 * GIB]
