"""One line of text under the keys that a shell's line has. No widgets."""

from typing import NamedTuple


class Line(NamedTuple):
    """A text, and where the next character goes."""

    text: str
    cursor: int = 0
    selected: bool = False
    """The whole text is selected: the next character takes its place."""


def edited(line: Line, key: str, character: str | None = None) -> Line | None:
    """The line after a key, named as Textual names it; None for a key that edits nothing."""
    before, behind = line.text[: line.cursor], line.text[line.cursor :]
    match key:
        case "left":
            return Line(line.text, max(0, line.cursor - 1))
        case "right":
            return Line(line.text, min(len(line.text), line.cursor + 1))
        case "home" | "ctrl+a":
            return Line(line.text)
        case "end" | "ctrl+e":
            return Line(line.text, len(line.text))
        case "backspace" | "delete" | "ctrl+d" | "ctrl+u" | "ctrl+k" | "ctrl+w" if line.selected:
            return Line("")
        case "backspace":
            return Line(before[:-1] + behind, max(0, line.cursor - 1))
        case "delete" | "ctrl+d":
            return Line(before + behind[1:], line.cursor)
        case "ctrl+u":
            return Line(behind)
        case "ctrl+k":
            return Line(before, line.cursor)
        case "ctrl+w":
            kept = before.rstrip(" /-_.,")
            kept = kept[: max(kept.rfind(mark) for mark in " /-_.,") + 1]
            return Line(kept + behind, len(kept))
    return inserted(line, character) if character and character.isprintable() else None


def inserted(line: Line, text: str) -> Line:
    """The line with a text put in at the cursor, or in the place of what is selected."""
    if line.selected:
        return Line(text, len(text))
    return Line(line.text[: line.cursor] + text + line.text[line.cursor :], line.cursor + len(text))
