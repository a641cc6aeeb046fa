"""Sentences on rows that are not learned as they stand, or that a model is asked otherwise than others would."""

from collections.abc import Mapping, Sequence

from fitune.core.data import Finding, numbered
from fitune.core.errors import Problem
from fitune.core.recipe import Data

SYSTEM_MOVED = (
    "{n} row[|s] [has|have] a system prompt, for which the model's chat template has no role: it stands at the head of "
    "the first question."
)
SYSTEM_MOVED_FIX = "In use write it there, too: many programs drop a system prompt that the template can't show."
TOOLS_HIDDEN = "{n} row[|s] [offers|offer] tools that the model's chat template does not list, here as in use."
TOOLS_HIDDEN_FIX = "Write them into the system prompt of the rows, and of each chat in use, to show them to the model."

WORDS_HIDDEN = (
    "{n} row[|s] [has|have] words before a call that the model's chat template does not write: they are not learned."
)
WORDS_HIDDEN_FIX = "In use the model calls without a word. Choose another model if it shall say something first."


def notes_on(notes: Mapping[str, int], switch: str | None, templates: Sequence[str], data: Data) -> list[Finding]:
    """Warnings, the one on thinking first.

    notes: kind of note (core/worker/chats/rows.py) -> rows. switch: the option of the chat template that switches
    thinking off; None if it has none. templates: names of the tokenizer's chat templates, where it has several.
    """
    found = [
        _thinking(notes.get("no_thoughts", 0), switch, data),
        _finding("system_moved", notes.get("system_moved", 0), SYSTEM_MOVED, SYSTEM_MOVED_FIX),
        _finding("tools_hidden", notes.get("tools_hidden", 0), TOOLS_HIDDEN, TOOLS_HIDDEN_FIX),
        _finding("words_hidden", notes.get("words_hidden", 0), WORDS_HIDDEN, WORDS_HIDDEN_FIX),
        _templates(templates, data),
    ]
    return [finding for finding in found if finding]


def _thinking(rows: int, switch: str | None, data: Data) -> Finding | None:
    """How rows without thoughts are learned in a model that thinks, where the recipe does not say it."""
    if data.thinking != "auto":
        return None
    behind = f"the prompt that switches thinking off ({switch} = false)" if switch else "empty thoughts"
    text = "{n} row[|s] [has|have] no thoughts, and this model thinks before it answers: [it is|they are] learned "
    text += f"behind {behind}, and in use the model goes on to think."
    fix = 'data.thinking = "off" makes it answer at once; "keep" says that this is meant.'
    return _finding("thinking", rows, text, fix)


def _templates(names: Sequence[str], data: Data) -> Finding | None:
    """Which of several chat templates is used."""
    if len(names) < 2:
        return None
    chosen = data.template_options.get("chat_template")
    by_tools = "" if chosen or "tool_use" not in names else ", rows with tools with tool_use"
    text = f"The model has {len(names)} chat templates ({', '.join(names)}): rows are written with "
    text += f"{chosen or 'default'}{by_tools}."
    fix = "" if chosen else f'data.template_options = {{chat_template = "{names[-1]}"}} chooses another.'
    return Finding("warn", "templates", len(names), Problem("data.template_options", text, fix))


def _finding(kind: str, count: int, text: str, fix: str) -> Finding | None:
    return Finding("warn", kind, count, Problem("", numbered(text, count), fix)) if count else None
