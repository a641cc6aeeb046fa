"""Cards, with a driver that says what the test wants."""

import dataclasses
import json
import os
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from fitune.core.errors import UserError
from fitune.core.machine import gpu as gpu_module
from fitune.core.machine import gpu_faults
from fitune.core.machine.host import Gpu, detect, pick_gpu, sample
from fitune.core.units import GIB

NOT_SUPPORTED = 3


class NVMLError(Exception):
    def __init__(self, value: int) -> None:
        super().__init__(f"code {value}")
        self.value = value


class NVMLLibraryMismatchError(Exception):
    pass


def fails(code: int) -> Any:
    def call(*_: object) -> Any:
        raise NVMLError(code)

    return call


CARD: dict[str, Any] = {
    "nvmlDeviceGetMigMode": [0, 0],
    "nvmlDeviceGetUUID": "GPU-aaaa",
    "nvmlDeviceGetName": "NVIDIA L4",
    "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=24 * GIB, free=20 * GIB, used=4 * GIB),
    "nvmlDeviceGetCudaComputeCapability": (8, 9),
    "nvmlDeviceGetTemperatureV": 41,
    "nvmlDeviceGetPowerUsage": 30_500,
    "nvmlDeviceGetEnforcedPowerLimit": 72_000,
    "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=7, memory=1),
    "nvmlDeviceGetEccMode": [1, 1],
    "nvmlDeviceGetMaxPcieLinkGeneration": 4,
    "nvmlDeviceGetMaxPcieLinkWidth": 16,
    "nvmlDeviceGetDisplayActive": 0,
    "nvmlDeviceGetComputeRunningProcesses": [],
    "nvmlDeviceGetGraphicsRunningProcesses": [],
}
OPTIONAL = [name for name in CARD if name not in ("nvmlDeviceGetUUID", "nvmlDeviceGetName")]


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A pynvml with these cards: each a dict like CARD, or an NVML error code instead of a card or an answer."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def install(cards: list[Any], **changes: Any) -> Any:
        module: Any = ModuleType("pynvml")
        module.NVMLError, module.NVMLLibraryMismatchError = NVMLError, NVMLLibraryMismatchError
        module.NVML_TEMPERATURE_GPU = 0
        module.sessions = 0

        def count(by: int) -> None:
            module.sessions += by

        def handle(index: int) -> Any:
            return fails(cards[index])() if isinstance(cards[index], int) else cards[index]

        def by_uuid(uuid: str) -> Any:
            found = [card for card in cards if isinstance(card, dict) and card["nvmlDeviceGetUUID"] == uuid]
            return found[0] if found else fails(6)()

        def answer(name: str) -> Any:
            def call(card: dict[str, Any], *_: object) -> Any:
                value = card.get(name, NVMLError(NOT_SUPPORTED))
                if isinstance(value, Exception):
                    raise value
                return value

            return call

        for name in (*CARD, "nvmlDeviceGetTemperature", "nvmlDeviceGetMaxMigDeviceCount"):
            setattr(module, name, answer(name))
        module.nvmlInit = lambda: count(1)
        module.nvmlShutdown = lambda: count(-1)
        module.nvmlDeviceGetCount = lambda: len(cards)
        module.nvmlDeviceGetHandleByIndex = handle
        module.nvmlDeviceGetHandleByUUID = by_uuid
        module.nvmlDeviceGetMigDeviceHandleByIndex = lambda card, place: (
            card["slices"][place] if place < len(card["slices"]) else fails(6)()
        )
        module.nvmlSystemGetDriverVersion = lambda: "580.159"
        module.nvmlSystemGetCudaDriverVersion_v2 = lambda: 13000
        for name, value in changes.items():
            setattr(module, name, value)
        monkeypatch.setitem(sys.modules, "pynvml", module)
        return module

    return install


def test_a_healthy_card_is_read_in_full_in_one_session_and_as_json(driver: Any) -> None:
    module = driver([CARD])
    machine = detect()
    assert machine.gpus == (
        Gpu(
            0, "GPU-aaaa", "NVIDIA L4", 24 * GIB, 20 * GIB, 4 * GIB, (), (8, 9), 41, 30.5, 72.0, 7,
            ecc=True, mig=False, pcie_generation=4, pcie_width=16, display_active=False,
        ),
    )  # fmt: skip
    assert (machine.gpu_state, machine.gpu_message) == ("ok", "")
    assert (machine.driver_version, machine.cuda_version) == ("580.159", "13.0")
    assert module.sessions == 0
    assert json.loads(json.dumps(dataclasses.asdict(machine)))["gpus"][0]["free_bytes"] == 20 * GIB


@pytest.mark.parametrize(
    ("code", "state", "words", "action"),
    [
        (4, "no-permission", "may not talk", "/dev/nvidia"),
        (9, "no-driver", "not loaded", "modprobe"),
        (12, "none", "No NVIDIA card", "CPU"),
        (18, "driver-mismatch", "different versions", "Reboot"),
        (15, "error", "code 15", "dmesg"),
        (999, "error", "code 999", "reboot"),
    ],
)
def test_a_broken_driver_is_a_state_with_a_sentence_and_an_action(
    driver: Any, monkeypatch: pytest.MonkeyPatch, code: int, state: str, words: str, action: str
) -> None:
    driver([], nvmlInit=fails(code))
    monkeypatch.setattr(gpu_faults, "_nvidia_on_pci", lambda: False)
    machine = detect()
    assert (machine.gpus, machine.gpu_state) == ((), state)
    assert words in machine.gpu_message
    assert action in machine.gpu_hint


def test_a_card_on_the_bus_without_a_driver_asks_for_the_driver(driver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    driver([], nvmlInit=fails(12))
    monkeypatch.setattr(gpu_faults, "_nvidia_on_pci", lambda: True)
    machine = detect()
    assert machine.gpu_state == "no-nvml"
    assert "Install the NVIDIA driver" in machine.gpu_hint


@pytest.mark.parametrize(
    ("vendor", "kind", "found"),
    [("0x10de", "0x030200", True), ("0x10de", "0x040300", False), ("0x1002", "0x030000", False)],
)
def test_only_a_graphics_device_of_nvidia_on_the_bus_is_a_card(
    tmp_path: Path, vendor: str, kind: str, found: bool
) -> None:
    (tmp_path / "0000:01:00.0").mkdir()
    (tmp_path / "0000:01:00.0" / "vendor").write_text(f"{vendor}\n")
    (tmp_path / "0000:01:00.0" / "class").write_text(f"{kind}\n")
    assert gpu_faults._nvidia_on_pci(tmp_path) is found


def test_without_the_python_package_the_state_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert detect().gpu_state == "no-nvml"
    assert "nvidia-ml-py" in detect().gpu_message
    assert sample("GPU-aaaa").free_bytes is None


def test_a_driver_without_cards_is_no_card(driver: Any) -> None:
    driver([])
    machine = detect()
    assert (machine.gpu_state, machine.driver_version) == ("none", "580.159")
    assert "--gpus all" in machine.gpu_hint


@pytest.mark.parametrize("name", OPTIONAL)
@pytest.mark.parametrize("refusal", [NVMLError(NOT_SUPPORTED), NVMLLibraryMismatchError("old driver")])
def test_a_field_the_card_does_not_support_is_none_and_the_rest_stays(
    driver: Any, name: str, refusal: Exception
) -> None:
    driver([CARD | {name: refusal}])
    whole, partial = Gpu(0, "GPU-aaaa", "NVIDIA L4"), detect().gpus[0]
    unknown = {each.name for each in dataclasses.fields(Gpu) if getattr(partial, each.name) is None}
    expected = {
        "nvmlDeviceGetMigMode": {"mig"},
        "nvmlDeviceGetMemoryInfo": {"total_bytes", "free_bytes", "used_bytes"},
        "nvmlDeviceGetCudaComputeCapability": {"compute_capability"},
        "nvmlDeviceGetTemperatureV": {"temperature_c"},
        "nvmlDeviceGetPowerUsage": {"power_w"},
        "nvmlDeviceGetEnforcedPowerLimit": {"power_limit_w"},
        "nvmlDeviceGetUtilizationRates": {"utilisation_percent"},
        "nvmlDeviceGetEccMode": {"ecc"},
        "nvmlDeviceGetMaxPcieLinkGeneration": {"pcie_generation"},
        "nvmlDeviceGetMaxPcieLinkWidth": {"pcie_width"},
        "nvmlDeviceGetDisplayActive": {"display_active"},
    }
    assert unknown == expected.get(name, set())
    assert (partial.name, partial.uuid) == (whole.name, whole.uuid)


def test_one_lost_card_leaves_the_others_usable_and_is_named(driver: Any) -> None:
    driver([15, CARD])
    machine = detect()
    assert [gpu.index for gpu in machine.gpus] == [1]
    assert machine.gpu_state == "ok"
    assert machine.gpu_message.startswith("Card 0: ")


def test_with_mig_on_the_slices_are_the_cards(driver: Any) -> None:
    slices = [
        {"nvmlDeviceGetUUID": f"MIG-{n}", "nvmlDeviceGetName": "H100 MIG 1g.10gb", "nvmlDeviceGetMemoryInfo": memory}
        for n, memory in enumerate([SimpleNamespace(total=10 * GIB, free=free * GIB, used=0) for free in (9, 10)])
    ]
    driver([CARD | {"nvmlDeviceGetMigMode": [1, 1], "nvmlDeviceGetMaxMigDeviceCount": 7, "slices": slices}])
    machine = detect()
    assert [(gpu.index, gpu.uuid, gpu.mig, gpu.compute_capability, gpu.temperature_c) for gpu in machine.gpus] == [
        (0, "MIG-0", True, (8, 9), 41),
        (0, "MIG-1", True, (8, 9), 41),
    ]
    assert pick_gpu(machine, None) == machine.gpus[1]


def test_mig_without_slices_says_how_to_get_out(driver: Any) -> None:
    driver([CARD | {"nvmlDeviceGetMigMode": [1, 1], "nvmlDeviceGetMaxMigDeviceCount": 7, "slices": []}])
    machine = detect()
    assert (machine.gpus, machine.gpu_state) == ((), "mig-empty")
    assert "-mig 0" in machine.gpu_hint


def test_holders_are_named_once_and_the_largest_first(driver: Any) -> None:
    gone = 2**22 + 1  # above Linux' highest process id
    compute = [SimpleNamespace(pid=gone, usedGpuMemory=GIB), SimpleNamespace(pid=os.getpid(), usedGpuMemory=3 * GIB)]
    graphics = [SimpleNamespace(pid=gone, usedGpuMemory=None)]
    driver(
        [
            CARD
            | {
                "nvmlDeviceGetComputeRunningProcesses": compute,
                "nvmlDeviceGetGraphicsRunningProcesses": graphics,
            }
        ]
    )
    first, second = detect().gpus[0].processes or ()
    assert (first.pid, first.used_bytes) == (os.getpid(), 3 * GIB)
    assert first.name
    assert first.user
    assert (second.pid, second.used_bytes, second.name, second.user) == (gone, GIB, None, None)


def test_every_nvml_name_that_is_used_exists_in_the_real_package() -> None:
    import pynvml

    used = set(re.findall(r"nvml\.((?:nvml|NVML)\w+)", Path(gpu_module.__file__).read_text()))
    assert len(used) > 20
    assert [name for name in sorted(used) if not hasattr(pynvml, name)] == []


def test_a_sample_reads_one_card_and_a_lost_one_reads_as_unknown(driver: Any) -> None:
    module = driver([CARD])
    live = sample("GPU-aaaa")
    assert (live.free_bytes, live.utilisation_percent, live.temperature_c, live.power_w) == (20 * GIB, 7, 41, 30.5)
    assert sample("GPU-gone").free_bytes is None
    assert module.sessions == 0


@pytest.mark.parametrize(
    ("visible", "allowed"),
    [
        ("1", [False, True]),
        ("GPU-a", [True, False]),
        ("", [False, False]),
        ("-1", [False, False]),
        ("0, 1", [True] * 2),
    ],
)
def test_cards_withheld_by_cuda_visible_devices_are_left_alone(
    driver: Any, monkeypatch: pytest.MonkeyPatch, visible: str, allowed: list[bool]
) -> None:
    driver([CARD, CARD | {"nvmlDeviceGetUUID": "GPU-bbbb"}])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    machine = detect()
    assert [gpu.allowed for gpu in machine.gpus] == allowed
    assert pick_gpu(machine, None) == next((gpu for gpu in machine.gpus if gpu.allowed), None)
    for gpu in machine.gpus:
        if not gpu.allowed:
            with pytest.raises(UserError, match="CUDA_VISIBLE_DEVICES"):
                pick_gpu(machine, gpu.uuid)
