"""Attention over rows laid end to end, by a kernel that every install has: FlashAttention as torch ships it.

Rows without padding (packed, or a micro-batch laid out flat) need a kernel that takes their borders. Unsloth looks for
the package flash-attn (no wheels on PyPI), then xformers (its newest wheel is built for another CUDA and does not load
beside the pinned torch), then torch's own `varlen_attn`, which it takes from torch 2.12 on, where that has a parameter
`enable_gqa`. Otherwise it starts one kernel for each row and layer: an 8B on rows of 200 tokens then trains at a fourth
of the pace. The kernel in torch 2.11 takes grouped heads all the same, only the parameter is missing. `install` puts a
function which has it where Unsloth keeps torch's, if the card computes with it what plain attention computes, forward
and backward.

Unsloth's own conditions stay: head sizes up to 256, 16-bit numbers, compute capability 8.0 and up, at most 2^31
elements in the backward pass. Rows that do not meet them are computed as before.
"""

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from fitune.core.machine import OLDEST_CAPABILITY, Kernel

TOLERANCE = 0.02
"""Largest relative error of bf16 attention against fp32 attention; 0.002 to 0.004 on an H200."""
LENGTHS = (37, 1, 128, 90)
"""Rows of the check: shorter than the kernel's tile, a single token, exactly one tile, any length."""


def install(dispatch: Any = None) -> Kernel:
    """Give Unsloth torch's kernel if it has no other one, and return the kernel that it uses now.

    Call it after `import unsloth`, before training. dispatch: unsloth.utils.attention_dispatch, or its stand-in in a
    test.
    """
    dispatch = dispatch or import_module("unsloth.utils.attention_dispatch")
    if dispatch.HAS_FLASH_ATTENTION:
        return "flash-attn"
    if dispatch.HAS_XFORMERS:
        return "xformers"
    if not hasattr(dispatch, "_TORCH_VARLEN_ATTN"):  # another Unsloth than the pinned one
        return "one by one"
    if dispatch._TORCH_VARLEN_ATTN is None and is_usable():
        dispatch._TORCH_VARLEN_ATTN = varlen_attention
    return "torch" if dispatch._TORCH_VARLEN_ATTN else "one by one"


def could_be_faster(kernel: Kernel | None) -> bool:
    """Return True if attention takes one row after another on a card that FlashAttention supports."""
    return kernel == "one by one" and torch.cuda.get_device_capability() >= OLDEST_CAPABILITY


def allow_cudnn(rows: Iterable[Mapping[str, Sequence[int]]]) -> None:
    """Let plain attention use cuDNN only where all rows have one length. cuDNN plans anew for each new shape of a
    batch: 116 ms a layer on an H200."""
    torch.backends.cuda.enable_cudnn_sdp(len({len(row["input_ids"]) for row in rows}) == 1)


def is_usable() -> bool:
    """Return True if torch's kernel runs on this card and computes what plain attention computes."""
    if not torch.cuda.is_available() or torch.version.hip or torch.cuda.get_device_capability() < OLDEST_CAPABILITY:
        return False
    try:
        return worst_error() < TOLERANCE
    except (AttributeError, TypeError, RuntimeError):  # no such operator, other parameters, no code for this card
        return False


def varlen_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    query_borders: Tensor,
    key_borders: Tensor,
    longest_query: int,
    longest_key: int,
    *,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False,
) -> Tensor:
    """Compute torch.nn.attention.varlen.varlen_attn, with the parameters that it has from torch 2.12 on.

    query, key, value: tokens x heads x size, the rows end to end. The borders are the sums of the rows' lengths, from 0
    to the number of tokens, int32. enable_gqa: keys may have fewer heads; the kernel sees that by itself.

    This calls the operator below `varlen_attn`, whose wrapper takes the host 0.6 ms longer a layer, forward and
    backward: an 8B has 32 of them, and with few tokens in a micro-batch the card waits for the host.
    """
    left, right = window_size
    output: Tensor = torch.ops.aten._flash_attention_forward(
        query,
        key,
        value,
        query_borders,
        key_borders,
        longest_query,
        longest_key,
        0.0,  # dropout
        window_size == (-1, 0),  # causal
        False,
        scale=scale,
        window_size_left=left,
        window_size_right=right,
    )[0]
    return output


def worst_error(device: str = "cuda") -> float:
    """Return the largest relative error of the kernel's output and gradients on a few rows, against fp32 attention."""
    source = torch.Generator(device).manual_seed(0)
    query, key, value, upstream = (
        torch.randn(sum(LENGTHS), heads, 64, device=device, generator=source).bfloat16() for heads in (4, 2, 2, 4)
    )
    for tensor in (query, key, value):
        tensor.requires_grad_()
    borders = torch.tensor([0, *LENGTHS], device=device).cumsum(0, dtype=torch.int32)
    output = varlen_attention(query, key, value, borders, borders, max(LENGTHS), max(LENGTHS), window_size=(-1, 0))
    computed = (output, *torch.autograd.grad(output, (query, key, value), upstream))

    exact = [tensor.detach().float().requires_grad_() for tensor in (query, key, value)]
    plain = torch.cat([_plain(q, k, v) for q, k, v in zip(*(tensor.split(LENGTHS) for tensor in exact), strict=True)])
    expected = (plain, *torch.autograd.grad(plain, exact, upstream.float()))
    errors = [(ours.float() - true).norm() / true.norm() for ours, true in zip(computed, expected, strict=True)]
    return float(torch.stack(errors).detach().nan_to_num(nan=torch.inf).max())


def _plain(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Causal attention of one row, written out; tokens x heads x size."""
    groups = query.shape[1] // key.shape[1]
    q = query.transpose(0, 1)
    k, v = (tensor.repeat_interleave(groups, 1).transpose(0, 1) for tensor in (key, value))
    scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
    future = torch.ones_like(scores, dtype=torch.bool).triu(1)
    return (scores.masked_fill(future, -torch.inf).softmax(-1) @ v).transpose(0, 1)
