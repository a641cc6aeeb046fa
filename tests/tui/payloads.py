"""Texts that a terminal would obey or Textual would read as markup: what ordinary and hostile data holds."""

import re

OSC_52 = "\x1b]52;c;Y3VybCBldmlsfHNo\x1b\\"
PAYLOADS = (
    "[1, 2]", '{"b": [true, false]}', "[b open", "[red]hi[/red]", "[INST] hi [/INST]", "[/INST]", "[/]",
    "[link=https://a.example]x[/link]", "[@click=app.quit]x[/]", f"row {OSC_52} text", "\x1b]0;title\x07", "\x1b[2J",
    "\x9b2J", "\x7f", "\u202eright", "zero\u200bwidth", "\x0eshift", "bell\x07", "tag\U000e0041",
)  # fmt: skip
OBEYED = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\U000e0000-\U000e0fff]"
)
"""Any of these in text that reached a screen is a leak; line feeds are the screen's own."""
