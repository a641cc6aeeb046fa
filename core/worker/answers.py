"""One answer of a model: from what is asked, as the model saw it in training, to text and how it came to its end."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fitune.core.errors import UserError
from fitune.core.jobs.chat_messages import Ended, Question
from fitune.core.worker.rows.render import RefusedRow, render

PLAIN_START_WORDS = 60
STAND_IN = "Hello"
"""The answer of a row that has none yet, to find where one begins."""
UNSLOTH_CACHE = ("paged_attention", "paged_attention_K", "paged_attention_V")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model wrote."""

    text: str
    tokens: int
    ended: Ended
    """By itself, with a mark that ends an answer; else what cut it: its length, the clock, or the user."""
    elapsed_s: float


def question(row: dict[str, Any]) -> Question | None:
    """What a canonical row asks; None for a chat that has no answer, or begins with one."""
    if "prompt" in row:
        return Question(row["prompt"], None, row["prompt"], row["completion"])
    if "text" in row:
        words = row["text"].split()
        start = " ".join(words[: max(1, len(words) // 4)][:PLAIN_START_WORDS])
        return Question(start, None, start, row["text"][len(start) :].strip())
    turns = row["messages"]
    first = next((place for place, turn in enumerate(turns) if turn["role"] == "assistant"), 0)
    if not first:
        return None
    shown, reference = (str(turn.get("content") or "") for turn in turns[first - 1 : first + 1])
    return Question(turns[:first], row.get("tools"), shown, reference)


def prompt_ids(asked: list[dict[str, Any]] | str, tools: Any, tokenizer: Any) -> list[int]:
    """The tokens up to where an answer begins, rendered as rows are for training: turns of a chat, or a bare text.

    Raises UserError if the chat template does not take it.
    """
    row: dict[str, Any] = {"prompt": asked, "completion": STAND_IN}
    if not isinstance(asked, str):
        row = {"messages": [*asked, {"role": "assistant", "content": STAND_IN}], "tools": tools}
    made = next(render([row], tokenizer, "answers"))
    if isinstance(made, RefusedRow):
        raise UserError(f"This can't be asked: {made.why}")
    return made[0].ids[: made[0].spans[-1][0]]


def answer(
    model: Any,
    tokenizer: Any,
    ids: list[int],
    stops: list[int],
    max_tokens: int,
    max_s: float | None = None,
    temperature: float = 0.0,
    streamer: Any = None,
    halted: Callable[[], bool] = lambda: False,
) -> Answer:
    """What the model writes after `ids`: greedily at a temperature of 0, else drawn by chance.

    stops: tokens that end an answer. streamer: transformers' BaseStreamer. halted: asked after each token.
    """
    import torch

    began = time.monotonic()
    prompt = torch.tensor([ids], device=model.device)
    chance = {"do_sample": True, "temperature": temperature} if temperature else {"do_sample": False}
    out = model.generate(
        input_ids=prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=max_tokens,
        max_time=max_s,
        eos_token_id=stops,
        pad_token_id=stops[0] if stops else 0,
        use_cache=True,
        streamer=streamer,
        stopping_criteria=[lambda ids, scores, **_: torch.full((1,), halted(), device=ids.device)],
        **chance,
    )
    written = out[0, len(ids) :].tolist()
    ended: Ended = "length" if len(written) >= max_tokens else "time"
    if written and written[-1] in stops:
        ended = "itself"
    elif halted():
        ended = "asked"
    text = tokenizer.decode(written, skip_special_tokens=True).strip()
    return Answer(text, len(written), ended, time.monotonic() - began)


@contextmanager
def answering(model: Any, unsloth: bool) -> Iterator[None]:
    """A model in training, set to answer and back: in the middle of a run the next step must not see a difference."""
    import torch

    training = model.training
    with torch.random.fork_rng():
        try:
            if unsloth:
                _unsloth().for_inference(model)
            else:
                model.eval()
            yield
        finally:
            if unsloth:
                _unsloth().for_training(model)
                _drop_unsloth_cache(model)
            model.train(training)


def _unsloth() -> Any:
    from unsloth import FastLanguageModel

    return FastLanguageModel


def _drop_unsloth_cache(model: Any) -> None:
    """Unsloth leaves the keys and values of its last answer on the card (models/llama.py), which no budget counts."""
    for module in model.modules():
        for name in UNSLOTH_CACHE:
            if name in vars(module):
                delattr(module, name)
