"""Torch's attention kernel for Unsloth: when it is used, and that a wrong kernel would be noticed."""

from types import SimpleNamespace
from typing import Any

import pytest

from fitune.core.machine import Kernel
from fitune.core.runs import EventLog, Started, Tail, Warned

pytestmark = pytest.mark.train


def dispatch(**found: Any) -> Any:
    """Unsloth's module that chooses a kernel, as on a machine where it finds none."""
    return SimpleNamespace(**{"HAS_FLASH_ATTENTION": False, "HAS_XFORMERS": False, "_TORCH_VARLEN_ATTN": None} | found)


@pytest.mark.parametrize(
    ("found", "usable", "kernel"),
    [
        ({}, True, "torch"),
        ({}, False, "one by one"),
        ({"HAS_FLASH_ATTENTION": True, "HAS_XFORMERS": True}, True, "flash-attn"),
        ({"HAS_XFORMERS": True}, True, "xformers"),
    ],
)
def test_unsloth_keeps_its_own_kernel_and_gets_torch_s_where_it_has_none(
    found: dict[str, bool], usable: bool, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fitune.core.worker.training import varlen_attention

    monkeypatch.setattr(varlen_attention, "is_usable", lambda: usable)
    unsloth = dispatch(**found)
    assert varlen_attention.install(unsloth) == kernel
    expected = varlen_attention.varlen_attention if kernel == "torch" else None
    assert unsloth._TORCH_VARLEN_ATTN is expected
    assert varlen_attention.install(unsloth) == kernel, "a second call changes nothing"


def test_a_kernel_that_unsloth_has_taken_from_torch_itself_stays() -> None:
    from fitune.core.worker.training import varlen_attention

    unsloth = dispatch(_TORCH_VARLEN_ATTN=print)
    assert varlen_attention.install(unsloth) == "torch"
    assert unsloth._TORCH_VARLEN_ATTN is print


def test_another_unsloth_is_left_alone() -> None:
    from fitune.core.worker.training import varlen_attention

    unsloth = SimpleNamespace(HAS_FLASH_ATTENTION=False, HAS_XFORMERS=False)
    assert varlen_attention.install(unsloth) == "one by one"
    assert not hasattr(unsloth, "_TORCH_VARLEN_ATTN")


def rows_apart(query: Any, key: Any, value: Any, borders: Any, *_: Any, **__: Any) -> Any:
    """A right kernel: torch's plain attention, row by row."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    lengths = (borders[1:] - borders[:-1]).tolist()
    rows = []
    for row in zip(*(x.split(lengths) for x in (query, key, value)), strict=True):
        q, k, v = (x.transpose(0, 1)[None] for x in row)
        rows.append(scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)[0])
    return torch.cat([row.transpose(0, 1) for row in rows])


def rows_together(query: Any, key: Any, value: Any, borders: Any, *_: Any, **__: Any) -> Any:
    """A wrong kernel: all rows as one."""
    return rows_apart(query, key, value, borders[[0, -1]])


def wrong_gradient(query: Any, key: Any, value: Any, borders: Any, *_: Any, **__: Any) -> Any:
    """A kernel with the right output, whose backward pass forgets the values."""
    return rows_apart(query, key, value.detach(), borders) + 0 * value.sum()


@pytest.mark.parametrize(("kernel", "right"), [(rows_apart, True), (rows_together, False), (wrong_gradient, False)])
def test_the_check_tells_a_right_kernel_from_a_wrong_one(
    kernel: Any, right: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fitune.core.worker.training import varlen_attention

    monkeypatch.setattr(varlen_attention, "varlen_attention", kernel)
    assert (varlen_attention.worst_error("cpu") < varlen_attention.TOLERANCE) is right


@pytest.mark.parametrize(
    ("kernel", "capability", "warned"),
    [("one by one", (9, 0), True), ("one by one", (7, 5), False), ("torch", (9, 0), False), (None, (9, 0), False)],
)
def test_slow_attention_is_a_warning_on_a_card_that_could_do_better(
    kernel: Kernel | None, capability: tuple[int, int], warned: bool, make_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from fitune.core.worker.training import train

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    run = make_run()
    train._write_started(run.recipe(), None, kernel, EventLog(run.events, "train"))
    started, *warnings = Tail(run.events).read()
    assert isinstance(started.data, Started)
    assert started.data.attention == kernel
    assert [event.data.kind for event in warnings if isinstance(event.data, Warned)] == ["attention"] * warned
    assert len(warnings) == warned


@pytest.mark.parametrize(("lengths", "allowed"), [((8, 8, 8), True), ((8, 8, 7), False)])
def test_cudnn_is_used_only_for_rows_of_one_length(lengths: tuple[int, ...], allowed: bool) -> None:
    import torch

    from fitune.core.worker.training.varlen_attention import allow_cudnn

    allow_cudnn([{"input_ids": [1] * length} for length in lengths])
    assert torch.backends.cuda.cudnn_sdp_enabled() is allowed
