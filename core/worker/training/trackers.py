"""Experiment trackers: they get the numbers too, and never end a training.

transformers calls a tracker amid the steps, so that a server that is away, a lost login or a full disk would end
hours of training. Its first failure is told, and it is asked no more.
"""

import sys
from functools import partial
from traceback import format_exc
from typing import Any

from transformers import TrainerCallback

from fitune.core.diagnose import diagnose, redact
from fitune.core.runs import EventLog, Warned

EVENTS = [name for name in dir(TrainerCallback) if name.startswith("on_")]
OF_TRACKERS = "transformers.integrations"
"""The package that holds transformers' callbacks of trackers, and no other callback that a training uses."""


class Spared(TrainerCallback):
    """A tracker whose failure does not reach the trainer."""

    def __init__(self, tracker: TrainerCallback, name: str, log: EventLog) -> None:
        self.tracker, self.name, self.log = tracker, name, log
        self.has_failed = False
        for event in EVENTS:
            setattr(self, event, partial(self._pass_on, event))

    def _pass_on(self, event: str, *known: Any, **named: Any) -> Any:
        if self.has_failed:
            return None
        try:
            return getattr(self.tracker, event)(*known, **named)
        except Exception as error:
            self.has_failed = True
            print(redact(format_exc()), file=sys.stderr, flush=True)  # into worker.log
            message = (
                f"{self.name} failed and gets no more numbers; the training goes on. It said: "
                f"{diagnose(error).message.rstrip('.')}. Log in to it, or see whether its server can be reached."
            )
            self.log.write(Warned(kind="tracker", message=message))
            return None


def spare_from_trackers(trainer: Any, name: str, log: EventLog) -> None:
    """Let no failure of a tracker end the training. name: the tracker's, as in train.report_to."""
    callbacks = trainer.callback_handler.callbacks
    trainer.callback_handler.callbacks = [
        Spared(each, name, log) if type(each).__module__.startswith(OF_TRACKERS) else each for each in callbacks
    ]
