"""The places of images in a chat: each is marked in the text of a turn, and stands in `images` of the row, in order."""

from typing import Any

from fitune.core.data.images.references import reference, references
from fitune.core.data.values import Row, Skip, cell

MARK = "<image>"
"""Stands for an image in the text of a turn, as LLaMA-Factory, ms-swift and LLaVA write it."""
KEPT_IN = ("image", "image_url", "inlineData", "inline_data")
"""Keys of a part of a turn that may hold an image."""


def image_of_part(part: Row) -> str | None:
    """The image of a part of a turn that is one; None for a bare {"type": "image"}: it stands in a column of the row.
    Raises Skip."""
    found = next((part[key] for key in (*KEPT_IN, "source", "url", "path", "data", "content") if part.get(key)), None)
    return None if found is None else reference(found)


def with_images(chat: Row, raw: Row, column: str | None) -> Row:
    """A canonical chat whose images stand in the row: those of its turns' parts, and those of a column of the raw row.

    Where no turn marks a place, the images of the column stand before the first question. Raises Skip where marks and
    images are not as many.
    """
    if column is None and not any("images" in message for message in chat["messages"]):
        return chat
    given = references(cell(raw, column)) if column else []
    messages, wanted = _marked(chat["messages"])
    if given and not wanted:
        first = next((place for place, each in enumerate(messages) if each["role"] == "user"), None)
        if first is None:
            messages.insert(messages[0]["role"] == "system", {"role": "user", "content": MARK * len(given)})
        else:
            messages[first] = {**messages[first], "content": MARK * len(given) + messages[first]["content"]}
        wanted = [None] * len(given)
    missing = wanted.count(None)
    if missing != len(given):
        raise Skip("image_count", f"marks {missing} places for images, and has {len(given)}.")
    rest = iter(given)
    images = [next(rest) if each is None else each for each in wanted]
    return {**chat, "messages": messages, **({"images": images} if images else {})}


def images_before_answer(row: Row) -> list[str]:
    """The images that stand before the first answer of a canonical chat."""
    turns = row.get("messages", [])
    first = next((place for place, turn in enumerate(turns) if turn["role"] == "assistant"), len(turns))
    images: list[str] = row.get("images", [])
    return images[: sum(turn["content"].count(MARK) for turn in turns[:first])]


def _marked(messages: list[Row]) -> tuple[list[Row], list[str | None]]:
    """The messages without images of their own, and an entry for each mark: its image, or None where that stands in a
    column."""
    plain, wanted = list[Row](), list[str | None]()
    for message in messages:
        own: list[Any] = message.get("images", [])
        if message["role"] == "assistant":
            if own:
                raise Skip("image_answer", "an answer holds an image.")
            plain.append(message)
            continue
        marks = message["content"].count(MARK)
        if own and len(own) != marks:
            raise Skip("image_count", f"a turn marks {marks} places for images, and has {len(own)}.")
        wanted += own or [None] * marks
        plain.append({key: value for key, value in message.items() if key != "images"} if own else message)
    return plain, wanted
