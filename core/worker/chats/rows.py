"""A chat as rows of text in pieces: as many answers in one row as can stand behind their own prompts there."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from jinja2.exceptions import TemplateError

from fitune.core.worker.chats.answers import Refusal, RenderedAnswer, leaves_words_out, refuse_hidden, render_answer
from fitune.core.worker.chats.messages import Form, forms
from fitune.core.worker.chats.surroundings import Message, common_start
from fitune.core.worker.chats.template import ChatTemplate

Note = Literal["system_moved", "tools_hidden", "words_hidden", "no_thoughts"]
"""What a user must know of a row: its system prompt stands in the first question; the template does not list the
functions that may be called, or leaves out the words before a call; a model that thinks learns an answer without
thoughts."""
Cut = tuple[int, int, bool]
"""A half-open range of a text, and whether it is trained."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a row's text. Each is tokenized by itself, as a model meets the ends of prompts and writes on."""

    text: str
    trained: bool
    ends: bool = False
    """True if the tokenizer's EOS is added: no mark of the template ends this answer."""


@dataclass(frozen=True, slots=True)
class SeenImage:
    """An image in a row."""

    image: str
    """Its path, or a data URL."""
    text: str
    """What stands for it in the row's text."""


@dataclass(frozen=True, slots=True)
class RenderedRow:
    """The text of a row."""

    pieces: tuple[Piece, ...]
    answers: tuple[RenderedAnswer, ...] = ()
    """The answers that are learned, in a chat."""
    notes: frozenset[Note] = frozenset()
    bare: bool = False
    """True if no chat template wrote it: it gets the tokenizer's own BOS."""
    images: tuple[SeenImage, ...] = ()
    """The images in its text, in order; perhaps more, which stood behind its end."""


def render_chat(messages: list[Message], tools: Any, template: ChatTemplate, whole: bool) -> list[RenderedRow]:
    """A chat as rows, in the first form that the template takes. whole: the questions are learned, too.

    Raises TemplateError if it takes none.
    """
    refusals: list[TemplateError] = []
    for form, written in forms(messages, template):
        try:
            return _rows_of(written, form, tools, template, whole)
        except TemplateError as error:
            refusals.append(error)
    raise _told(refusals)


def _told(refusals: Sequence[TemplateError]) -> TemplateError:
    """The first refusal that says what is lost, if any: others are about forms that need not be taken."""
    return next((each for each in refusals if isinstance(each, Refusal)), refusals[0])


def render_prompt(
    asked: list[Message], tools: Any, template: ChatTemplate, without_thinking: bool | None = None
) -> str:
    """The prompt with which a server asks for the next answer of a chat. Raises TemplateError.

    without_thinking: by the prompt that switches thinking off; None: as the recipe says.
    """
    without = template.options.thinking == "off" if without_thinking is None else without_thinking
    refusals: list[TemplateError] = []
    for _, written in forms(asked, template):
        try:
            prompt = template.prompt(written, tools, without)
            refuse_hidden(written, prompt, template.image_mark)
        except TemplateError as error:
            refusals.append(error)
        else:
            return prompt
    raise _told(refusals)


def _rows_of(messages: list[Message], form: Form, tools: Any, template: ChatTemplate, whole: bool) -> list[RenderedRow]:
    turns = [turn for turn, message in enumerate(messages) if message["role"] == "assistant"]
    learned = [turn for turn in turns if messages[turn].get("train") is not False]  # marked in the data
    chat = [{key: value for key, value in message.items() if key != "train"} for message in messages]
    answers = [render_answer(chat, turn, tools, template) for turn in learned]
    last = answers[-1]
    if last.turn + 1 < len(chat):
        text, told = template.text(chat, tools, last.no_thoughts), last.before + last.text
        answers[-1] = replace(last, behind=text.removeprefix(told) if text.startswith(told) else last.behind)
    notes: set[Note] = {"system_moved"} if form.system_in_question else set()
    if tools and last.prompt == template.prompt(chat[: last.turn], None, last.no_thoughts):
        notes.add("tools_hidden")
    if any(leaves_words_out(chat[each.turn], each.text) for each in answers):
        notes.add("words_hidden")
    return _joined(answers, chat, notes, template, whole and learned == turns)


def _joined(
    answers: Sequence[RenderedAnswer],
    chat: list[Message],
    notes: Collection[Note],
    template: ChatTemplate,
    whole: bool = False,
) -> list[RenderedRow]:
    """One row with the last answer, and all others that its prompt shows as they are written; further rows for those
    that it does not.

    whole: the questions of the first row are learned, too.
    """
    *earlier, last = answers
    shown = [found for answer in earlier if (found := _shown(answer, last, template))]
    hidden = [answer for answer in earlier if answer.turn not in {each.turn for each in shown}]
    cuts = [cut for answer in (*shown, last) for cut in _cuts(answer)]
    if whole:
        cuts += [_place(answer, last, chat) for answer in hidden]
    pieces = _pieces(last.before + last.text, cuts, whole)
    pieces[-1] = replace(pieces[-1], ends=not template.ends_itself(last.text))
    if last.behind:
        pieces.append(Piece(last.behind, whole))
    thoughtless: set[Note] = {"no_thoughts"} if any(answer.no_thoughts for answer in (*shown, last)) else set()
    row = RenderedRow(tuple(pieces), (*shown, last), frozenset(thoughtless.union(notes)))
    return [row, *(_joined(hidden, chat, notes, template) if hidden else [])]


def apart(row: RenderedRow, template: ChatTemplate) -> list[RenderedRow]:
    """Each answer of a row in a row of its own, at the end of what stands before it."""
    rows = (made for answer in row.answers for made in _joined([answer], [], row.notes, template))
    return [replace(made, images=row.images) for made in rows]


def _shown(answer: RenderedAnswer, last: RenderedAnswer, template: ChatTemplate) -> RenderedAnswer | None:
    """An earlier answer as the prompt of the last shows it; None if that differs from what the model has to write."""
    eos = template.tokenizer.eos_token or ""
    for text in (answer.text, answer.text.removesuffix(eos).rstrip()):  # Phi ends a text, not an answer, with its EOS
        if last.prompt.startswith(answer.before + text) and template.ends_itself(text):
            return replace(answer, text=text)
    return None


def _cuts(answer: RenderedAnswer) -> list[Cut]:
    prompt, before = len(answer.prompt), len(answer.before)
    return [(prompt, before, False), (before, before + len(answer.text), True)]


def _place(answer: RenderedAnswer, last: RenderedAnswer, chat: list[Message]) -> Cut:
    """The range of an earlier answer in the prompt of the last, where it stands in another form than it is written."""
    begin = len(common_start(answer.prompt, last.prompt))
    following = str(chat[answer.turn + 1]["content"] or "").strip()
    return begin, max(begin, last.prompt.find(following, begin)), False


def _pieces(text: str, cuts: Sequence[Cut], otherwise: bool) -> list[Piece]:
    """A text cut at these ranges, one piece at least. otherwise: whether the text between them is trained."""
    pieces, at = [], 0
    for begin, end, trained in sorted(cuts):
        pieces += [Piece(text[at:begin], otherwise), Piece(text[begin:end], trained)]
        at = end
    return [piece for piece in [*pieces, Piece(text[at:], otherwise)] if piece.text] or [Piece("", False)]
