"""The column with the images of each row, and what else it may be that is no image."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fitune.core.data.images.references import is_image
from fitune.core.data.shapes.columns import Column
from fitune.core.data.shapes.kinds.objectives import COMPARED
from fitune.core.data.shapes.names import plain
from fitune.core.data.shapes.shape import Reading, Shape, as_toml
from fitune.core.errors import Problem

MAY_COME = ("image", "images")
"""A column of this name is read where the first rows have nothing in it: later ones may."""
NO_IMAGES = ("audio", "video", "clip", "sound", "wav", "frames")
"""Parts of the name of a column whose addresses are no images."""


def refused(table: Sequence[Column], best: Reading | None) -> Shape | None:
    """The reason why rows with media can't be learned: it is sound or a film, or it is not clear which image is meant.
    best: the reading of their text."""
    found = [column for column in table if "." not in column.name and _is_media(column)]
    others = [column for column in found if not _holds_images(column)]
    hint = (best.columns,) if best else ()
    names = ", ".join(column.name for column in others or found)
    without = (
        f"If the text makes sense without them, set data.columns = {as_toml(hint[0])}." if hint else "Remove them."
    )
    if others:
        text = "sound, video or other media belong to these rows, and the model would not see them."
        why = f"the column {names} holds media that are no images."
        return Shape("vision", {}, True, why, hint, (Problem(f"column {names}", text, without),))
    if len(found) > 1:
        text = "several columns hold images."
        one = as_toml({**(hint[0] if hint else {"answer": "YOUR_COLUMN"}), "images": found[0].name})
        fix = f"Say which one is meant: data.columns = {one}; or put the images of a row into one list."
        return Shape("vision", {}, True, f"the columns {names} hold images.", hint, (Problem("", text, fix),))
    return None


def with_images(shape: Shape, table: Sequence[Column]) -> Shape:
    """The shape with the column of the images, if there is one. Without a question the image is the question."""
    found = [column for column in table if "." not in column.name and _is_media(column)]
    empty = [column for column in table if column.name in MAY_COME and not column.values]
    column = next(iter(found or empty), None)
    if column is None or not shape.is_usable or "images" in shape.columns or (not found and "text" in shape.columns):
        return shape
    if shape.format in COMPARED:
        problem = Problem(f"column {column.name}", "rows with images are learned from good answers alone.",
                          'Set train.objective = "sft".')  # fmt: skip
        return replace(shape, problems=(*shape.problems, problem))
    columns = _as_chat(shape.columns, column.name)
    candidates = [_as_chat(each, column.name) for each in shape.candidates]
    candidates = [each for place, each in enumerate(candidates) if each not in candidates[:place]]
    fmt = "question_answer" if shape.format in ("text", "prompt_completion") else shape.format
    if shape.format == "text":
        why = f"{column.name} holds images, and {columns['answer']} is taken as what is to be said about each."
        return replace(shape, format=fmt, columns=columns, sure=False, why=why, candidates=(columns,))
    why = f"{shape.why} {column.name} holds the images." if found else shape.why
    if candidates == [columns] and shape.format == "prompt_completion":  # it was not clear if they are glued together
        return replace(shape, format=fmt, columns=columns, sure=True, why=why, candidates=())
    return replace(shape, format=fmt, columns=columns, why=why, candidates=tuple(candidates))


def _as_chat(columns: Mapping[str, str], images: str) -> Mapping[str, str]:
    """A mapping as it is where images belong to the rows: a chat template writes them."""
    roles = {"prompt": "question", "completion": "answer", "text": "answer"}
    return {**{roles.get(role, role): name for role, name in columns.items()}, "images": images}


def unnamed(table: Sequence[Column]) -> Shape | None:
    """Images beside which no column says what is to be learned of them; None where there are none."""
    found = [column for column in table if "." not in column.name and _is_media(column)]
    if not found:
        return None
    text = "holds images, and no column says in words what is to be learned of them."
    fix = (
        f"Name the column with the words: data.columns = {as_toml({'answer': 'YOUR_COLUMN', 'images': found[0].name})}."
    )
    problem = Problem(f"column {found[0].name}", text, fix)
    return Shape("vision", {}, True, f"the column {found[0].name} holds images.", (), (problem,))


def _is_media(column: Column) -> bool:
    """True if a column holds images or sound, or names files of them."""
    if column.kind == "media":
        return "note" not in column.roles or plain(column.name).startswith("file")
    return "media" in column.roles and column.kind in ("path", "object", "list")


def _holds_images(column: Column) -> bool:
    """True if the values look like images; addresses do, unless their column is named for sound or films."""
    if column.values and all(map(is_image, column.values)):
        return True
    names_others = any(word in plain(column.name) for word in NO_IMAGES)
    return "media" in column.roles and not names_others and column.kind in ("path", "media", "list")
