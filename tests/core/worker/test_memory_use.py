"""The worker's own memory: what it grew by where it is alone on the card, what the driver books where it is not."""

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from fitune.core.units import GIB
from fitune.core.worker.memory_use import MemoryMeter


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A card of which a test says who is on it and how much is used."""
    state = SimpleNamespace(used=GIB, processes=[])
    monkeypatch.setattr(os, "getpid", lambda: 7)
    for name, answer in (
        ("nvmlInit", lambda: None),
        ("nvmlDeviceGetHandleByUUID", lambda uuid: uuid),
        ("nvmlDeviceGetMemoryInfo", lambda handle: SimpleNamespace(used=state.used)),
        ("nvmlDeviceGetComputeRunningProcesses", lambda handle: state.processes),
    ):
        monkeypatch.setattr(pynvml, name, answer)
    return state


def process(pid: int, used: int | None) -> Any:
    return SimpleNamespace(pid=pid, usedGpuMemory=used)


def test_alone_it_is_all_that_came_on_top(card: Any) -> None:
    read = MemoryMeter("GPU-1", None)
    card.used, card.processes = 6 * GIB, [process(7, 4 * GIB)]
    assert read._device() == 5 * GIB
    assert not read.shared


def test_among_others_it_is_what_the_driver_books_and_says_nothing_to_learn_from(card: Any) -> None:
    read = MemoryMeter("GPU-1", None)
    card.used, card.processes = 20 * GIB, [process(7, 4 * GIB), process(8, 12 * GIB)]
    assert read._device() == 4 * GIB
    card.processes = [process(7, 4 * GIB)]
    read._device()
    assert read.shared, "once shared, the whole run was"


def test_others_that_left_since_the_start_take_nothing_off(card: Any) -> None:
    card.used = 20 * GIB
    read = MemoryMeter("GPU-1", None)
    card.used, card.processes = 6 * GIB, [process(7, 4 * GIB)]
    assert read._device() == 4 * GIB
    assert read.shared, "what came on top is not known"


def test_a_board_that_tells_no_memory_is_no_obstacle(card: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def untold(handle: Any) -> Any:
        raise pynvml.NVMLError_NotSupported()

    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", untold)
    assert MemoryMeter("GPU-1", None)._device() is None


HELD_MIB = """
import psutil
from fitune.core.worker.memory_use import return_freed_blocks
return_freed_blocks({states_bytes})
def blocks(shorter):
    return [bytearray((8 << 20) - shorter) for _ in range(20)]
def held():
    return psutil.Process().memory_info().rss >> 20
del (first := [blocks(0)])[0]  # from here on glibc takes such blocks from its heap
before, kept = held(), blocks(4096)
last = kept.pop()
del kept
print(held() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's setting")
@pytest.mark.parametrize(("states_bytes", "is_returned"), [((2 << 20) - 1, False), (2 << 20, True)])
def test_large_blocks_go_back_to_the_system_when_they_are_freed(states_bytes: int, is_returned: bool) -> None:
    command = [sys.executable, "-c", HELD_MIB.format(states_bytes=states_bytes)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert (int(told) < 40) is is_returned, "one of twenty blocks is still in use"
