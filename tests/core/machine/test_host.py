"""The host, and which card and backend are chosen."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from fitune.core.errors import UserError
from fitune.core.machine.host import STACK, Gpu, Machine, _disk_free_bytes, _ram_bytes, choose_backend, detect, pick_gpu
from fitune.core.units import GIB

L4 = Gpu(0, "GPU-1a2b", "NVIDIA L4", free_bytes=9 * GIB, compute_capability=(8, 9))
BIG = Gpu(1, "GPU-1aff", "NVIDIA H100 80GB HBM3", free_bytes=70 * GIB, compute_capability=(9, 0))
DUMB = Gpu(2, "GPU-77", "NVIDIA L40S", compute_capability=(8, 9))
THREE = Machine(gpus=(L4, BIG, DUMB), gpu_state="ok")


@pytest.mark.parametrize(
    ("wanted", "picked"),
    [
        (None, BIG), ("0", L4), (" 1 ", BIG), ("GPU-1a2b", L4), ("gpu-1af", BIG), ("h100", BIG), ("L40", DUMB),
    ],
)  # fmt: skip
def test_a_card_is_picked_by_number_uuid_name_or_free_memory(wanted: str | None, picked: Gpu) -> None:
    assert pick_gpu(THREE, wanted) == picked


@pytest.mark.parametrize(("wanted", "words"), [("7", "no card"), ("", "no card"), ("GPU-1a", "2 cards"), ("L4", "2")])
def test_an_unknown_or_ambiguous_card_is_refused_with_the_list(wanted: str, words: str) -> None:
    with pytest.raises(UserError) as refused:
        pick_gpu(THREE, wanted)
    assert words in refused.value.message
    assert all(gpu.uuid in refused.value.hint for gpu in THREE.gpus)


def test_without_cards_nothing_is_picked_and_a_wish_is_refused_with_the_reason() -> None:
    machine = Machine(gpu_state="no-driver", gpu_message="The driver is not loaded.", gpu_hint="Load it.")
    assert pick_gpu(machine, None) is None
    with pytest.raises(UserError, match=r"not loaded.*Load it"):
        pick_gpu(machine, "0")


HAVE: dict[str, str | None] = {"unsloth": "2026.10.7"}
OLD = dataclasses.replace(L4, name="GTX 1080", compute_capability=(6, 1))
MUTE = dataclasses.replace(L4, compute_capability=None)


@pytest.mark.parametrize(
    ("asked", "gpu", "versions", "backend", "words"),
    [
        ("auto", L4, HAVE, "unsloth", "NVIDIA L4"),
        ("auto", dataclasses.replace(L4, compute_capability=(7, 0)), HAVE, "unsloth", "supports"),
        ("auto", OLD, HAVE, "trl", "6.1"),
        ("auto", MUTE, HAVE, "trl", "doesn't tell"),
        ("auto", None, HAVE, "trl", "no NVIDIA card"),
        ("auto", L4, {"torch": "2.11.0"}, "trl", "not installed"),
        ("auto", L4, {}, "unsloth", "supports"),
        ("trl", L4, HAVE, "trl", "asks for trl"),
        ("unsloth", L4, HAVE, "unsloth", "supports"),
    ],
)
def test_the_backend_is_chosen_with_its_reason(
    asked: str, gpu: Gpu | None, versions: dict[str, str | None], backend: str, words: str
) -> None:
    chosen, reason = choose_backend(asked, gpu, versions)
    assert chosen == backend
    assert words in reason


@pytest.mark.parametrize(("gpu", "versions"), [(None, HAVE), (OLD, HAVE), (MUTE, HAVE), (L4, {"torch": "2.11.0"})])
def test_unsloth_asked_for_where_it_cannot_work_is_refused(gpu: Gpu | None, versions: dict[str, str | None]) -> None:
    with pytest.raises(UserError) as refused:
        choose_backend("unsloth", gpu, versions)
    assert "trl" in refused.value.hint


def test_free_disk_is_known_for_a_folder_that_is_yet_to_be_made(tmp_path: Path) -> None:
    assert detect(tmp_path / "not" / "yet").disk_free_bytes == pytest.approx(_disk_free_bytes(tmp_path), rel=0.01)


def test_memory_is_what_the_container_gets(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text(f"{GIB}\n")
    (tmp_path / "memory.current").write_text(f"{GIB // 2}\n")
    (tmp_path / "memory.stat").write_text(f"anon 1\ninactive_file {GIB // 4}\n")
    assert _ram_bytes(tmp_path) == (GIB, GIB * 3 // 4)
    (tmp_path / "memory.max").write_text("max\n")
    assert _ram_bytes(tmp_path)[0] > GIB


def test_a_container_gets_no_more_memory_than_its_host_has_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memory.max").write_text(f"{4 * GIB}\n")
    (tmp_path / "memory.current").write_text(f"{GIB}\n")
    (tmp_path / "memory.stat").write_text("inactive_file 0\n")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=8 * GIB, available=GIB // 2))
    assert _ram_bytes(tmp_path) == (4 * GIB, GIB // 2)


def test_versions_of_the_stack_are_read_without_importing_any_of_it() -> None:
    code = (
        "import sys; from fitune.core.machine.host import detect, STACK; machine = detect();"
        "assert machine.torch_cuda != '';"
        "assert set(machine.versions) == set(STACK);"
        "print(sorted({'torch', 'transformers', 'datasets', 'textual', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert detect().versions["textual"] is not None
    assert len(STACK) == len(set(STACK))


@pytest.mark.parametrize("model_type", ["qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_next"])
@pytest.mark.parametrize("asked", ["auto", "unsloth", "trl"])
def test_a_model_in_which_unsloth_was_stuck_is_trained_with_trl_unless_unsloth_is_asked_for(
    asked: str, model_type: str
) -> None:
    gpu = Gpu(0, "GPU-x", "NVIDIA H200", 2**37, 2**37, 0, compute_capability=(9, 0))
    chosen, reason = choose_backend(asked, gpu, {"torch": "2.11.0", "unsloth": "2026.10.7"}, model_type)
    assert chosen == ("unsloth" if asked == "unsloth" else "trl")
    assert asked != "auto" or "Qwen3.5" in reason
