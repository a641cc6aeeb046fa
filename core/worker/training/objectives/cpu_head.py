"""The likelihoods of answers on a processor: TRL 1.15 computes them in a Triton kernel, which needs a GPU.

As there, a few tokens at a time: the scores of all words for all tokens of a batch never stand in memory together.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear
from torch.utils.checkpoint import checkpoint
from trl.trainer import utils

IGNORED = -100
CHUNK_TOKENS = 128
"""Tokens whose scores stand in memory together; core/memory/loss.py counts on it."""


def use_cpu_head() -> None:
    """Put the computation below in the place of TRL's kernel."""
    vars(utils)["_ChunkedLogProbFunction"] = CpuHead


class CpuHead:
    """A stand-in for TRL's kernel (trl/kernels/chunked_logprob.py), with the same numbers."""

    @staticmethod
    def apply(
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        temperature: float,
        _tile_words: int,
        softcap: float | None = None,
        logit_scale: float = 1.0,
        outputs: tuple[str, ...] = (),
    ) -> tuple[Any, ...]:
        """For each token the log-likelihood of its target, and of the entropy, the logarithm of the summed squares of
        the likelihoods, the mean score and whether the target has the highest what is asked for; None for the others.

        hidden: tokens x width. weight: words x width, of the output head. Only the first result has a gradient.
        """

        def of_chunk(states: Tensor, wanted: Tensor) -> tuple[Tensor, ...]:
            scores = linear(states, weight, bias).float().mul_(logit_scale)
            if softcap:
                scores = torch.tanh(scores / softcap) * softcap
            scores.div_(temperature)
            logs = torch.log_softmax(scores, -1)
            found = logs.gather(1, wanted[:, None])[:, 0]
            return found, *(
                OUTPUTS[name](scores.detach(), logs.detach(), wanted) for name in OUTPUTS if name in outputs
            )

        chunks = zip(hidden.split(CHUNK_TOKENS), targets.split(CHUNK_TOKENS), strict=True)
        # Computed once more for the gradient, so that no chunk's scores are kept
        parts = [checkpoint(of_chunk, *chunk, use_reentrant=False) for chunk in chunks]
        likelihoods, *others = (torch.cat(each) for each in zip(*parts, strict=True))
        asked = iter(others)
        return likelihoods, *(next(asked) if name in outputs else None for name in OUTPUTS)


OUTPUTS: dict[str, Any] = {
    "entropy": lambda _scores, logs, _wanted: -(logs.exp() * logs).sum(-1),
    "log_sum_sq_probs": lambda _scores, logs, _wanted: (2 * logs).logsumexp(-1),
    "mean_logits": lambda scores, _logs, _wanted: scores.mean(-1),
    "is_top1": lambda scores, _logs, wanted: scores.argmax(-1) == wanted,
}
"""What TRL logs beside the likelihoods, in the order of its kernel's results: from scores, log-likelihoods, targets."""
