"""Clean foreign text (model names, data rows, logs, paths, errors) before it goes to a terminal.

Terminals obey escape sequences and reorder bidirectional text, and Textual passes both on, even with markup off. So
every such text is cleaned here first. Data on disk stays as it is: this is for display only.
"""

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textual.content import Content

LIMIT_CHARS = 2000
_HARMFUL = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # C0 with ESC, DEL, C1 with the one-byte CSI
    "\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0"  # soft hyphen, joiners and fillers: invisible
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # zero width, line separators, bidi controls
    "\ud800-\udfff"  # lone surrogates, as in paths that are not UTF-8: they can't be written at all
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff"  # musical format controls, tag characters, variation selectors
    "]"
)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_TAB = "    "


def clean(text: str, limit: int = LIMIT_CHARS, keep_newlines: bool = False) -> str:
    """The text with harmful characters made visible, cut at `limit` characters with the number of the rest.

    C0 controls and DEL become their control pictures (ESC is ␛), other harmful characters become �. Tabs become spaces.
    """
    cut = len(text) - limit
    if cut > 0:
        text = text[:limit]
    cleaned = _HARMFUL.sub(lambda match: _picture(match[0], keep_newlines), text)
    return f"{cleaned}… (+{cut})" if cut > 0 else cleaned


def log_line(text: str, limit: int = LIMIT_CHARS) -> str:
    """One line of a log as a terminal would show it: a progress bar's last state, without colours; cleaned."""
    pieces = [piece for piece in text.split("\r") if piece.strip()]
    return clean(_COLOUR.sub("", pieces[-1]).rstrip() if pieces else "", limit)


def as_ascii_json(value: Any) -> str:
    """The value as a JSON document for stdout, in ASCII, so that it has no characters that a terminal obeys.

    Values of types that JSON does not have are written as text.
    """
    return json.dumps(value, indent=2, default=str).replace("\x7f", "\\u007f")


def encodable(text: str, encoding: str | None) -> str:
    """The text with `?` for each character that a stream of this encoding can't show; None: all can be shown."""
    return text.encode(encoding, "replace").decode(encoding) if encoding else text


def shows_unicode(encoding: str | None) -> bool:
    """True if a stream of this encoding can show fitune's own bars and brackets."""
    return encodable("█«", encoding) == "█«"


def safe(text: str, limit: int = LIMIT_CHARS, keep_newlines: bool = False) -> "Content":
    """Foreign text for a Textual widget: cleaned, and never read as markup."""
    from textual.content import Content

    return Content(clean(text, limit, keep_newlines))


def _picture(character: str, keep_newlines: bool) -> str:
    code = ord(character)
    if character == "\n" and keep_newlines:
        return character
    if character == "\t":
        return _TAB
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else "\ufffd"
