"""A GGUF file's answers, by llama.cpp itself: the package xllamacpp ships it built, with its server inside."""

import importlib
import importlib.util
import math
from pathlib import Path
from typing import Any

import torch

from fitune.core.errors import UserError
from fitune.core.worker.merging.compare_answers import ROW_TOKENS, WRITTEN_ROWS, WRITTEN_TOKENS, Answers, Probe

PACKAGE, VERSION = "xllamacpp", "2026.10.11549"
"""The module, and the release that the proofs were tried with: MIT, 34 MB for Linux, x86_64 and aarch64."""
LIKELIEST = 64
"""llama.cpp tells the probabilities of this many tokens; the rest are known by their sum."""


def installed() -> bool:
    """Whether llama.cpp can be asked here."""
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
    """As behaviour.answers_of, with logits that are filled up from `expected` where llama.cpp does not tell them.

    Spread like the expected ones, the rest adds to a divergence only what its sum is off: never more than the truth.
    """
    logits, written, stopped = [], [], []
    for probe, rows in zip(probes, expected.logits, strict=True):
        places = range(probe.answer_start, probe.answer_start + len(rows))
        told = [_ask(server, probe.ids[:place], 1)["logprobs"]["content"][0] for place in places]
        logits.append(torch.stack([_filled(row, each["top_logprobs"]) for row, each in zip(rows, told, strict=True)]))
    for probe in probes[:WRITTEN_ROWS]:
        choice = _ask(server, probe.prompt, WRITTEN_TOKENS)
        written.append([each["id"] for each in choice["logprobs"]["content"]])
        stopped.append(choice["finish_reason"] == "stop")
    return Answers(logits, written, stopped)


def count_tokens(server: Any, text: str) -> int:
    """How many tokens llama.cpp makes of a text."""
    return int(_checked(server.handle_completions({"prompt": text, "max_tokens": 1}))["usage"]["prompt_tokens"])


def count_chat_tokens(server: Any, messages: list[dict[str, str]]) -> int:
    """How many tokens llama.cpp makes of a chat with the template in the file."""
    asked = {"messages": messages, "max_tokens": 1}
    return int(_checked(server.handle_chat_completions(asked))["usage"]["prompt_tokens"])


def _ask(server: Any, ids: list[int], tokens: int) -> Any:
    asked = {"prompt": ids, "max_tokens": tokens, "temperature": 0, "n_probs": LIKELIEST, "cache_prompt": True}
    return _checked(server.handle_completions(asked))["choices"][0]


def _checked(answer: Any) -> Any:
    if "error" in answer:
        raise UserError(f"llama.cpp can't use this file: {answer['error'].get('message', answer['error'])}.")
    return answer


def _filled(expected: torch.Tensor, told: list[dict[str, Any]]) -> torch.Tensor:
    """All tokens' log probabilities, of which `told` holds the likeliest."""
    ids = torch.tensor([each["id"] for each in told])
    known = torch.tensor([max(each["logprob"], -100.0) for each in told])
    filled = expected.log_softmax(-1)
    rest = torch.ones_like(filled, dtype=torch.bool)
    rest[ids] = False
    left = math.log(max(1e-9, 1 - float(known.exp().sum())))
    filled[rest] += left - float(filled[rest].logsumexp(0))
    filled[ids] = known
    return filled
