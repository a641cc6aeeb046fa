"""Images in a rendered row: the token that a chat template writes for each becomes what the processor asks for."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from fitune.core.worker.chats.answers import Refusal, RenderedAnswer
from fitune.core.worker.chats.rows import RenderedRow, SeenImage


class RefusedImage(Exception):
    """An image that can't be shown to a model; `cure` says what to do."""

    def __init__(self, why: str, cure: str = "") -> None:
        super().__init__(why)
        self.cure = cure


class ImageTexts(Protocol):
    """What stands for images."""

    mark: str
    """In the content of a message."""
    token: str
    """In the text that a chat template writes."""

    def text_of(self, image: str) -> str:
        """What stands for an image. Raises RefusedImage."""


def with_image_texts(row: RenderedRow, images: Sequence[str], texts: ImageTexts) -> RenderedRow:
    """The row with the text of each image in the place of its token; images that stand behind its end are left out.

    Raises Refusal where the template does not write a token for each image, and RefusedImage.
    """
    token = texts.token
    written = sum(piece.text.count(token) for piece in row.pieces)
    if written > len(images) or not written:
        why = f"it writes {token} {written} times for {len(images)} images"
        raise Refusal(why, "Choose a model whose chat template shows images; no text may hold that token itself.")
    if any(token in piece.text for piece in row.pieces if piece.trained):
        raise Refusal(f"an answer holds {token}, which stands for an image", "Remove it.")
    seen = tuple(SeenImage(image, texts.text_of(image)) for image in images[:written])

    pieces, begin = [], 0
    for piece in row.pieces:
        pieces.append(replace(piece, text=_filled(piece.text, token, seen[begin:])))
        begin += piece.text.count(token)
    answers = tuple(_filled_answer(answer, token, seen) for answer in row.answers)
    return replace(row, pieces=tuple(pieces), answers=answers, images=seen)


def _filled(text: str, token: str, seen: Sequence[SeenImage]) -> str:
    first, *others = text.split(token)
    return first + "".join(image.text + part for image, part in zip(seen, others, strict=False))


def _filled_answer(answer: RenderedAnswer, token: str, seen: Sequence[SeenImage]) -> RenderedAnswer:
    """An answer behind a prompt with the texts of its images. No answer holds an image itself."""
    shown = answer.prompt.count(token)
    behind = _filled(answer.behind, token, seen[shown:])
    return replace(answer, prompt=_filled(answer.prompt, token, seen), behind=behind)
