"""The verdict: of the card's memory, host RAM and disk together; what is sure, and what may do with luck."""

from dataclasses import replace
from pathlib import Path

import pytest

from fitune.core.forecast.forecast import RowLengths, forecast, host_ram_bytes
from fitune.core.forecast.site import Site
from fitune.core.memory.budget import RUNTIME_CPU_BYTES, Card
from fitune.core.units import GIB
from tests.core.memory.test_budget import LLAMA_8B, recipe
from tests.core.tokens.token_rows import prepared

ROOMY = Card(24 * GIB, 23 * GIB)
AWAY = recipe(train__offload_layers=20)
PINNED = forecast(LLAMA_8B, AWAY, Site(ROOMY)).budget.host_bytes
DISK = forecast(LLAMA_8B, AWAY, Site(ROOMY)).budget


def test_what_is_not_known_limits_nothing() -> None:
    found = forecast(LLAMA_8B, AWAY, Site(ROOMY))
    assert (found.verdict, found.shortages) == ("fits", ())


@pytest.mark.parametrize(
    ("ram_bytes", "verdict"),
    [
        (host_ram_bytes(PINNED), "fits"),
        (host_ram_bytes(PINNED) - 1, "tight"),
        (PINNED + RUNTIME_CPU_BYTES, "tight"),
        (PINNED + RUNTIME_CPU_BYTES - 1, "over"),
    ],
)
def test_pinned_host_ram_is_part_of_the_verdict(ram_bytes: int, verdict: str) -> None:
    found = forecast(LLAMA_8B, AWAY, Site(ROOMY, ram_bytes=ram_bytes))
    assert found.verdict == verdict
    assert [each.of for each in found.shortages] == ["host RAM"] * (verdict != "fits")
    assert found.budget.verdict == "fits", "that of the card alone"
    assert (found.memory_shortage is None) is (verdict == "fits")


@pytest.mark.parametrize(
    ("disk_bytes", "verdict"),
    [
        (DISK.disk_bytes, "fits"),
        (DISK.disk_bytes - 1, "tight"),  # the model may be in the Hub's cache already
        (DISK.disk_bytes - DISK.download_bytes, "tight"),
        (DISK.disk_bytes - DISK.download_bytes - 1, "over"),
    ],
)
def test_the_disk_is_part_of_the_verdict_and_no_matter_of_plans(disk_bytes: int, verdict: str) -> None:
    found = forecast(LLAMA_8B, AWAY, Site(ROOMY, disk_bytes=disk_bytes))
    assert found.verdict == verdict
    assert [each.of for each in found.shortages] == ["disk"] * (verdict != "fits")
    assert found.memory_shortage is None
    assert all(("with the download" in each.sentence) is not each.is_sure for each in found.shortages)


def test_a_model_in_a_folder_is_not_downloaded(tmp_path: Path) -> None:
    here = AWAY.model_copy(update={"model": AWAY.model.model_copy(update={"id": str(tmp_path)})})
    found = forecast(LLAMA_8B, here, Site(ROOMY, disk_bytes=DISK.disk_bytes - DISK.download_bytes))
    assert found.verdict == "fits"


def test_several_things_that_are_short_are_all_told_the_memory_first() -> None:
    found = forecast(LLAMA_8B, AWAY, Site(Card(4 * GIB, 2 * GIB), "NVIDIA T400", GIB, GIB))
    assert [each.of for each in found.shortages] == ["memory on the card", "host RAM", "disk"]
    assert found.shortages[0].sentence.endswith("and NVIDIA T400 has 2.0 GiB free.")
    assert found.verdict == "over"


def test_lengths_that_were_measured_count_more_than_rows() -> None:
    rows = prepared([(600, [(0, 600)])] * 50)
    full, known, measured = (
        forecast(LLAMA_8B, recipe(train__backend="unsloth"), Site(ROOMY), *lengths)
        for lengths in ((), (rows,), (rows, RowLengths(100, 100.0)))
    )
    assert full.budget.total_bytes > known.budget.total_bytes > measured.budget.total_bytes
    assert full.work is None
    assert known.work == measured.work


def test_free_memory_that_is_not_known_may_do() -> None:
    small = recipe(train__backend="trl", train__checkpointing="on", model__quant="bf16", train__optimizer="adamw_torch")
    found = forecast(LLAMA_8B, small, Site())
    assert found.verdict == "tight"
    assert found.shortages[0].sentence == "It is not known how much memory is free."
    assert forecast(LLAMA_8B, small, replace(found.site, ram_bytes=200 * GIB)).verdict == "fits"
