"""Render canonical rows with the chat template to token ids, with the mask of the tokens that are trained.

The same code renders for training and for the prepare job, so the preview shows what is trained.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from jinja2.exceptions import TemplateError, TemplateSyntaxError

from fitune.core.errors import UserError
from fitune.core.worker.chats.cures import cure_of
from fitune.core.worker.chats.images import ImageTexts, RefusedImage, with_image_texts
from fitune.core.worker.chats.messages import unended
from fitune.core.worker.chats.rows import Piece, RenderedRow, render_chat
from fitune.core.worker.chats.template import REPAIR, ChatTemplate, PromptOptions, names_of, options_of, read
from fitune.core.worker.rows.tokenized import TokenizedRow, tokenize

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

Cut = Callable[[TokenizedRow], Iterable[TokenizedRow]]
"""Makes several rows of a long one."""


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that the chat template refuses, with its message."""

    why: str
    cure: str = field(default="", compare=False)
    """What to do about it, where that is known."""


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


def refuse_unknown_options(tokenizer: Any, options: PromptOptions) -> None:
    """Raise UserError for data.template_options that the tokenizer's chat template does not read."""
    if not options.template_options:
        return
    names = names_of(tokenizer)
    try:
        known_options = options_of(tokenizer)
    except TemplateSyntaxError as error:
        raise UserError(f"The model's chat template can't be read: {error}", REPAIR) from None
    for option, value in options.template_options.items():
        if option == "chat_template":
            if value not in names:
                known = f"Its chat templates are {', '.join(names)}." if names else "It has one: remove the option."
                raise UserError(f"data.template_options: the model has no chat template named {value}.", known)
        elif option not in known_options:
            known = f"It reads {', '.join(known_options)}." if known_options else "It reads none: remove it."
            raise UserError(f"data.template_options: the chat template does not read {option}.", known)


def render(
    rows: Iterable[dict[str, Any]],
    tokenizer: Any,
    loss_on: str,
    options: PromptOptions | None = None,
    cut: Cut | None = None,
    images: ImageTexts | None = None,
) -> Iterator[list[TokenizedRow] | RefusedRow]:
    """Render canonical rows, in order: each becomes one tokenized row as a rule.

    A chat becomes several where an earlier answer stands in the prompt of a later one in another form than the model
    has to write it (Qwen3 drops its thinking), or without an end mark (GLM): each such answer is then learned at the
    end of a chat that stops there. A row with a better and a worse answer becomes one of each. cut: makes several rows
    of one of plain text. images: of a model that sees; without it rows with images are refused.
    Raises UserError for a tokenizer without character offsets.
    """
    if not tokenizer.is_fast:
        raise UserError(
            "This model's tokenizer does not say where its tokens stand in the text.",
            "Choose a model whose repository has a tokenizer.json.",
        )
    template = read(tokenizer, options or PromptOptions())
    remaining = iter(rows)
    while batch := list(islice(remaining, BATCH_ROWS)):
        rendered = [_short_enough(_rendered(row, template, loss_on == "all", images)) for row in batch]
        all_rows = [row for rows in rendered if not isinstance(rows, RefusedRow) for row in rows]
        tokenized = tokenize(all_rows, template)
        for row, made in zip(batch, rendered, strict=True):
            if isinstance(made, RefusedRow):
                yield made
                continue
            found = [each for _ in made for each in next(tokenized)]
            yield [part for each in found for part in cut(each)] if cut and "text" in row else found


def _rendered(
    row: dict[str, Any], template: ChatTemplate, whole: bool, images: ImageTexts | None = None
) -> list[RenderedRow] | RefusedRow:
    if "images" in row:
        return _with_images(row, template, whole, images)
    if "rejected" in row:
        return _with_rejected(row, template)
    if "messages" in row:
        try:
            return render_chat(row["messages"], row.get("tools"), template, whole)
        except TemplateError as error:
            return _refused(error, row, template)
    if "prompt" in row:
        answer = unended(row["completion"], template.tokenizer)
        return [RenderedRow((Piece(row["prompt"], whole), Piece(answer, True, ends=True)), bare=True)]
    return [RenderedRow((Piece(unended(row["text"], template.tokenizer), True, ends=True),), bare=True)]


def _with_images(
    row: dict[str, Any], template: ChatTemplate, whole: bool, images: ImageTexts | None
) -> list[RenderedRow] | RefusedRow:
    if images is None:
        return RefusedRow(
            "it holds images, and the model reads text only", "Choose a model that sees, or take the images out."
        )
    if whole:
        return RefusedRow("it holds images, and an image can't be learned", 'Set data.loss_on = "answers".')
    if "rejected" in row or "label" in row:
        return RefusedRow("it holds images, and compared answers are learned from text alone", 'Set objective = "sft".')
    seeing = replace(template, image_mark=images.mark)
    try:
        rows = render_chat(row["messages"], row.get("tools"), seeing, whole=False)
        return [with_image_texts(each, row["images"], images) for each in rows]
    except TemplateError as error:
        return _refused(error, row, template)
    except RefusedImage as error:
        return RefusedRow(str(error), error.cure)


def _refused(error: TemplateError, row: dict[str, Any], template: ChatTemplate) -> RefusedRow:
    cure = cure_of(error, row["messages"], row.get("tools"), template)
    return RefusedRow(f"the model's chat template refuses it: {error}", cure)


def _with_rejected(row: dict[str, Any], template: ChatTemplate) -> list[RenderedRow] | RefusedRow:
    """The two rows of a better and a worse answer."""
    better = {key: value for key, value in row.items() if key != "rejected"}
    if "messages" in row:
        worse = {**better, "messages": [*row["messages"][:-1], row["rejected"]]}
    else:
        worse = {**better, "completion": row["rejected"]}
    made: list[RenderedRow] = []
    for each in (better, worse):
        rendered = _rendered(each, template, whole=False)
        if isinstance(rendered, RefusedRow):
            return rendered
        made += rendered
    return made


def _short_enough(rows: list[RenderedRow] | RefusedRow) -> list[RenderedRow] | RefusedRow:
    longest = 0 if isinstance(rows, RefusedRow) else max(sum(len(each.text) for each in row.pieces) for row in rows)
    if longest <= MAX_CHARS:
        return rows
    return RefusedRow(f"it has {longest:,} characters, and at most {MAX_CHARS:,} make a row", "Split it.")
