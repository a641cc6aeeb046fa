"""`python -m fitune.core.worker.chat RUN`: load a trained model and answer questions; a child process of the chat.

It speaks the messages of core/jobs/chats/messages.py over stdin and stdout, and writes no events of the run. The base
model and the trained one answer each request. The end of the input ends this process.
"""

import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from fitune.core.data import dataset, eval_fraction
from fitune.core.data.split import split
from fitune.core.diagnose import Failure, diagnose, redact
from fitune.core.errors import UserError
from fitune.core.jobs.messages.chat import (
    SIDES,
    Answered,
    Done,
    Message,
    Question,
    Ready,
    Refused,
    Request,
    Side,
    Text,
    to_line,
)
from fitune.core.recipe import Recipe
from fitune.core.records import from_json
from fitune.core.runs import EventData, EventLog, Failed, Phase, Run, Warned
from fitune.core.worker import models, tuned_model
from fitune.core.worker.images import processor
from fitune.core.worker.images.look import look_at
from fitune.core.worker.images.processor import ImageProcessor
from fitune.core.worker.training import model_with_adapter
from fitune.core.worker.tuned_model import TunedModel

QUESTIONS = 5
CANDIDATE_ROWS = 64


class Pipe(EventLog):
    """Sends messages and events to the chat; no log keeps them."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, data: EventData | Message) -> None:
        os.write(self._fd, to_line(data))


@dataclass(frozen=True, slots=True)
class ChatModel:
    """A model in memory that answers requests."""

    tuned: TunedModel
    pipe: Pipe
    halted: threading.Event
    image_processor: Callable[[], ImageProcessor]
    """Loads it, once."""

    def reply(self, request: Request) -> None:
        """Answer on each side, the tuned one first: the base, the same model without its adapter, may ramble."""
        for side in reversed(SIDES):
            with self.tuned.as_base() if side == "base" else nullcontext():
                self._answer(side, request)
            if self.halted.is_set():
                break
        self.pipe.write(Done())

    def _answer(self, side: Side, request: Request) -> None:
        from fitune.core.worker.answers import answer, prompt_ids

        shown = request.images.get(side, ())
        seen = self.image_processor() if shown else None
        asked, tuned = request.asked[side], self.tuned
        ids = prompt_ids(asked, request.tools, tuned.tokenizer, tuned.options, shown, seen)
        self._require_room(len(ids), request.max_tokens)
        answered = answer(
            self.tuned.model,
            self.tuned.tokenizer,
            ids,
            self.tuned.stops,
            request.max_tokens,
            look=look_at(seen, [shown]),
            temperature=request.temperature,
            streamer=_streamer(self.tuned.tokenizer, lambda text: self.pipe.write(Text(side, text))),
            halted=self.halted.is_set,
        )
        self.pipe.write(Answered(side, answered.text, answered.tokens, answered.ended, answered.elapsed_s))

    def _require_room(self, asked_tokens: int, answer_tokens: int) -> None:
        most = getattr(self.tuned.model.config, "max_position_embeddings", None)
        if most and asked_tokens + answer_tokens > most:
            raise UserError(
                f"The conversation is {asked_tokens:,} tokens long; with an answer of up to {answer_tokens:,} that is "
                f"more than the {most:,} which the model takes.",
                "Start anew, or ask for a shorter answer with --max-tokens.",
            )


def main() -> int:
    """Load the model of the run on the command line, and answer until the input ends. Exit status 1: it can't load."""
    os.umask(0o077)
    pipe = Pipe(os.dup(1))
    os.dup2(2, 1)  # prints of libraries must not mix with the messages
    requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
    halted = threading.Event()
    threading.Thread(target=_listen, args=(requests, halted), daemon=True).start()
    try:
        model = load(Run(Path(sys.argv[1])), pipe, halted)
    except BaseException as error:
        failure, hint = _diagnosed(error)
        pipe.write(Failed(kind=failure.kind, message=failure.message, hint=hint))
        return 1
    while True:
        try:
            model.reply(requests.get())
        except Exception as error:
            failure, hint = _diagnosed(error)
            pipe.write(Refused(failure.kind, failure.message, hint))


def load(run: Run, pipe: Pipe, halted: threading.Event) -> ChatModel:
    """Load the base model, stored as in the training, with the adapter on it; then send `ready`."""
    model_with_adapter.prepare("trl")
    recipe = run.recipe()
    pipe.write(Phase(name="data"))
    questions = example_questions(recipe, pipe)
    source = models.of_run(run, pipe)
    pipe.write(Phase(name="load", model=source.name))

    import torch

    loaded = tuned_model.load(recipe, source, run.adapter)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    pipe.write(Ready(device, source.name, tuple(questions)))

    @cache
    def image_processor() -> ImageProcessor:
        return processor.load(source.path, recipe.data.image_pixels, recipe.model.trust_remote_code)

    return ChatModel(loaded, pipe, halted, image_processor)


def example_questions(recipe: Recipe, pipe: Pipe) -> list[Question]:
    """Some held-out rows, or else trained ones, as questions. If the data can't be read, a warning and none."""
    from fitune.core.worker.answers import question

    try:
        rows = list(dataset.rows(recipe.rows))
    except UserError as error:
        pipe.write(Warned(kind="data", message=f"There are no questions from your data: {error}"))
        return []
    trained, held_out = split(rows, eval_fraction(recipe, len(rows)), recipe.train.seed)
    questions = [question(rows[index]) for index in (held_out or trained)[:CANDIDATE_ROWS]]
    different = {item.shown: item for item in questions if item is not None}
    return list(different.values())[:QUESTIONS]


def _streamer(tokenizer: Any, send: Any) -> Any:
    from transformers import TextStreamer

    class Words(TextStreamer):
        """Sends whole words as they are generated."""

        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            if text:
                send(text)

    return Words(tokenizer, skip_prompt=True, skip_special_tokens=True)


def _listen(requests: "queue.SimpleQueue[Request]", halted: threading.Event) -> None:
    """Read requests and stops from stdin; end the process when the input ends, in whatever way the chat ended."""
    for line in sys.stdin.buffer:
        message = orjson.loads(line)
        if message.get("stop"):
            halted.set()
        else:
            halted.clear()
            requests.put(from_json(Request, message))
    os._exit(0)


def _diagnosed(error: BaseException) -> tuple[Failure, str]:
    """An error as a failure, with a next action for a chat. Its traceback goes to the log."""
    print(redact(traceback.format_exc()), file=sys.stderr, flush=True)
    failure = diagnose(error, "chat")
    if failure.kind == "oom":
        return failure, "Close what else uses this memory, or start anew and ask for shorter answers with --max-tokens."
    return failure, failure.hint


if __name__ == "__main__":
    sys.exit(main())
