"""From canonical rows to token ids: what the model sees, and which tokens it is trained to write.

The same code renders for training and for the prepare job, so what was previewed is what is trained.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from jinja2.exceptions import TemplateError

from fitune.core.errors import UserError

IGNORED = -100
"""The label that the loss leaves out."""
BATCH_ROWS = 256
"""Rows tokenized in one call: enough to keep every core busy."""
MOST_CHARS = 1 << 23
"""In a row: some two million tokens, twice the longest model.max_seq_length. Those of 50 MB would fill the memory."""
PLAIN_TEMPLATE = (
    "{% for m in messages %}### {{ m['role'] | capitalize }}:\n{{ m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n\n' }}{% endfor %}"
    "{% if add_generation_prompt %}### Assistant:\n{% endif %}"
)
"""For a base model, which has no chat template of its own; saved with the adapter, so that chatting uses it too."""
Spans = list[tuple[int, int]]
"""Half-open ranges, in order."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Token ids of one row, and which of them the model is trained to write."""

    ids: list[int]
    spans: Spans
    """Ranges of `ids`, one for each answer. None begins at 0: the first token is predicted from nothing."""

    @property
    def labels(self) -> list[int]:
        """Token by token, the id where it is trained, IGNORED where not."""
        labels = [IGNORED] * len(self.ids)
        for first, end in self.spans:
            labels[first:end] = self.ids[first:end]
        return labels

    @property
    def first(self) -> int | None:
        """The first trained token; a row cut at or before it teaches nothing. None: nothing is trained anyway."""
        return self.spans[0][0] if self.spans else None


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that the chat template does not take, and what it said."""

    why: str


@dataclass(frozen=True, slots=True)
class Draft:
    """A row on its way to a Sample."""

    opening: str | None
    """Tokenized with the marks that the tokenizer itself puts at the start of a text; None: a template wrote them."""
    text: str
    """What follows it."""
    spans: Spans
    """The characters of `text` that are trained."""
    whole: bool = False
    """Whether all of it is trained instead."""
    ends: bool = True
    """Whether it ends with an answer, and so with a mark that the model learns to stop by."""


def text_part(processing: Any) -> Any:
    """The tokenizer inside the processor of a model that also sees or hears; a tokenizer is its own."""
    tokenizer = getattr(processing, "tokenizer", processing)
    tokenizer.chat_template = tokenizer.chat_template or processing.chat_template
    return tokenizer


def ensure_template(tokenizer: Any) -> bool:
    """Give a tokenizer without a chat template the plain one. True if it was needed."""
    if tokenizer.chat_template:
        return False
    starts_itself = tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id
    tokenizer.chat_template = ("{{ bos_token }}" if starts_itself else "") + PLAIN_TEMPLATE
    return True


def render(rows: Iterable[dict[str, Any]], tokenizer: Any, loss_on: str) -> Iterator[list[Sample] | Refused]:
    """What each canonical row becomes, in order: one sample as a rule.

    A chat becomes several where the template shows an earlier answer otherwise than the model has to write it (Qwen3
    drops its thinking): each such answer is then learnt at the end of the chat as it was when it was written.
    Raises UserError for a tokenizer that can't say where its tokens stand.
    """
    if not tokenizer.is_fast:
        raise UserError(
            "This model's tokenizer does not say where its tokens stand in the text.",
            "Choose a model whose repository has a tokenizer.json.",
        )
    waiting = iter(rows)
    while batch := list(islice(waiting, BATCH_ROWS)):
        drafts = [_short_enough(_drafts(row, tokenizer, loss_on == "all")) for row in batch]
        flat = [draft for each in drafts if not isinstance(each, Refused) for draft in each]
        samples = _tokenized(flat, tokenizer)
        for each in drafts:
            yield each if isinstance(each, Refused) else list(islice(samples, len(each)))


def _drafts(row: dict[str, Any], tokenizer: Any, whole: bool) -> list[Draft] | Refused:
    if "messages" in row:
        return _chat(row["messages"], row.get("tools"), tokenizer, whole)
    if "prompt" in row:
        answer = _unended(row["completion"], tokenizer)
        return [Draft(row["prompt"], answer, [(0, len(answer))], whole)]
    return [Draft(_unended(row["text"], tokenizer), "", [], whole=True)]


def _short_enough(made: list[Draft] | Refused) -> list[Draft] | Refused:
    chars = 0 if isinstance(made, Refused) else max(len(each.opening or "") + len(each.text) for each in made)
    if chars <= MOST_CHARS:
        return made
    return Refused(f"it has {chars:,} characters, and at most {MOST_CHARS:,} make a row")


def _unended(text: str, tokenizer: Any) -> str:
    """The text without end marks of its own: it gets exactly one."""
    while tokenizer.eos_token and (bare := text.rstrip()).endswith(tokenizer.eos_token):
        text = bare.removesuffix(tokenizer.eos_token)
    return text


def _chat(messages: list[dict[str, Any]], tools: Any, tokenizer: Any, whole: bool) -> list[Draft] | Refused:
    why = ""
    # Gemma's template refuses a system prompt, and Mistral's shows it only until the question is answered.
    for chat in (messages, _without_system(messages)):
        try:
            if whole:
                return [_all_of_it(chat, tools, tokenizer)]
            answers = {turn for turn, message in enumerate(chat) if message["role"] == "assistant"}
            return _answers(chat, tools, tokenizer, answers)
        except (TemplateError, TypeError, ValueError) as error:  # a template that adds to text what is none; odd tools
            why = why or f"the model's chat template refuses it: {error}"
    return Refused(why)


def _without_system(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A system prompt as the head of the first question, which is what such a model was taught with."""
    if [message["role"] for message in messages[:2]] != ["system", "user"]:
        return messages
    system, first, *rest = messages
    return [{**first, "content": f"{system['content']}\n\n{first['content']}"}, *rest]


def _all_of_it(messages: list[dict[str, Any]], tools: Any, tokenizer: Any) -> Draft:
    text = _template(tokenizer, messages, tools)
    _refuse_hidden(messages, text)
    if (
        messages[-1]["role"] == "assistant"
    ):  # what Qwen3 leaves out of earlier ones, a model does not see at work either
        _refuse_loss(messages[-1], text)
    return Draft(None, text, [], whole=True, ends=False)


def _answers(messages: list[dict[str, Any]], tools: Any, tokenizer: Any, wanted: Collection[int]) -> list[Draft]:
    """The chat with the wanted answers marked; then, for those that it does not show as written, shorter chats."""
    text = _template(tokenizer, messages, tools)
    _refuse_hidden(messages, text)
    spans: Spans = []
    missed = set()
    for turn in sorted(wanted):
        upto = text if turn + 1 == len(messages) else _template(tokenizer, messages[: turn + 1], tools)
        if not text.startswith(upto):  # Phi ends every text with its EOS: an answer within a chat has one mark fewer
            upto = upto.removesuffix(tokenizer.eos_token or "")
        if text.startswith(upto):
            # What follows the end mark (often a newline) belongs to the next turn; the model must not wait for it.
            begin, end = _begin(messages[: turn + 1], tools, tokenizer, upto), len(upto.rstrip())
            _refuse_loss(messages[turn], upto[begin:end])
            spans += [(begin, end)] if end > begin else []
        else:
            missed.add(turn)
    draft = Draft(None, text, spans, ends=messages[-1]["role"] == "assistant")
    return [draft, *(_answers(messages[: max(missed) + 1], tools, tokenizer, missed) if missed else [])]


def _refuse_loss(answer: dict[str, Any], written: str) -> None:
    """Raise TemplateError if a template that writes something of an answer leaves out a part of it: the model would
    learn to stop where a function is to be called (Llama 3, Phi), or not to think (DeepSeek-R1). Words before a call
    that it writes may go (Llama 3.1): at work the model is not to say them either."""
    parts = [_function(call) for call in answer.get("tool_calls") or ()]
    texts = [answer.get("reasoning_content", ""), answer.get("thinking", ""), "" if parts else answer["content"]]
    for text in texts:
        if text.strip() not in written:
            parts += re.findall(r"\w+", re.sub("</?think>", " ", text))
    if written and (lost := next((part for part in dict.fromkeys(parts) if part not in written), None)):
        raise TemplateError(f"it leaves out a part of an answer, such as {lost!r}")


def _function(call: Any) -> str:
    """The name of the function that is called; empty if it has none."""
    called = call.get("function", call) if isinstance(call, dict) else {}
    return str(called.get("name", "")) if isinstance(called, dict) else ""


def _refuse_hidden(messages: list[dict[str, Any]], text: str) -> None:
    """Raise TemplateError if the template shows nothing of what somebody else than the model says."""
    for role, content in ((message["role"], message["content"]) for message in messages):
        if role != "assistant" and content.strip() not in text:  # perhaps with its quotes and line ends escaped
            longest = max(re.findall(r"\w+", content), key=len, default="")
            if longest not in text:
                raise TemplateError(f"it shows nothing of a message of the role {role}")


def _begin(messages: list[dict[str, Any]], tools: Any, tokenizer: Any, upto: str) -> int:
    """Where the last message, an answer, begins in `upto`: behind all that stands there before the model writes."""
    *asked, answer = messages
    if not asked:
        return max(0, upto.find(answer["content"].strip()))
    before = _template(tokenizer, asked, tools, add_generation_prompt=True)
    if upto.startswith(before):
        return len(before)
    # A prompt that opens the thinking for the model (DeepSeek-R1) is longer than what stands before an answer without.
    common = next((n for n, (one, other) in enumerate(zip(before, upto, strict=False)) if one != other), len(upto))
    if common < len(_template(tokenizer, asked, tools).removesuffix(tokenizer.eos_token or "").rstrip()):
        raise TemplateError("it writes a question otherwise once it is answered")
    return common


def _template(tokenizer: Any, messages: list[dict[str, Any]], tools: Any, add_generation_prompt: bool = False) -> str:
    written = tokenizer.apply_chat_template(
        messages, tools=tools, tokenize=False, add_generation_prompt=add_generation_prompt
    )
    return str(written)


def _tokenized(drafts: Sequence[Draft], tokenizer: Any) -> Iterator[Sample]:
    if not drafts:
        return
    openings = _openings([draft.opening for draft in drafts if draft.opening is not None], tokenizer)
    # A chat template writes its own BOS.
    coded = tokenizer([draft.text for draft in drafts], add_special_tokens=False, verbose=False)
    # Not every added token: GLM's </tool_call> ends a call, but no program stops there.
    marks = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    marks.add(tokenizer.eos_token_id)
    for draft, encoding in zip(drafts, coded.encodings, strict=True):
        opening = next(openings) if draft.opening is not None else []
        ids = [*opening, *encoding.ids]
        spans = [(len(opening) + first, len(opening) + end) for first, end in _token_spans(encoding, draft.spans)]
        if draft.whole:
            spans = [(0, len(ids))]
        if draft.ends and spans:
            first, end = spans.pop()
            if tokenizer.eos_token_id is not None and (draft.opening is not None or ids[end - 1] not in marks):
                ids.insert(end, tokenizer.eos_token_id)
                end += 1
            spans.append((first, end))
        yield Sample(ids, [(max(1, first), end) for first, end in spans if end > max(1, first)])


def _openings(texts: list[str], tokenizer: Any) -> Iterator[list[int]]:
    """Token ids of texts that no template wrote: with one BOS where the tokenizer puts one, without its EOS."""
    if not texts:
        return
    usual = tokenizer("a")["input_ids"]
    begins, ends = usual[0] == tokenizer.bos_token_id, usual[-1] == tokenizer.eos_token_id
    for ids in tokenizer(texts, verbose=False)["input_ids"]:
        twice = begins and ids[:2] == [tokenizer.bos_token_id] * 2  # the text brought one, too
        yield ids[int(twice) : -1 if ends else None]


def _token_spans(encoding: Any, spans: Spans) -> Spans:
    """The tokens that touch these characters."""
    if not spans or not encoding.offsets:
        return []
    starts, ends = zip(*encoding.offsets, strict=True)
    return [(bisect_right(ends, first), bisect_left(starts, end)) for first, end in spans]
