"""The likelihoods of answers on a processor: TRL 1.15 computes them in a Triton kernel, which needs a GPU."""

from typing import Any

import torch
from torch import Tensor
from trl.trainer.utils import FusedCausalLMOutput

IGNORED = -100


def add_cpu_head(model: Any) -> None:
    """Make a causal language model answer `fused_lm_head=True` as TRL's add_fused_lm_head does, with the same numbers.

    model: without an adapter around it, after TRL has changed it.
    """
    plain = type(model).forward.__get__(model)

    def forward(*given: Any, fused_lm_head: bool = False, labels: Tensor | None = None, **named: Any) -> Any:
        if not fused_lm_head:
            return plain(*given, **named, **({} if labels is None else {"labels": labels}))
        assert labels is not None
        return _likelihoods(plain(*given, **{**named, "use_cache": False}).logits, labels)

    model.forward = forward


def _likelihoods(logits: Tensor, labels: Tensor) -> FusedCausalLMOutput:
    """The log-likelihood of each labelled token, and what TRL logs beside it; 0 at the other places.

    logits: rows x tokens x words. labels: rows x tokens, IGNORED where nothing is asked. All results are rows x (tokens
    - 1), since the first token is predicted from nothing.
    """
    targets = labels[:, 1:]
    asked = targets != IGNORED
    scores = logits[:, :-1][asked].float()
    logs = torch.log_softmax(scores, -1)
    found = logs.gather(1, targets[asked][:, None])[:, 0]

    def placed(values: Tensor) -> Tensor:
        return values.new_zeros(asked.shape).masked_scatter(asked, values)

    with torch.no_grad():
        entropy = -(logs.exp() * logs).sum(-1)
        is_top = scores.argmax(-1) == targets[asked]
    log_probs = placed(found)
    return FusedCausalLMOutput(
        loss=-log_probs.sum() / asked.sum().clamp(min=1),
        log_probs=log_probs,
        entropy=placed(entropy),
        log_sum_sq_probs=None,
        mean_logits=placed(scores.detach().mean(-1)),
        is_top1=placed(is_top),
        label_mask=asked,
        aux_loss=None,
    )
