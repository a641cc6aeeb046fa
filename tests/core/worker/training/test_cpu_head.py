"""The likelihoods of answers on a processor."""

from typing import Any

import pytest

pytestmark = pytest.mark.train
TOKENS, WIDTH, WORDS = 261, 8, 37
"""More than two chunks of tokens."""


def head_of(seed: int) -> tuple[Any, Any, Any, Any]:
    import torch

    dice = torch.Generator().manual_seed(seed)
    hidden, weight = torch.randn(TOKENS, WIDTH, generator=dice), torch.randn(WORDS, WIDTH, generator=dice)
    return hidden.requires_grad_(), weight, torch.randn(WORDS, generator=dice), torch.arange(TOKENS) % WORDS


def test_chunks_give_what_whole_scores_give() -> None:
    import torch

    from fitune.core.worker.training.objectives.cpu_head import OUTPUTS, CpuHead

    hidden, weight, bias, targets = head_of(1)
    found, entropy, squares, mean, top = CpuHead.apply(hidden, weight, bias, targets, 2.0, 64, 3.0, 0.5, tuple(OUTPUTS))
    scores = 3 * torch.tanh(0.5 * (hidden @ weight.T + bias) / 3) / 2
    logs = scores.log_softmax(-1)
    expected = logs[torch.arange(TOKENS), targets]
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(entropy, -(logs.exp() * logs).sum(-1).detach())
    torch.testing.assert_close(squares, logs.exp().square().sum(-1).log().detach())
    torch.testing.assert_close(mean, scores.mean(-1).detach())
    assert torch.equal(top, scores.argmax(-1) == targets)
    weights = torch.linspace(-1, 1, TOKENS)
    (ours,) = torch.autograd.grad((found * weights).sum(), hidden, retain_graph=True)
    (true,) = torch.autograd.grad((expected * weights).sum(), hidden)
    torch.testing.assert_close(ours, true)


def test_only_what_is_asked_for_is_computed() -> None:
    from fitune.core.worker.training.objectives.cpu_head import CpuHead

    hidden, weight, _, targets = head_of(2)
    found, entropy, squares, mean, top = CpuHead.apply(hidden, weight, None, targets, 1.0, 64, outputs=("is_top1",))
    assert (entropy, squares, mean) == (None, None, None)
    assert len(found) == len(top) == TOKENS


def test_no_tokens_are_no_error() -> None:
    from fitune.core.worker.training.objectives.cpu_head import CpuHead

    hidden, weight, bias, targets = head_of(3)
    found, *_ = CpuHead.apply(hidden[:0], weight, bias, targets[:0], 1.0, 64)
    assert len(found) == 0
    found.sum().backward()
    assert not hidden.grad.any()
