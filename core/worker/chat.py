"""`python -m core.worker.chat RUN`: a trained model to talk with, as the child of whoever talks.

The messages of core.jobs.chat_messages on two pipes; nothing is written into the events of the run. A request is
answered side by side; the end of the input ends this process.
"""

import os
import queue
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from fitune.core.data import dataset, eval_fraction
from fitune.core.data.split import split
from fitune.core.diagnose import Failure, diagnose, redact
from fitune.core.errors import UserError
from fitune.core.jobs.chat_messages import (
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
from fitune.core.worker import models
from fitune.core.worker.training import backends

QUESTIONS = 5
ROWS_LOOKED_AT = 64


class Pipe(EventLog):
    """The way of messages to the chat, and of events, which go into no log here."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, data: EventData | Message) -> None:
        os.write(self._fd, to_line(data))


@dataclass(frozen=True, slots=True)
class Talker:
    """A model in memory, with what it takes to ask it."""

    model: Any
    biases: list[tuple[Any, Any]]
    """Each bias that came with the adapter, and the base's own: PEFT leaves it in when the adapter is off."""
    tokenizer: Any
    stops: list[int]
    pipe: Pipe
    halted: threading.Event

    def reply(self, request: Request) -> None:
        """Answer on each side, the base first: it is the same model with its adapter switched off."""
        for side in SIDES:
            with self._as_base() if side == "base" else nullcontext():
                self._answer(side, request)
            if self.halted.is_set():
                break
        self.pipe.write(Done())

    @contextmanager
    def _as_base(self) -> Iterator[None]:
        trained = [bias.data for bias, _ in self.biases]
        for bias, own in self.biases:
            bias.data = own
        try:
            with self.model.disable_adapter():
                yield
        finally:
            for (bias, _), kept in zip(self.biases, trained, strict=True):
                bias.data = kept

    def _answer(self, side: Side, request: Request) -> None:
        from fitune.core.worker.answers import answer, prompt_ids

        ids = prompt_ids(request.asked[side], request.tools, self.tokenizer)
        self._require_room(len(ids), request.max_tokens)
        found = answer(
            self.model,
            self.tokenizer,
            ids,
            self.stops,
            request.max_tokens,
            temperature=request.temperature,
            streamer=_streamer(self.tokenizer, lambda text: self.pipe.write(Text(side, text))),
            halted=self.halted.is_set,
        )
        self.pipe.write(Answered(side, found.text, found.tokens, found.ended, found.elapsed_s))

    def _require_room(self, asked_tokens: int, answer_tokens: int) -> None:
        most = getattr(self.model.config, "max_position_embeddings", None)
        if most and asked_tokens + answer_tokens > most:
            raise UserError(
                f"The conversation is {asked_tokens:,} tokens long; with an answer of up to {answer_tokens:,} that is "
                f"more than the {most:,} which the model takes.",
                "Start anew, or ask for a shorter answer with --max-tokens.",
            )


def main() -> int:
    """Load the model of the run named on the command line, and answer until the input ends. 1: it can't be loaded."""
    os.umask(0o077)
    pipe = Pipe(os.dup(1))
    os.dup2(2, 1)  # what libraries print must not come between the lines
    asked: queue.SimpleQueue[Request] = queue.SimpleQueue()
    halted = threading.Event()
    threading.Thread(target=_listen, args=(asked, halted), daemon=True).start()
    try:
        talker = load(Run(Path(sys.argv[1])), pipe, halted)
    except BaseException as error:
        failure, hint = _diagnosed(error)
        pipe.write(Failed(kind=failure.kind, message=failure.message, hint=hint))
        return 1
    while True:
        try:
            talker.reply(asked.get())
        except Exception as error:
            failure, hint = _diagnosed(error)
            pipe.write(Refused(failure.kind, failure.message, hint))


def load(run: Run, pipe: Pipe, halted: threading.Event) -> Talker:
    """The base model with the adapter on it, stored as in the training, once; then say `ready`."""
    backends.prepare("trl")
    recipe = run.recipe()
    pipe.write(Phase(name="data"))
    questions = held_out(recipe, pipe)
    source = models.of_run(run, pipe)
    pipe.write(Phase(name="load", model=source.name))

    import torch
    from peft import PeftModel
    from transformers import AutoTokenizer

    from fitune.core.worker.stops import stop_ids

    base = backends.base_model(recipe, source, backends.compute_dtype())
    named = base.named_parameters() if recipe.lora.bias != "none" else ()
    biases = [(bias, bias.detach().clone()) for name, bias in named if name.endswith("bias")]
    model = PeftModel.from_pretrained(base, run.adapter).eval()
    tokenizer = AutoTokenizer.from_pretrained(run.adapter, trust_remote_code=recipe.model.trust_remote_code)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    pipe.write(Ready(device, source.name, tuple(questions)))
    return Talker(model, biases, tokenizer, stop_ids(tokenizer, source.path), pipe, halted)


def held_out(recipe: Recipe, pipe: Pipe) -> list[Question]:
    """Some rows that were held out, or else trained on, as questions; a warning where the data can't be read."""
    from fitune.core.worker.answers import question

    try:
        rows = list(dataset.rows(recipe.data))
    except UserError as error:
        pipe.write(Warned(kind="data", message=f"There are no questions from your data: {error}"))
        return []
    trained, aside = split(rows, eval_fraction(recipe, len(rows)), recipe.train.seed)
    found = [question(rows[place]) for place in (aside or trained)[:ROWS_LOOKED_AT]]
    different = {each.shown: each for each in found if each is not None}
    return list(different.values())[:QUESTIONS]


def _streamer(tokenizer: Any, tell: Any) -> Any:
    from transformers import TextStreamer

    class Words(TextStreamer):
        """Tells whole words as they come."""

        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            if text:
                tell(text)

    return Words(tokenizer, skip_prompt=True, skip_special_tokens=True)


def _listen(asked: "queue.SimpleQueue[Request]", halted: threading.Event) -> None:
    """Take what comes in. When whoever talks has gone, however that went, this process is of no use."""
    for line in sys.stdin.buffer:
        message = orjson.loads(line)
        if message.get("stop"):
            halted.set()
        else:
            halted.clear()
            asked.put(from_json(Request, message))
    os._exit(0)


def _diagnosed(error: BaseException) -> tuple[Failure, str]:
    """An error as a failure, and what to do about it in a chat. Its traceback goes to the log."""
    print(redact(traceback.format_exc()), file=sys.stderr, flush=True)
    failure = diagnose(error, "chat")
    if failure.kind == "oom":
        return failure, "Close what else uses this memory, or start anew and ask for shorter answers with --max-tokens."
    return failure, failure.hint


if __name__ == "__main__":
    sys.exit(main())
