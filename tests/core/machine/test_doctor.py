"""The doctor's findings, by the facts that lead to them."""

import errno
import os
import stat
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import huggingface_hub
import pytest

from fitune.core.machine import doctor, host
from fitune.core.machine.doctor import (
    check_driver,
    check_gpu_memory,
    check_gpus,
    check_hub,
    check_runs_dir,
    check_torch,
)
from fitune.core.machine.host import Gpu, GpuProcess, Machine
from fitune.core.machine.torch_build import TorchFacts, ask_torch, built_for_cuda, runs_on
from fitune.core.units import GIB

L4 = Gpu(0, "GPU-1", "NVIDIA L4", 24 * GIB, 23 * GIB + GIB // 2, GIB // 2, (), (8, 9))
HEALTHY = Machine(
    gpus=(L4,),
    gpu_state="ok",
    driver_version="580.159",
    cuda_version="13.0",
    torch_cuda="13.0",
    ram_total_bytes=64 * GIB,
    ram_available_bytes=60 * GIB,
    runs_dir="/runs",
    disk_free_bytes=500_000_000_000,
    versions={"torch": "2.11.0", "trl": "1.15.0", "unsloth_zoo": "2026.10.7"},
)
ARCHS = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120")
TORCH = TorchFacts("2.11.0+cu130", "13.0", ARCHS)


def test_a_healthy_machine_passes_every_check() -> None:
    checks = doctor.diagnose_machine(HEALTHY) + check_torch(TORCH, HEALTHY)
    assert [check.status for check in checks] == ["ok"] * len(checks)
    assert not doctor.failed(checks)


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"gpus": (), "gpu_state": "none", "gpu_message": "No card."}, "warn", "No card."),
        ({"gpus": (), "gpu_state": "driver-mismatch", "gpu_message": "Two versions."}, "fail", "Two versions."),
        ({"gpus": (), "gpu_state": "no-nvml", "gpu_message": "No library."}, "fail", "No library."),
        ({"gpu_message": "Card 1: lost."}, "warn", "Card 1: lost."),
        ({"gpus": (replace(L4, allowed=False),)}, "fail", "CUDA_VISIBLE_DEVICES"),
    ],
)
def test_the_gpu_state_becomes_a_finding(changes: dict[str, Any], status: str, words: str) -> None:
    found = check_gpus(replace(HEALTHY, **changes))
    assert found.status == status
    assert words in found.text


@pytest.mark.parametrize(
    ("driver", "torch", "status", "words"),
    [
        ("13.0", "13.0", "ok", "speaks CUDA 13.0"),
        ("13.1", "12.8", "ok", "built for 12.8"),
        ("12.10", "12.8", "ok", "12.10"),
        ("12.4", "12.8", "warn", "newer CUDA 12.8"),
        ("12.8", "13.0", "fail", "finds no card"),
        ("13.0", None, "fail", "CPU only"),
        (None, "13.0", "warn", "doesn't tell"),
    ],
)
def test_a_driver_must_speak_the_cuda_that_torch_was_built_for(
    driver: str | None, torch: str | None, status: str, words: str
) -> None:
    found = check_driver(replace(HEALTHY, cuda_version=driver, torch_cuda=torch))
    assert found.status == status
    assert words in found.text
    assert found.fix or status == "ok"


def test_a_driver_too_old_is_told_which_driver_to_get() -> None:
    found = check_driver(replace(HEALTHY, cuda_version="12.4"))
    assert "to 580 or newer" in found.fix
    assert "torch==2.11.0 --torch-backend=auto" in found.fix


def test_torch_missing_is_a_failure_even_without_a_card() -> None:
    assert check_driver(Machine(versions={"torch": None})).status == "fail"
    assert check_driver(Machine(versions={"torch": "2.11.0"})).status == "ok"


@pytest.mark.parametrize(
    ("free_gib", "processes", "status", "words"),
    [
        (23.5, (), "ok", "23.5 GiB of 24.0 GiB"),
        (10.0, (GpuProcess(42, "ollama", 13 * GIB, "eve"),), "warn", "ollama (pid 42, eve) 13.0 GiB"),
        (10.0, (GpuProcess(42),), "warn", "a process (pid 42)"),
        (10.0, (), "warn", "can't be seen"),
        (10.0, None, "warn", "can't be seen"),
        (None, None, "warn", "doesn't tell its memory"),
    ],
)
def test_memory_in_other_hands_is_found_and_its_holder_named(
    free_gib: float | None, processes: tuple[GpuProcess, ...] | None, status: str, words: str
) -> None:
    free_bytes = None if free_gib is None else int(free_gib * GIB)
    found = check_gpu_memory(replace(L4, free_bytes=free_bytes, processes=processes))
    assert found.status == status
    assert words in found.text


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"disk_free_bytes": 19_999_999_999}, "disk"),
        ({"disk_free_bytes": None}, "disk"),
        ({"ram_available_bytes": 7 * GIB}, "RAM"),
    ],
)
def test_scarce_room_is_a_warning(changes: dict[str, Any], name: str) -> None:
    warned = [check.name for check in doctor.diagnose_machine(replace(HEALTHY, **changes)) if check.status == "warn"]
    assert warned == [name]


def test_a_full_disk_would_keep_a_training_from_running() -> None:
    checks = doctor.diagnose_machine(replace(HEALTHY, disk_free_bytes=0))
    assert [check.name for check in checks if check.status == "fail"] == ["disk"]
    assert doctor.failed(checks)


@pytest.mark.parametrize(
    ("capability", "runs"),
    [
        ((8, 9), True),
        ((9, 0), True),
        ((12, 1), True),
        ((13, 0), True),
        ((7, 0), False),
        ((7, 5), True),
        ((11, 0), False),
    ],
)
def test_code_runs_on_its_own_generation_and_ptx_on_newer_ones(capability: tuple[int, int], runs: bool) -> None:
    assert runs_on(ARCHS, capability) is runs


def test_code_for_one_kind_of_card_does_not_count_for_its_successors() -> None:
    assert not runs_on(("sm_90a",), (9, 1))


@pytest.mark.parametrize(
    ("torch", "capability", "status", "words"),
    [
        (TorchFacts(error="ImportError: libcudnn.so.9: no such file"), (8, 9), "fail", "libcudnn.so.9"),
        (replace(TORCH, error="The NVIDIA driver on your system is too old"), (8, 9), "fail", "too old"),
        (replace(TORCH, archs=("sm_80", "sm_90")), (12, 0), "fail", "newer than this torch"),
        (TORCH, (7, 0), "fail", "torch==2.11.0 --torch-backend=cu126"),
        (TORCH, None, "warn", "compute capability"),
        (TORCH, (8, 9), "ok", "has code for"),
    ],
)
def test_what_torch_says_becomes_a_finding(
    torch: TorchFacts, capability: tuple[int, int] | None, status: str, words: str
) -> None:
    [found] = check_torch(torch, replace(HEALTHY, gpus=(replace(L4, compute_capability=capability),)))
    assert found.status == status
    assert words in f"{found.text} {found.fix}"


@pytest.mark.parametrize(
    ("probe", "facts"),
    [
        (
            'print("a warning"); print(\'{"version": "2", "cuda": null, "archs": ["sm_90"], "error": "one\\\\ntwo"}\')',
            TorchFacts("2", None, ("sm_90",), "two"),
        ),
        (
            "raise ImportError('libcudart.so.13: cannot open')",
            TorchFacts(error="ImportError: libcudart.so.13: cannot open"),
        ),
        ("import os; os.kill(os.getpid(), 11)", TorchFacts(error="it ended with status -11")),
    ],
)
def test_torch_is_asked_in_a_process_that_may_die(probe: str, facts: TorchFacts) -> None:
    assert ask_torch(probe) == facts


def test_a_torch_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fitune.core.machine.torch_build.TIMEOUT_S", 0.1)
    assert "no answer" in (ask_torch("import time; time.sleep(60)").error or "")


@pytest.mark.parametrize(
    ("line", "cuda"),
    [("cuda: Optional[str] = '13.0'", "13.0"), ("cuda = '12.8'", "12.8"), ("cuda: Optional[str] = None", None)],
)
def test_the_cuda_of_a_torch_build_is_read_from_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, cuda: str | None
) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise AssertionError('imported')")
    (tmp_path / "torch" / "version.py").write_text(f"__all__ = ['cuda']\n__version__ = '2.11.0'\n{line}\nhip = '6.0'\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert built_for_cuda() == cuda


REQUIRES = ["torch==2.11.0", "trl==1.15.0", "unsloth-zoo==2026.10.7", "psutil>=7", "gguf==0.17; extra == 'demo'"]


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({}, "ok", "pinned"),
        ({"torch": "2.11.0+cu126"}, "ok", "pinned"),
        ({"trl": "1.16.0"}, "warn", "trl 1.16.0 (pinned: 1.15.0)"),
        ({"unsloth_zoo": None}, "fail", "unsloth_zoo is missing"),
    ],
)
def test_a_library_that_moved_is_named_with_its_pin(changes: dict[str, Any], status: str, words: str) -> None:
    found = doctor.check_versions(HEALTHY.versions | changes, REQUIRES)
    assert found.status == status
    assert words in found.text


def test_unknown_pins_are_said_to_be_unknown() -> None:
    assert doctor.check_versions(HEALTHY.versions, []).status == "warn"


def test_the_home_of_runs_must_be_writable_and_private(tmp_path: Path) -> None:
    assert check_runs_dir(tmp_path / "runs").status == "ok"
    runs = tmp_path / "runs"
    runs.mkdir(mode=0o700)
    assert check_runs_dir(runs).status == "ok"
    runs.chmod(0o740)
    assert check_runs_dir(runs).fix == f"Run `chmod 700 {runs}`."
    file = tmp_path / "file"
    file.touch()
    assert check_runs_dir(file / "runs").status == "fail"


def test_a_folder_that_may_not_even_be_looked_into_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = os.stat

    def withheld(path: Any, **options: Any) -> os.stat_result:  # as another user's home is, for all but root
        if tmp_path in Path(path).parents:
            raise PermissionError(errno.EACCES, "Permission denied")
        return look(path, **options)

    monkeypatch.setattr(os, "stat", withheld)
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != tmp_path)
    assert check_runs_dir(tmp_path / "theirs" / "runs").status == "fail"
    assert host.detect(tmp_path / "theirs" / "runs").disk_free_bytes


def test_a_folder_without_write_permission_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: bool(Path(path).stat().st_mode & stat.S_IWUSR))
    tmp_path.chmod(0o500)
    assert check_runs_dir(tmp_path / "runs").status == "fail"


TOKEN = "hf_do_not_show"


@pytest.mark.parametrize(
    ("token", "status", "body", "verdict", "words"),
    [
        (TOKEN, 200, {"name": "ann", "auth": {"accessToken": {"role": "write"}}}, "ok", "ann"),
        (TOKEN, 200, {"name": "ann", "auth": {"accessToken": {"role": "read"}}}, "ok", "may write"),
        (TOKEN, 200, {"name": "ann", "auth": None}, "ok", "unknown"),
        (TOKEN, 401, {}, "fail", "refuses your token"),
        (None, 401, {}, "ok", "no token"),
        (TOKEN, 503, {}, "warn", "503"),
        (None, 200, {}, "warn", "login page"),
        (TOKEN, httpx.ConnectTimeout(TOKEN), {}, "warn", "HF_HUB_OFFLINE=1"),
        (TOKEN, httpx.ConnectError(TOKEN), {}, "warn", "can't be reached"),
        (f"{TOKEN} ü", 200, {}, "fail", "no token has"),
    ],
)
def test_the_hub_answers_are_told_apart_and_the_token_is_never_shown(
    monkeypatch: pytest.MonkeyPatch,
    token: str | None,
    status: int | Exception,
    body: dict[str, Any],
    verdict: str,
    words: str,
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if isinstance(status, Exception):
            raise status
        assert request.headers.get("authorization") == (f"Bearer {token}" if token else None)
        return httpx.Response(status, json=body)

    client = httpx.Client(transport=httpx.MockTransport(answer))
    monkeypatch.setattr(huggingface_hub, "get_session", lambda: client)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: token)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    [found] = check_hub()
    assert found.status == verdict
    assert words in f"{found.text} {found.fix}"
    assert TOKEN not in str(found)


def test_offline_mode_is_told_without_asking_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(doctor, "_whoami", lambda *_: pytest.fail("asked"))
    [found] = check_hub()
    assert found.status == "warn"
