"""llama.cpp's answers where tokens end within a character: it tells nothing of them, unless a whole one is taken."""

from typing import Any

import pytest

pytestmark = pytest.mark.train
LETTER, END, PARTIAL = 1, 2, (3, 4, 5)
ANSWER = (3, 4, 5, 6, 7, END)
"""A character of three tokens, two words, and the end."""


class Server:
    """llama.cpp's server, as far as it is asked: of a token within a character its answer holds no probabilities."""

    def handle_completions(self, request: dict[str, Any]) -> dict[str, Any]:
        at = len(request["prompt"]) - 2
        taken = list(ANSWER[at : at + request["max_tokens"]])
        likeliest = [{"id": token, "logprob": -0.1} for token in taken]
        if "grammar" in request or "logit_bias" in request:
            taken = [LETTER]
        content = [
            {"id": token, "top_logprobs": [told]}
            for token, told in zip(taken, likeliest, strict=False)
            if token not in PARTIAL[:2]
        ]
        choice = {
            "logprobs": {"content": content} if content else None,
            "finish_reason": "stop" if taken[-1] == END else "length",
        }
        return {"choices": [choice], "usage": {"completion_tokens": len(taken)}}


def test_tokens_that_end_within_a_character_are_compared_and_counted() -> None:
    import torch

    from fitune.core.worker.gguf.run_in_llama_cpp import answers_of
    from fitune.core.worker.merging.compare_answers import Answers, Probe

    expected = Answers([torch.zeros(len(ANSWER), 8)], [list(ANSWER)], [True])
    got = answers_of(Server(), [Probe([0, 0, *ANSWER], 2)], expected)
    assert got.logits[0].argmax(-1).tolist() == list(ANSWER)
    assert got.written == [list(ANSWER)]
    assert got.stopped == [True]
