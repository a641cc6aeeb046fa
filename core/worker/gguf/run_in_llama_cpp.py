"""Run a GGUF file in llama.cpp: the package xllamacpp contains it, with its server."""

import importlib
import importlib.util
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fitune.core.errors import UserError
from fitune.core.worker.merging.compare_answers import ROW_TOKENS, WRITTEN_ROWS, WRITTEN_TOKENS, Answers, Probe

PACKAGE, VERSION = "xllamacpp", "2026.10.11549"
"""The module, and the version that the proofs were tested with: MIT, 34 MB for Linux, x86_64 and aarch64."""
LIKELIEST = 64
"""llama.cpp returns the probabilities of this many tokens; the others are known by their sum."""


def installed() -> bool:
    """True if llama.cpp can run here."""
    return importlib.util.find_spec(PACKAGE) is not None


def load(file: Path) -> Any:
    """A server of one GGUF file in this process, on the CPU. Raises UserError if llama.cpp refuses the file."""
    xllamacpp = importlib.import_module(PACKAGE)
    params = xllamacpp.CommonParams()
    params.model.path = str(file)
    params.n_ctx = ROW_TOKENS + WRITTEN_TOKENS + 8
    params.n_parallel = 1
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        raise UserError(f"llama.cpp can't load {file.name}: {error}.") from None


def answers_of(server: Any, probes: list[Probe], expected: Answers) -> Answers:
    """As compare_answers.answers_of, with logits from `expected` for the tokens that llama.cpp does not return.

    These are distributed like the expected ones, so they add to a divergence only the difference of their sum: never
    more than the true one.
    """
    logits, written, stopped = [], [], []
    for probe, rows in zip(probes, expected.logits, strict=True):
        positions = range(probe.answer_start, probe.answer_start + len(rows))
        choices = [_ask(server, probe.ids[:position], 1)["logprobs"]["content"][0] for position in positions]
        logits.append(
            torch.stack([_filled(row, choice["top_logprobs"]) for row, choice in zip(rows, choices, strict=True)])
        )
    for probe in probes[:WRITTEN_ROWS]:
        choice = _ask(server, probe.prompt, WRITTEN_TOKENS)
        written.append([choice["id"] for choice in choice["logprobs"]["content"]])
        stopped.append(choice["finish_reason"] == "stop")
    return Answers(logits, written, stopped)


def count_tokens(server: Any, text: str) -> int:
    """Number of tokens of a text in llama.cpp."""
    return int(_checked(server.handle_completions({"prompt": text, "max_tokens": 1}))["usage"]["prompt_tokens"])


def count_chat_tokens(server: Any, messages: list[dict[str, str]], options: Mapping[str, Any] | None = None) -> int:
    """Number of tokens of a chat in llama.cpp, with the chat template in the file and these options for it."""
    request = {"messages": messages, "max_tokens": 1, **({"chat_template_kwargs": options} if options else {})}
    return int(_checked(server.handle_chat_completions(request))["usage"]["prompt_tokens"])


def _ask(server: Any, ids: list[int], tokens: int) -> Any:
    request = {"prompt": ids, "max_tokens": tokens, "temperature": 0, "n_probs": LIKELIEST, "cache_prompt": True}
    return _checked(server.handle_completions(request))["choices"][0]


def _checked(answer: Any) -> Any:
    if "error" in answer:
        raise UserError(f"llama.cpp can't use this file: {answer['error'].get('message', answer['error'])}.")
    return answer


def _filled(expected: torch.Tensor, likeliest: list[dict[str, Any]]) -> torch.Tensor:
    """The log probabilities of all tokens, with those of the likeliest ones replaced."""
    ids = torch.tensor([token["id"] for token in likeliest])
    log_probs = torch.tensor([max(token["logprob"], -100.0) for token in likeliest])
    filled = expected.log_softmax(-1)
    rest = torch.ones_like(filled, dtype=torch.bool)
    rest[ids] = False
    correction = math.log(max(1e-9, 1 - float(log_probs.exp().sum())))
    filled[rest] += correction - float(filled[rest].logsumexp(0))
    filled[ids] = log_probs
    return filled
