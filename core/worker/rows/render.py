"""Render canonical rows with the chat template to token ids, with the mask of the tokens that are trained.

The same code renders for training and for the prepare job, so the preview shows what is trained.
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
"""The label that the loss ignores."""
BATCH_ROWS = 256
"""Rows tokenized in one call: enough to keep every core busy."""
MAX_CHARS = 1 << 23
"""Longest row: some two million tokens, twice the longest model.max_seq_length. A row of 50 MB would fill the
memory."""
PLAIN_TEMPLATE = (
    "{% for m in messages %}### {{ m['role'] | capitalize }}:\n{{ m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n\n' }}{% endfor %}"
    "{% if add_generation_prompt %}### Assistant:\n{% endif %}"
)
"""Chat template for a base model that has none of its own; saved with the adapter, so that chatting uses it too."""
Spans = list[tuple[int, int]]
"""Half-open ranges, in order."""


@dataclass(frozen=True, slots=True)
class TokenizedRow:
    """Token ids of one row, and the spans that are trained."""

    ids: list[int]
    spans: Spans
    """Ranges of `ids`, one for each answer. None begins at 0: the first token is predicted from nothing."""

    @property
    def labels(self) -> list[int]:
        """For each token its id if it is trained, else IGNORED."""
        labels = [IGNORED] * len(self.ids)
        for first, end in self.spans:
            labels[first:end] = self.ids[first:end]
        return labels

    @property
    def first(self) -> int | None:
        """Position of the first trained token; a row truncated at or before it trains nothing. None: nothing is
        trained anyway."""
        return self.spans[0][0] if self.spans else None


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that the chat template refuses, with its message."""

    why: str


@dataclass(frozen=True, slots=True)
class RenderedText:
    """The text of a row before it is tokenized."""

    opening: str | None
    """Text that is tokenized with the tokenizer's own BOS; None: the chat template has written it."""
    text: str
    """The text after the opening."""
    spans: Spans
    """The ranges of characters in `text` that are trained."""
    whole: bool = False
    """True if the whole row is trained."""
    ends: bool = True
    """True if it ends with an answer, and so with the end token at which the model learns to stop."""


def text_part(processing: Any) -> Any:
    """The tokenizer inside the processor of a multimodal model; a tokenizer is returned as it is."""
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


def render(rows: Iterable[dict[str, Any]], tokenizer: Any, loss_on: str) -> Iterator[list[TokenizedRow] | RefusedRow]:
    """Render canonical rows, in order: each becomes one tokenized row as a rule.

    A chat becomes several where the template shows an earlier answer in another form than the model has to write it
    (Qwen3 drops its thinking): each such answer is then trained at the end of a chat that stops there.
    Raises UserError for a tokenizer without character offsets.
    """
    if not tokenizer.is_fast:
        raise UserError(
            "This model's tokenizer does not say where its tokens stand in the text.",
            "Choose a model whose repository has a tokenizer.json.",
        )
    remaining = iter(rows)
    while batch := list(islice(remaining, BATCH_ROWS)):
        rendered = [_short_enough(_texts(row, tokenizer, loss_on == "all")) for row in batch]
        all_texts = [text for texts in rendered if not isinstance(texts, RefusedRow) for text in texts]
        tokenized = _tokenized(all_texts, tokenizer)
        for texts in rendered:
            yield texts if isinstance(texts, RefusedRow) else list(islice(tokenized, len(texts)))


def _texts(row: dict[str, Any], tokenizer: Any, whole: bool) -> list[RenderedText] | RefusedRow:
    if "messages" in row:
        return _chat(row["messages"], row.get("tools"), tokenizer, whole)
    if "prompt" in row:
        answer = _unended(row["completion"], tokenizer)
        return [RenderedText(row["prompt"], answer, [(0, len(answer))], whole)]
    return [RenderedText(_unended(row["text"], tokenizer), "", [], whole=True)]


def _short_enough(texts: list[RenderedText] | RefusedRow) -> list[RenderedText] | RefusedRow:
    longest = 0 if isinstance(texts, RefusedRow) else max(len(text.opening or "") + len(text.text) for text in texts)
    if longest <= MAX_CHARS:
        return texts
    return RefusedRow(f"it has {longest:,} characters, and at most {MAX_CHARS:,} make a row")


def _unended(text: str, tokenizer: Any) -> str:
    """The text without EOS tokens of its own: exactly one is added later."""
    while tokenizer.eos_token and (bare := text.rstrip()).endswith(tokenizer.eos_token):
        text = bare.removesuffix(tokenizer.eos_token)
    return text


def _chat(messages: list[dict[str, Any]], tools: Any, tokenizer: Any, whole: bool) -> list[RenderedText] | RefusedRow:
    why = ""
    # Gemma's template refuses a system prompt; Mistral's shows it only until the question is answered.
    for chat in (messages, _without_system(messages)):
        try:
            answers = {turn for turn, message in enumerate(chat) if message["role"] == "assistant"}
            learned = {turn for turn in answers if chat[turn].get("train") is not False}  # marked in the data
            chat = [{key: value for key, value in message.items() if key != "train"} for message in chat]
            if whole and learned == answers:
                return [_whole_chat(chat, tools, tokenizer)]
            return _answers(chat, tools, tokenizer, learned)
        except (TemplateError, TypeError, ValueError) as error:  # a template that adds None to text; odd tools
            why = why or f"the model's chat template refuses it: {error}"
    return RefusedRow(why)


def _without_system(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with the system prompt at the head of the first question: models without the role are trained so."""
    if [message["role"] for message in messages[:2]] != ["system", "user"]:
        return messages
    system, first, *rest = messages
    return [{**first, "content": f"{system['content']}\n\n{first['content']}"}, *rest]


def _whole_chat(messages: list[dict[str, Any]], tools: Any, tokenizer: Any) -> RenderedText:
    rendered = _template(tokenizer, messages, tools)
    _refuse_hidden(messages, rendered)
    _refuse_hidden_tools(messages, tools, tokenizer, rendered)
    if (
        messages[-1]["role"] == "assistant"
    ):  # what Qwen3 leaves out of earlier ones, a model does not see at work either
        _refuse_loss(messages[-1], rendered)
    return RenderedText(None, rendered, [], whole=True, ends=False)


def _answers(messages: list[dict[str, Any]], tools: Any, tokenizer: Any, turns: Collection[int]) -> list[RenderedText]:
    """The chat with the spans of these turns' answers; then shorter chats for answers it does not show as written."""
    text = _template(tokenizer, messages, tools)
    _refuse_hidden(messages, text)
    _refuse_hidden_tools(messages, tools, tokenizer, text)
    spans: Spans = []
    missing_turns = set()
    for turn in sorted(turns):
        prefix = text if turn + 1 == len(messages) else _template(tokenizer, messages[: turn + 1], tools)
        if not text.startswith(prefix):  # Phi ends every text with its EOS: an answer within a chat has one mark fewer
            prefix = prefix.removesuffix(tokenizer.eos_token or "")
        if text.startswith(prefix):
            # What follows the end mark (often a newline) belongs to the next turn; the model must not wait for it.
            begin, end = _begin(messages[: turn + 1], tools, tokenizer, prefix), len(prefix.rstrip())
            _refuse_loss(messages[turn], prefix[begin:end])
            spans += [(begin, end)] if end > begin else []
        else:
            missing_turns.add(turn)
    rendered = RenderedText(None, text, spans, ends=len(messages) - 1 in turns)
    return [
        rendered,
        *(_answers(messages[: max(missing_turns) + 1], tools, tokenizer, missing_turns) if missing_turns else []),
    ]


def _refuse_loss(answer: dict[str, Any], rendered: str) -> None:
    """Raise TemplateError if a template writes only a part of an answer: the model would learn to stop where a function
    is to be called (Llama 3, Phi), or not to think (DeepSeek-R1). Words before a function call may be left out (Llama
    3.1): the model is not to write them in use either."""
    required = [_function(call) for call in answer.get("tool_calls") or ()]
    texts = [answer.get("reasoning_content", ""), answer.get("thinking", ""), "" if required else answer["content"]]
    for text in texts:
        if text.strip() not in rendered:
            required += re.findall(r"\w+", re.sub("</?think>", " ", text))
    if rendered and (missing := next((part for part in dict.fromkeys(required) if part not in rendered), None)):
        raise TemplateError(f"it leaves out a part of an answer, such as {missing!r}")


def _function(call: Any) -> str:
    """The name of the called function; empty if it has none."""
    function = call.get("function", call) if isinstance(call, dict) else {}
    return str(function.get("name", "")) if isinstance(function, dict) else ""


def _refuse_hidden(messages: list[dict[str, Any]], text: str) -> None:
    """Raise TemplateError if the template shows nothing of a message that is not an answer."""
    for role, content in ((message["role"], message["content"]) for message in messages):
        if role != "assistant" and content.strip() not in text:  # perhaps with its quotes and line ends escaped
            longest = max(re.findall(r"\w+", content), key=len, default="")
            if longest not in text:
                raise TemplateError(f"it shows nothing of a message of the role {role}")


def _refuse_hidden_tools(messages: list[dict[str, Any]], tools: Any, tokenizer: Any, rendered: str) -> None:
    """Raise TemplateError if functions are called which the template does not list for the model."""
    called = any(message.get("tool_calls") for message in messages)
    if called and tools and _template(tokenizer, messages, None) == rendered:
        raise TemplateError("it shows nothing of the functions that may be called")


def _begin(messages: list[dict[str, Any]], tools: Any, tokenizer: Any, prefix: str) -> int:
    """The position in `prefix` at which the last message, an answer, begins: after the generation prompt."""
    *question, answer = messages
    if not question:
        return max(0, prefix.find(answer["content"].strip()))
    prompt = _template(tokenizer, question, tools, add_generation_prompt=True)
    if prefix.startswith(prompt):
        return len(prompt)
    # A prompt that opens the thinking for the model (DeepSeek-R1) is longer than the text before an answer without it.
    common = next((n for n, (one, other) in enumerate(zip(prompt, prefix, strict=False)) if one != other), len(prefix))
    if common < len(_template(tokenizer, question, tools).removesuffix(tokenizer.eos_token or "").rstrip()):
        raise TemplateError("it writes a question otherwise once it is answered")
    return common


def _template(tokenizer: Any, messages: list[dict[str, Any]], tools: Any, add_generation_prompt: bool = False) -> str:
    rendered = tokenizer.apply_chat_template(
        messages, tools=tools, tokenize=False, add_generation_prompt=add_generation_prompt
    )
    return str(rendered)


def _tokenized(texts: Sequence[RenderedText], tokenizer: Any) -> Iterator[TokenizedRow]:
    if not texts:
        return
    openings = _openings([text.opening for text in texts if text.opening is not None], tokenizer)
    # A chat template writes its own BOS.
    encoded = tokenizer([text.text for text in texts], add_special_tokens=False, verbose=False)
    # Only special tokens: GLM's </tool_call> ends a call, but no program stops generating there.
    end_ids = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    end_ids.add(tokenizer.eos_token_id)
    for text, encoding in zip(texts, encoded.encodings, strict=True):
        opening = next(openings) if text.opening is not None else []
        ids = [*opening, *encoding.ids]
        spans = [(len(opening) + first, len(opening) + end) for first, end in _token_spans(encoding, text.spans)]
        if text.whole:
            spans = [(0, len(ids))]
        if text.ends and spans:
            first, end = spans.pop()
            if tokenizer.eos_token_id is not None and (text.opening is not None or ids[end - 1] not in end_ids):
                ids.insert(end, tokenizer.eos_token_id)
                end += 1
            spans.append((first, end))
        yield TokenizedRow(ids, [(max(1, first), end) for first, end in spans if end > max(1, first)])


def _openings(texts: list[str], tokenizer: Any) -> Iterator[list[int]]:
    """Token ids of texts without a chat template: with one BOS if the tokenizer adds one, without its EOS."""
    if not texts:
        return
    sample = tokenizer("a")["input_ids"]
    begins, ends = sample[0] == tokenizer.bos_token_id, sample[-1] == tokenizer.eos_token_id
    for ids in tokenizer(texts, verbose=False)["input_ids"]:
        has_two_bos = begins and ids[:2] == [tokenizer.bos_token_id] * 2  # the text brought one, too
        yield ids[int(has_two_bos) : -1 if ends else None]


def _token_spans(encoding: Any, spans: Spans) -> Spans:
    """The ranges of tokens that overlap these ranges of characters."""
    if not spans or not encoding.offsets:
        return []
    starts, ends = zip(*encoding.offsets, strict=True)
    return [(bisect_right(ends, first), bisect_left(starts, end)) for first, end in spans]
