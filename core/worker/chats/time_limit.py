"""A limit on the time that a chat template may compute: one that never ends must not hold a run for ever.

Jinja's sandbox keeps a template from the machine, and limits a range, but not loops within loops.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fitune.core.errors import UserError
from fitune.core.worker.chats.template import REPAIR

RENDER_WITHIN_S = 30.0
"""Seconds of processor time for one row; a usual one takes some milliseconds."""


class TemplateTimeoutError(UserError):
    """A chat template that does not come to an end."""


def limit_template(tokenizer: Any) -> None:
    """Make a tokenizer's `apply_chat_template` raise TemplateTimeoutError after RENDER_WITHIN_S.

    Only in the main thread: no other can be interrupted.
    """
    inner = tokenizer.apply_chat_template

    def limited(*known: Any, **named: Any) -> Any:
        with _at_most(RENDER_WITHIN_S):
            return inner(*known, **named)

    tokenizer.apply_chat_template = limited


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # Processor time of this process, so that a machine that was suspended meanwhile does not count.
    before = signal.signal(signal.SIGVTALRM, _give_up)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _give_up(*_: object) -> None:
    raise TemplateTimeoutError(
        f"The model's chat template does not come to an end: after {RENDER_WITHIN_S:.0f} s of one row it was ended.",
        REPAIR,
    )
