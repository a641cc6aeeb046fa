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
A_LETTER = "root ::= [a-z]"
"""A grammar (GBNF) of one token: a whole character."""
FORCED = 1000.0
"""A bias that makes llama.cpp take a token. The probabilities that it returns are those before any bias."""


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
    letter = _ask(server, probes[0].prompt, 1, grammar=A_LETTER)["choices"][0]["logprobs"]["content"][0]["id"]
    for probe, rows in zip(probes, expected.logits, strict=True):
        positions = range(probe.answer_start, probe.answer_start + len(rows))
        likeliest = [_likeliest(server, probe.ids[:position], letter) for position in positions]
        logits.append(torch.stack([_filled(row, each) for row, each in zip(rows, likeliest, strict=True)]))
    for probe in probes[:WRITTEN_ROWS]:
        ids, ended = _written(server, probe.prompt, letter)
        written.append(ids)
        stopped.append(ended)
    return Answers(logits, written, stopped)


def _likeliest(server: Any, ids: list[int], letter: int) -> list[dict[str, Any]]:
    """The likeliest next tokens. letter: a token that is taken instead of them, since llama.cpp tells nothing of one
    that ends within a character, as most tokens of many scripts do."""
    choice = _ask(server, ids, 1, logit_bias=[[letter, FORCED]])["choices"][0]
    return list(choice["logprobs"]["content"][0]["top_logprobs"])


def _written(server: Any, prompt: list[int], letter: int) -> tuple[list[int], bool]:
    """A greedy answer's tokens, and whether it ended by itself. letter: as for `_likeliest`."""
    answer = _ask(server, prompt, WRITTEN_TOKENS)
    choice, tokens = answer["choices"][0], answer["usage"]["completion_tokens"]
    ids = [token["id"] for token in (choice["logprobs"] or {"content": ()})["content"]]
    if len(ids) < tokens:  # some ended within a character
        ids = []
        while len(ids) < tokens:
            ids.append(_likeliest(server, prompt + ids, letter)[0]["id"])
    return ids, choice["finish_reason"] == "stop"


def count_tokens(server: Any, text: str) -> int:
    """Number of tokens of a text in llama.cpp."""
    return int(_checked(server.handle_completions({"prompt": text, "max_tokens": 1}))["usage"]["prompt_tokens"])


def count_chat_tokens(server: Any, messages: list[dict[str, str]], options: Mapping[str, Any] | None = None) -> int:
    """Number of tokens of a chat in llama.cpp, with the chat template in the file and these options for it."""
    request = {"messages": messages, "max_tokens": 1, **({"chat_template_kwargs": options} if options else {})}
    return int(_checked(server.handle_chat_completions(request))["usage"]["prompt_tokens"])


def _ask(server: Any, ids: list[int], tokens: int, **more: Any) -> Any:
    request = {"prompt": ids, "max_tokens": tokens, "temperature": 0, "n_probs": LIKELIEST, "cache_prompt": True}
    return _checked(server.handle_completions({**request, **more}))


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
