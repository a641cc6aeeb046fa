"""Faults of an NVIDIA driver or card: a state, a sentence, and a hint on what to do."""

from pathlib import Path
from typing import Literal, NamedTuple

GpuState = Literal["ok", "none", "no-nvml", "no-driver", "driver-mismatch", "no-permission", "mig-empty", "error"]


class Fault(NamedTuple):
    """The reason that no card can be used, or one card among several."""

    state: GpuState
    message: str
    hint: str


NO_PACKAGE = Fault("no-nvml", "The Python package nvidia-ml-py is missing, so no card can be seen.", "Install it.")
NO_CARD = Fault("none", "The NVIDIA driver works but shows no card.", "In a container: start it with --gpus all.")
# By the codes of nvml.h: no permission, driver not loaded, library and driver (RM) of different versions.
_BY_CODE = {
    4: Fault(
        "no-permission",
        "This user may not talk to the NVIDIA card.",
        "Check who may open /dev/nvidia* (often the groups video and render), or start the container with --gpus all.",
    ),
    9: Fault(
        "no-driver",
        "The NVIDIA driver is installed but not loaded.",
        "Run `sudo modprobe nvidia`; if that fails, reinstall the driver for this kernel and check Secure Boot.",
    ),
    18: Fault(
        "driver-mismatch",
        "The loaded NVIDIA driver and its library are of different versions, as after an update without a reboot.",
        "Reboot. In a container: start it anew, so that it gets the library of the host's driver.",
    ),
}
_LIBRARY_NOT_FOUND = 12


def of_code(code: int, text: str) -> Fault:
    """The fault behind an NVML error. text: the driver's own words, for a code that is not known here."""
    if code == _LIBRARY_NOT_FOUND:
        return _without_library()
    unknown = Fault(
        "error",
        f"The NVIDIA driver reports: {text.rstrip('.')}.",
        "Look at `nvidia-smi` and `sudo dmesg | grep -i nvrm`; a reboot often helps.",
    )
    return _BY_CODE.get(code, unknown)


def mig_empty(index: int) -> Fault:
    """The fault of a card on which MIG is on, but that has no slice."""
    return Fault(
        "mig-empty",
        "MIG is on, but the card is not divided into slices, so nothing can run on it.",
        f"`nvidia-smi mig -i {index} -lgip` lists possible slices; `sudo nvidia-smi -i {index} -mig 0` turns MIG off.",
    )


def _without_library() -> Fault:
    if _nvidia_on_pci():
        return Fault(
            "no-nvml",
            "There is an NVIDIA card, but its driver's library (NVML) is missing here.",
            "Install the NVIDIA driver; in a container, start that with --gpus all.",
        )
    return Fault(
        "none",
        "No NVIDIA card and no NVIDIA driver (NVML library) was found.",
        "You can plan here, and train small models on the CPU; for more, use a machine with an NVIDIA card.",
    )


def _nvidia_on_pci(root: Path = Path("/sys/bus/pci/devices")) -> bool:
    """True if the PCI bus shows a display or 3D controller (class 03) of NVIDIA (vendor 10de)."""
    return any(
        vendor.read_text().startswith("0x10de") and vendor.with_name("class").read_text().startswith("0x03")
        for vendor in root.glob("*/vendor")
    )
