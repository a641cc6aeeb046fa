"""One answer of a model: the question rendered as in training, the text generated, and the reason of its end."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from jinja2.exceptions import TemplateError

from fitune.core.data.images.chats import images_before_answer
from fitune.core.errors import UserError
from fitune.core.jobs.messages.chat import Ended, Question
from fitune.core.worker.chats.images import RefusedImage, with_image_texts
from fitune.core.worker.chats.rows import Piece, RenderedRow, render_prompt
from fitune.core.worker.chats.template import PromptOptions, read
from fitune.core.worker.images.look import Look
from fitune.core.worker.images.processor import ImageProcessor
from fitune.core.worker.rows.render import RefusedRow, render

PLAIN_START_WORDS = 60
PLACEHOLDER = "Hello"
"""Stands for the text behind a bare question."""
UNSLOTH_CACHE = ("paged_attention", "paged_attention_K", "paged_attention_V")


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer that a model wrote."""

    text: str
    tokens: int
    ended: Ended
    """The reason of its end: a stop token of the model, else its length, the clock, or the user."""
    elapsed_s: float


def question(row: dict[str, Any]) -> Question | None:
    """The question in a canonical row; None for a chat that has no answer, or begins with one."""
    if "prompt" in row:
        return Question(row["prompt"], None, row["prompt"], row["completion"])
    if "text" in row:
        words = row["text"].split()
        start = " ".join(words[: max(1, len(words) // 4)][:PLAIN_START_WORDS])
        return Question(start, None, start, row["text"][len(start) :].strip())
    turns = row["messages"]
    first = next((number for number, turn in enumerate(turns) if turn["role"] == "assistant"), 0)
    if not first:
        return None
    shown, reference = (str(turn.get("content") or "") for turn in turns[first - 1 : first + 1])
    return Question(turns[:first], row.get("tools"), shown, reference, tuple(images_before_answer(row)))


def prompt_ids(
    asked: list[dict[str, Any]] | str,
    tools: Any,
    tokenizer: Any,
    options: PromptOptions | None = None,
    shown: Sequence[str] = (),
    images: ImageProcessor | None = None,
) -> list[int]:
    """The tokens of the prompt with which every program asks. asked: turns of a chat, or a bare text.

    options: of the run's recipe. shown: the images that the turns mark; images: of a model that sees. Raises UserError
    if the chat template refuses it, or an image can't be shown.
    """
    if isinstance(asked, str):
        return row_prompt_ids({"prompt": asked, "completion": PLACEHOLDER}, tokenizer)
    template = read(tokenizer, options or PromptOptions())
    try:
        if images and shown:
            prompt = render_prompt(asked, tools, replace(template, image_mark=images.mark))
            row = with_image_texts(RenderedRow((Piece(prompt, trained=False),)), shown, images)
            prompt = row.pieces[0].text
        else:
            prompt = render_prompt(asked, tools, template)
    except RefusedImage as error:
        raise UserError(f"This can't be asked: {error}") from None
    except TemplateError as error:
        raise UserError(f"This can't be asked: the model's chat template refuses it: {error}") from None
    return list(tokenizer(prompt, add_special_tokens=False)["input_ids"])


def row_prompt_ids(
    row: dict[str, Any],
    tokenizer: Any,
    options: PromptOptions | None = None,
    images: ImageProcessor | None = None,
) -> list[int]:
    """The tokens before the first answer of a canonical row, as it is trained. images: of a model that sees.

    In a model that thinks, an answer without thoughts is trained behind a prompt that lets it answer at once. Raises
    UserError if the chat template refuses the row.
    """
    if "messages" in row:
        turns = row["messages"]
        first = next(number for number, turn in enumerate(turns) if turn["role"] == "assistant")
        answer = {key: value for key, value in turns[first].items() if key != "train"}
        row = {**row, "messages": [*turns[:first], answer]}
    rendered = next(render([row], tokenizer, "answers", options, images=images))
    if isinstance(rendered, RefusedRow):
        raise UserError(f"This can't be asked: {rendered.why}")
    return rendered[-1].ids[: rendered[-1].first]


def answer(
    model: Any,
    tokenizer: Any,
    ids: list[int],
    stops: list[int],
    max_tokens: int,
    max_s: float | None = None,
    look: Look | None = None,
    temperature: float = 0.0,
    streamer: Any = None,
    halted: Callable[[], bool] = lambda: False,
) -> Answer:
    """Generate an answer after `ids`: greedy at a temperature of 0, else sampled.

    stops: tokens that end an answer. look: at the images of the prompt. streamer: transformers' BaseStreamer. halted:
    called after each token; true ends the answer.
    """
    import torch

    began = time.monotonic()
    prompt = torch.tensor([ids], device=model.device)
    sampling = {"do_sample": True, "temperature": temperature} if temperature else {"do_sample": False}
    out = model.generate(
        input_ids=prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=max_tokens,
        max_time=max_s,
        eos_token_id=stops,
        pad_token_id=stops[0] if stops else 0,
        use_cache=True,
        streamer=streamer,
        **(look([0], prompt) if look else {}),
        stopping_criteria=[lambda ids, scores, **_: torch.full((1,), halted(), device=ids.device)],
        **sampling,
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
    """Set a model in training to answer, and back after the block, so that the next step is not changed by it."""
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
    """Free the keys and values of the last answer, which Unsloth leaves on the card (models/llama.py)."""
    for module in model.modules():
        for name in UNSLOTH_CACHE:
            if name in vars(module):
                delattr(module, name)
