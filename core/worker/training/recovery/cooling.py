"""A card that is hotter than run.pause_above_c waits between two steps until it has cooled down."""

import time
from typing import Any

from transformers import TrainerCallback

from fitune.core.runs import EventLog, Recovered, Run, Warned
from fitune.core.worker.memory_use import MemoryMeter
from fitune.core.worker.training.recovery.leaving import terminated

COOLER_BY_C = 10
"""The card cools down by so much before it goes on: else it would pause again after a step."""
LOOK_EVERY_S = 2.0


class Cooling(TrainerCallback):
    """Pauses the training of a card that is too hot. A pause ends at a stop, too."""

    def __init__(self, run: Run, log: EventLog, memory: MemoryMeter, pause_above_c: int) -> None:
        self.run, self.log, self.memory, self.pause_above_c = run, log, memory, pause_above_c
        self._is_told = False

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        hot_c = self.memory.temperature_c()
        if hot_c is None or hot_c <= self.pause_above_c:
            return
        began, go_on_at_c = time.monotonic(), self.pause_above_c - COOLER_BY_C
        if not self._is_told:
            message = (
                f"The card has {hot_c} °C after step {state.global_step}: the training pauses until it has "
                f"{go_on_at_c} °C. It does that each time (run.pause_above_c)."
            )
            self.log.write(Warned(kind="hot", message=message))
        while (self.memory.temperature_c() or 0) > go_on_at_c and not (self.run.stop.exists() or terminated.is_set()):
            time.sleep(LOOK_EVERY_S)
        if not self._is_told:
            message = f"The card has cooled down after {time.monotonic() - began:.0f} s: the training goes on."
            self.log.write(Recovered(kind="hot", message=message, step=state.global_step))
        self._is_told = True
