"""Talking with a trained model. What has it in memory is a child of this process, and ends with it.

No run is touched: nothing is written but the child's chat.log, so nothing is lost when it dies.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from fitune.core.data import Skip
from fitune.core.data.images.chats import MARK
from fitune.core.data.images.files import size_of
from fitune.core.data.images.references import is_image
from fitune.core.errors import UserError
from fitune.core.jobs.messages.chat import SIDES, Asked, Message, Question, Request, Side, Turn, of_line
from fitune.core.runs import Failed, Run
from fitune.core.units import GIB

ANSWER_TOKENS = 512
SHOWN = re.compile(r'\s*@(?:"([^"]+)"|(\S+))\s*')
"""An image before a question."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings by which answers are written."""

    max_tokens: int = ANSWER_TOKENS
    temperature: float = 0.0
    """0 always takes the likeliest token, so that the two sides can be compared; above, chance has a say."""


@dataclass(slots=True)
class Conversation:
    """The questions and answers of each side: from the first answer on the two go apart."""

    questions: list[Question] = field(default_factory=list)
    said: dict[Side, list[Turn]] = field(default_factory=lambda: {side: [] for side in SIDES})
    tools: Any = None
    seen: dict[Side, tuple[str, ...]] = field(default_factory=dict)
    """The images in what was said."""
    _asked: dict[Side, list[Turn]] = field(default_factory=dict)
    """All messages, with the question that is being answered."""
    _shown: dict[Side, tuple[str, ...]] = field(default_factory=dict)
    """The images in them."""

    @property
    def is_chat(self) -> bool:
        """False if the training knew no turns: then each text is gone on with as it stands, by itself."""
        return not self.questions or not isinstance(self.questions[0].asked, str)

    @property
    def system(self) -> str:
        """The system prompt that all questions of the data share; the model was trained with it."""
        opening = [question.asked[0] for question in self.questions if isinstance(question.asked, list)]
        found = {str(turn["content"]) for turn in opening if turn["role"] == "system"}
        shared = len(found) == 1 and all(turn["role"] == "system" for turn in opening)
        return found.pop() if shared else ""

    def restart(self) -> None:
        """Forget what was said."""
        self.said = {side: [] for side in SIDES}
        self.seen = {}
        self.tools = None

    def ask(self, text: str) -> Asked:
        """A question for each side; one of the data begins a new conversation, as its row does. `@PATH` at its head
        shows an image. Raises UserError for one that can't be read."""
        text = text.encode(errors="replace").decode()  # lone surrogates, from a terminal that is not UTF-8
        if not self.is_chat:
            return Asked(dict.fromkeys(SIDES, text))
        ready = next((each for each in self.questions if each.shown == text), None)
        if ready is not None and isinstance(ready.asked, list):
            self._asked, self.tools = dict.fromkeys(SIDES, ready.asked), ready.tools
            self._shown = dict.fromkeys(SIDES, ready.images)
        else:
            shown, text = _images_before(text)
            self._shown = {side: (*self.seen.get(side, ()), *shown) for side in SIDES}
            text = MARK * len(shown) + text
            opening = [{"role": "system", "content": self.system}] if self.system else []
            question = {"role": "user", "content": text}
            self._asked = {side: [*(turns or opening), question] for side, turns in self.said.items()}
        return Asked({**self._asked}, self.tools, {side: shown for side, shown in self._shown.items() if shown})

    def answered(self, side: Side, text: str) -> None:
        """Remember a question with its answer: one that was not answered counts as never asked."""
        if self.is_chat:
            self.said[side] = [*self._asked[side], {"role": "assistant", "content": text}]
            self.seen[side] = self._shown[side]


def _images_before(text: str) -> tuple[tuple[str, ...], str]:
    """The images that a question shows by `@PATH` or `@"A PATH"` at its head, and the rest of it. Raises UserError for
    one that can't be read; what does not end as an image is text."""
    found = list[str]()
    while (named := SHOWN.match(text)) and is_image(path := named[1] or named[2]):
        path = os.path.abspath(os.path.expanduser(path))
        try:
            size_of(path)
        except Skip as skip:
            hint = "@PATH before a question shows an image; the path counts from this folder."
            raise UserError(f"{skip.text[0].upper()}{skip.text[1:]}", hint) from None
        found.append(path)
        text = text[named.end() :]
    return tuple(found), text


class Chat:
    """A model that can be asked: `ask` and `stop` from any thread, `heard` in one of them."""

    def __init__(self, run: Run, worker: "subprocess.Popen[bytes]") -> None:
        self.run, self._worker = run, worker

    def ask(self, asked: Asked, settings: Settings) -> None:
        """Ask what Conversation.ask made; one question at a time."""
        request = Request(asked.sides, asked.tools, settings.max_tokens, settings.temperature, asked.images)
        self._send(asdict(request))

    def stop(self) -> None:
        """End the answer that is being written; Done follows."""
        self._send({"stop": True})

    def heard(self) -> Iterator[Message]:
        """The messages of the model's process as they come, until it ends. If it was killed, Failed says so."""
        assert self._worker.stdout is not None
        failed = False
        for line in self._worker.stdout:
            yield (message := of_line(line))
            failed = failed or isinstance(message, Failed)
        code = self._worker.wait()
        if code and not failed:
            how = f"ended with status {code}."
            if code < 0:
                how = f"was ended by {signal.Signals(-code).name}: most often because the RAM ran out."
            said = f"The process with the model in it {how}"
            yield Failed(kind="killed", message=said, hint=f"See {self.run.path / 'chat.log'}")

    def close(self) -> None:
        """End the model's process, and all that it started, at once."""
        with suppress(ProcessLookupError):
            os.killpg(self._worker.pid, signal.SIGKILL)
        self._worker.wait()

    def __enter__(self) -> "Chat":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, message: Mapping[str, object]) -> None:
        assert self._worker.stdin is not None
        with suppress(BrokenPipeError):  # it has died: `heard` says so
            self._worker.stdin.write(orjson.dumps(message, option=orjson.OPT_APPEND_NEWLINE))
            self._worker.stdin.flush()


def start(run: Run, share_gpu: bool = False) -> Chat:
    """Start the process that loads a run's model with its adapter.

    share_gpu: although a training holds the card. Raises UserError without the training stack or an adapter, or where
    the card is held or memory is short.
    """
    from fitune.core.jobs.starting import refuse_busy_gpu
    from fitune.core.machine import host, require_training_stack

    require_training_stack()
    if not run.has_adapter():
        raise run.lacks_adapter()
    if not share_gpu:
        if run.trains():
            hint = f"Wait for its end (fitune watch {run.name}), or add --share-gpu."
            raise UserError(f"{run.name} is training ({run.held_by()}).", hint)
        refuse_busy_gpu(run)
    found = host.detect()
    planned = run.info().gpu
    gpu = next((each for each in found.gpus if planned and each.uuid == planned.uuid), None) or host.pick_gpu(
        found, None
    )
    _refuse_short_memory(run, gpu, found.ram_available_bytes)
    try:
        log = os.open(run.path / "chat.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        hint = "Free some disk space, or see who may write there."
        raise UserError(f"{run.path} can't be written to: {error.strerror}.", hint) from None
    try:
        worker = subprocess.Popen(
            _command(run),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": gpu.uuid if gpu else ""},
            start_new_session=True,  # Ctrl+C is for whoever talks
        )
    finally:
        os.close(log)
    return Chat(run, worker)


def _refuse_short_memory(run: Run, gpu: Any, ram_bytes: int | None) -> None:
    """Raise UserError if the weights alone are more than what is free; where a size is unknown, trying will tell."""
    from fitune.core.forecast import card_of

    card = card_of(gpu)
    free_bytes = card.free_bytes if card else ram_bytes
    needed_bytes = _needed_bytes(run, card)
    if free_bytes is None or needed_bytes is None or needed_bytes <= free_bytes:
        return
    place = f"{gpu.name} has" if card else "this machine has"
    raise UserError(
        f"Talking with it needs about {needed_bytes / GIB:.1f} GiB, and {place} {free_bytes / GIB:.1f} GiB free.",
        "Close what else uses that memory; or make a GGUF file (fitune merge, then fitune export): llama.cpp can keep "
        "parts of a model elsewhere.",
    )


def _needed_bytes(run: Run, card: Any) -> int | None:
    """The model with its adapter as plain transformers and peft hold it; None if its shape is not known."""
    from fitune.core.memory import budget, plan, shapes, weights

    recipe = run.recipe()
    recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"backend": "trl"})})
    try:
        made = plan.make_plan(shapes.load(recipe.model.id, recipe.model.revision), recipe, card, None)
    except UserError:
        return None
    terms = (
        weights.layers_term,
        weights.experts_term,
        weights.embeddings_term,
        weights.image_tower_term,
        weights.lora_term,
    )
    held = sum(term(made).bytes for term in terms)
    return held + (budget.CONTEXT_BYTES if card else budget.RUNTIME_CPU_BYTES)


def _command(run: Run) -> list[str]:
    # -P: as for the worker that trains.
    return [sys.executable, "-P", "-m", "fitune.core.worker.chat", str(run.path)]
