"""From canonical rows to token ids and labels: what the model sees, and which tokens it is trained to write."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from core.errors import UserError

IGNORED = -100
"""The label that the loss leaves out."""
PLAIN_TEMPLATE = (
    "{% for m in messages %}### {{ m['role'] | capitalize }}:\n{{ m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}\n\n{% endfor %}"
    "{% if add_generation_prompt %}### Assistant:\n{% endif %}"
)
"""For a base model, which has no chat template of its own; saved with the adapter, so that chatting uses it too."""


@dataclass(slots=True)
class Rendered:
    """Rows as the trainer takes them, and what was lost on the way."""

    rows: list[dict[str, list[int]]] = field(default_factory=list)
    """Each {"input_ids": [...], "labels": [...]}, at most max_seq_length long."""
    cut: int = 0
    """Rows that lost their end at max_seq_length."""
    emptied: int = 0
    """Rows left out, because nothing to learn remained of them: their answer lay past the cut."""


def ensure_template(tokenizer: Any) -> bool:
    """Give a tokenizer without a chat template the plain one. True if it was needed."""
    if tokenizer.chat_template:
        return False
    tokenizer.chat_template = PLAIN_TEMPLATE
    return True


def render_all(rows: Iterable[dict[str, Any]], tokenizer: Any, max_seq_length: int, loss_on: str) -> Rendered:
    """Render rows, cut them to length, and count what that cost."""
    out = Rendered()
    for row in rows:
        ids, labels = render(row, tokenizer, loss_on)
        out.cut += len(ids) > max_seq_length
        ids, labels = ids[:max_seq_length], labels[:max_seq_length]
        if all(label == IGNORED for label in labels[1:]):  # the first token is predicted from nothing
            out.emptied += 1
        else:
            out.rows.append({"input_ids": ids, "labels": labels})
    return out


def render(row: dict[str, Any], tokenizer: Any, loss_on: str) -> tuple[list[int], list[int]]:
    """Token ids of a canonical row and, token by token, its label: the id itself where trained, IGNORED where not."""
    if "messages" in row:
        text, spans = _chat(row["messages"], tokenizer)
        # A chat template writes its own BOS.
        coded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids = list(coded["input_ids"])
        trained = [_touches(start, end, spans) for start, end in coded["offset_mapping"]]
    elif "prompt" in row:
        prompt = list(tokenizer(row["prompt"])["input_ids"])
        prompt = prompt[:-1] if prompt and prompt[-1] == tokenizer.eos_token_id else prompt
        completion = _ended(tokenizer(row["completion"], add_special_tokens=False)["input_ids"], tokenizer)
        ids, trained = prompt + completion, [False] * len(prompt) + [True] * len(completion)
    else:
        ids = _ended(tokenizer(row["text"])["input_ids"], tokenizer)
        trained = [True] * len(ids)
    if loss_on == "all":
        return ids, list(ids)
    return ids, [token if learn else IGNORED for token, learn in zip(ids, trained, strict=True)]


def _chat(messages: list[dict[str, Any]], tokenizer: Any) -> tuple[str, list[tuple[int, int]]]:
    """The conversation as text, and the character spans of its answers, each with the mark that ends it."""
    text = _template(tokenizer, messages)
    spans = []
    for turn, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before = _template(tokenizer, messages[:turn], add_generation_prompt=True) if turn else ""
        upto = _template(tokenizer, messages[: turn + 1])
        if not (text.startswith(upto) and upto.startswith(before)):
            if turn + 1 < len(messages):
                continue  # the template rewrites earlier answers: what it shows later is not what would be written
            raise UserError(
                "The model's chat template does not end a question where its answer begins.",
                'Train on whole conversations with data.loss_on = "all".',
            )
        # What follows the end mark (often a newline) belongs to the next turn; the model must not wait for it.
        spans.append((len(before), len(upto.rstrip())))
    return text, spans


def _template(tokenizer: Any, messages: list[dict[str, Any]], add_generation_prompt: bool = False) -> str:
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=add_generation_prompt))


def _touches(start: int, end: int, spans: list[tuple[int, int]]) -> bool:
    return any(start < last and end > first for first, last in spans)


def _ended(ids: list[int], tokenizer: Any) -> list[int]:
    """The ids with exactly one end-of-text mark, so that the model learns to stop."""
    ids = list(ids)
    while ids and ids[-1] == tokenizer.eos_token_id:
        ids.pop()
    return [*ids, tokenizer.eos_token_id]
