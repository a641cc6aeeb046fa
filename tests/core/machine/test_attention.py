"""The attention kernel that a training would use, by what is installed."""

import sys
from pathlib import Path

import pytest

from fitune.core.machine import attention
from fitune.core.machine.attention import (
    Kernel,
    Packages,
    check_attention,
    check_layers,
    expected_kernel,
    install_sentence,
    missing_kernels,
)
from fitune.core.machine.gpu import Gpu

PINNED = Packages("2.11.0", xformers="0.0.35")


@pytest.mark.parametrize(
    ("packages", "capability", "kernel"),
    [
        (PINNED, (9, 0), "torch"),
        (PINNED, (8, 0), "torch"),
        (PINNED, (7, 5), "one by one"),
        (Packages("2.11.0", xformers="0.0.35", xformers_fits=True), (9, 0), "xformers"),
        (Packages("2.11.0", xformers="0.0.35", xformers_fits=True), (7, 5), "xformers"),
        (Packages("2.10.1"), (9, 0), "one by one"),
        (Packages("2.10.1", flash_attn="2.8.3"), (9, 0), "flash-attn"),
        (Packages("2.11.0", flash_attn="2.8.3"), (7, 5), "one by one"),
        (Packages("3.0.0"), (12, 0), "torch"),
    ],
)
def test_the_kernel_follows_from_packages_and_card(
    packages: Packages, capability: tuple[int, int], kernel: Kernel
) -> None:
    assert expected_kernel(packages, capability) == kernel


@pytest.mark.parametrize(
    ("packages", "capability", "status", "words"),
    [
        (PINNED, (9, 0), "ok", "torch's FlashAttention"),
        (PINNED, (7, 5), "ok", "too old for FlashAttention"),
        (Packages("2.10.0"), (9, 0), "warn", "Install the pinned set"),
        (PINNED, None, "warn", "compute capability"),
    ],
)
def test_a_slow_kernel_is_a_warning_where_a_faster_one_could_be_had(
    packages: Packages, capability: tuple[int, int] | None, status: str, words: str
) -> None:
    found = check_attention(Gpu(0, "GPU-1", "A card", 1, 1, 0, (), capability), packages)
    assert found.status == status
    assert words in f"{found.text} {found.fix}"


@pytest.mark.parametrize(
    ("torch", "cuda", "fits"), [("2.10.0+cu128", "12.8", True), ("2.10.0", "13.0", False), ("2.11.0", "12.8", False)]
)
def test_xformers_says_what_it_was_built_for(
    torch: str, cuda: str, fits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "xformers"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('nothing may be imported')")
    (package / "cpp_lib.json").write_text('{"version": {"cuda": 1208, "torch": "2.10.0+cu128"}}')
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "xformers", raising=False)
    assert attention.installed(torch, cuda).xformers_fits is fits


def test_without_packages_there_is_nothing_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    found = attention.installed(None, None)
    assert not found.xformers_fits
    assert expected_kernel(found, (9, 0)) == "one by one"


@pytest.mark.parametrize(
    ("model_type", "backend", "there", "missing"),
    [
        ("llama", "trl", (), ()),
        ("qwen3_next", "unsloth", (), ()),
        ("qwen3_5_moe_text", "trl", (), ("flash-linear-attention",)),
        ("kimi_linear", "trl", ("fla",), ()),
        ("falcon_h1", "unsloth", (), ("causal-conv1d", "mamba-ssm")),
        ("mamba2", "trl", ("causal_conv1d",), ("mamba-ssm",)),
    ],
)
def test_models_with_other_layers_need_packages(
    model_type: str, backend: str, there: tuple[str, ...], missing: tuple[str, ...]
) -> None:
    assert missing_kernels(model_type, backend, there.__contains__) == missing


def test_the_doctor_tells_what_other_layers_lack_and_the_command_that_helps() -> None:
    whole = check_layers(True, lambda _: True)
    assert (whole.status, whole.fix) == ("ok", "")
    lean = check_layers(False, lambda _: False)
    assert lean.status == "ok", "of no matter to who trains other models"
    assert "slow without flash-linear-attention" in lean.text
    assert lean.fix.endswith("flash-linear-attention causal-conv1d mamba-ssm --no-build-isolation")
    assert "Qwen3-Next) has its kernels" in check_layers(True, lambda _: False).text
    assert install_sentence(("flash-linear-attention",)).endswith(" flash-linear-attention")
