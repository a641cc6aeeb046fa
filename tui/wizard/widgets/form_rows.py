"""The lines of a form before they are drawn: fields, their problems, and the headings of their groups."""

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size

from fitune.tui.wizard.draft import Origin
from fitune.tui.wizard.fields import Field
from fitune.tui.wizard.settings.groups import group_of
from fitune.tui.wizard.widgets.line_edit import Line


class Row(NamedTuple):
    """One line as it is drawn: a field, a part of the problem of the field above, or the heading of a group."""

    field: Field
    value: str = ""
    came_from: Origin = "default"
    line: Line | None = None
    """Of the field in hand, where it is typed."""
    in_hand: bool = False
    is_empty: bool = False
    """`value` is what the empty field stands for."""
    problem: str = ""
    title: str = ""
    about: str = ""
    """Of a heading: a sentence on the group."""


def heading(fields: Sequence[Field], at: int, columns: int) -> list[Row]:
    """The lines above a field with which a group begins, apart from the group before; none for the others.

    Title and sentence share a line where they have room in so many columns.
    """
    field = fields[at]
    group, before = group_of(field.name), group_of(fields[at - 1].name) if at else None
    if group is None or group is before:
        return []
    if len(group.title) + 2 + len(group.about) <= columns:
        lines = [Row(field, title=f"{group.title}  ", about=group.about)]
    else:
        about = textwrap.wrap(group.about, columns)
        lines = [Row(field, title=group.title), *(Row(field, about=line) for line in about)]
    return [Row(field, title=" "), *lines] if at else lines


def shortened(text: str, columns: int) -> str:
    """A value in so many columns: one that is too long goes without its owner or folder, and then has its end cut."""
    if cell_len(text) > columns:
        text = text.rpartition("/")[2] or text
    return text if cell_len(text) <= columns else set_cell_size(text, columns - 1).rstrip() + "…"
