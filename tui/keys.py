"""Keys that come faster than the screens: each waits until the one before it has had all its effects.

Textual gives a key to what has the focus when it arrives. An Enter still on its way may take that away: then the keys
behind it, typed ahead or sent together by a slow line, would act on the screen that is about to go.
"""

import asyncio

from textual.app import App
from textual.dom import DOMNode
from textual.widgets import OptionList

PATIENCE_S = 1.0
"""Longest wait for one part of a screen: one that is going away may not answer any more."""


def takes_keys(app: App[int]) -> bool:
    """True if there is something to type on: no screen that is still being made or is about to go, and no list that
    is still empty."""
    empty = isinstance(app.focused, OptionList) and not app.focused.option_count
    is_over = getattr(app.screen, "answer", None) is not None
    return len(app.screen_stack) > 1 and app.screen.is_mounted and not empty and not is_over


async def settled(node: DOMNode) -> None:
    """Wait until a node and all above it have handled their messages, and what followed from these.

    A message goes up from the node to the app, where a binding may send another down again: so the way up is quiet
    only once nothing was found on it twice.
    """
    quiet = 0
    while quiet < 2:
        found = [await _answered(each) for each in node.ancestors_with_self]
        quiet = 0 if any(found) else quiet + 1


async def _answered(node: DOMNode) -> bool:
    """Wait for a node's messages up to now; whether there are others already."""
    done = asyncio.Event()
    if node.call_later(done.set):
        try:
            await asyncio.wait_for(done.wait(), PATIENCE_S)
        except TimeoutError:
            return False
    return node.message_queue_size > 0
