"""How cards are linked, as the driver says it."""

import sys
from types import ModuleType
from typing import Any

import pytest

from fitune.core.machine.gpu import Gpu
from fitune.core.machine.several import NVLINK, READ, Link, check_links, read_links

CARDS = [Gpu(index, f"GPU-{index}", "NVIDIA L40S", pcie_width=16) for index in range(3)]


class NVMLError(Exception):
    pass


def driver(able: dict[tuple[str, str], set[int]], broken: bool = False) -> Any:
    """A pynvml in which these pairs of cards can do these ways; `module.open` counts sessions."""
    module: Any = ModuleType("pynvml")
    module.NVMLError, module.NVML_P2P_STATUS_OK, module.open = NVMLError, 0, 0

    def status(first: str, second: str, way: int) -> int:
        if broken:
            raise NVMLError("not supported")
        return 0 if way in able.get((first, second), set()) else 5

    def count(by: int) -> None:
        module.open += by

    module.nvmlInit, module.nvmlShutdown = lambda: count(1), lambda: count(-1)
    module.nvmlDeviceGetHandleByUUID = lambda uuid: uuid
    module.nvmlDeviceGetP2PStatus = status
    return module


def test_each_pair_is_linked_by_the_fastest_way_that_the_driver_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    module = driver({("GPU-0", "GPU-1"): {READ, NVLINK}, ("GPU-0", "GPU-2"): {READ}})
    monkeypatch.setitem(sys.modules, "pynvml", module)
    links = read_links(CARDS)
    assert links == (Link(0, 1, "NVLink"), Link(0, 2, "PCIe"), Link(1, 2, "host RAM"))
    assert module.open == 0
    check = check_links(CARDS, links)
    assert check.status == "warn"
    assert check.text == "3 cards; linked: 1 pair by NVLink, 1 pair by PCIe, 1 pair by host RAM"
    assert "run.shard = false" in check.fix


def test_a_driver_that_does_not_say_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    module = driver({}, broken=True)
    monkeypatch.setitem(sys.modules, "pynvml", module)
    assert read_links(CARDS) == ()
    assert module.open == 0
    check = check_links(CARDS, ())
    assert (check.status, check.text) == ("ok", "3 cards; linked: not known")


def test_few_lanes_are_told_where_there_is_no_nvlink() -> None:
    narrow = [CARDS[0], Gpu(1, "GPU-1", "NVIDIA L40S", pcie_width=4)]
    check = check_links(narrow, [Link(0, 1, "PCIe")])
    assert check.status == "warn"
    assert "lanes: card 1" in check.text
    assert check_links(narrow, [Link(0, 1, "NVLink")]).status == "ok"
