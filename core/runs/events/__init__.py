"""The events of a run: a dataclass for each type of line in events.jsonl.

Every field is a number or a name, never formatted text, but for the sentences of warnings and failures and the texts of
samples. A field that is not known is left out of the line. docs/files.md is made of these docstrings.
"""

from fitune.core.runs.events.answers import Forgot, Preferred, RacedLap, Sample, Score
from fitune.core.runs.events.ends import Failed, Finished, Recovered, Warned
from fitune.core.runs.events.progress import Checkpoint, Eval, Memory, Phase, Started, Step

__all__ = [
    "TYPES", "Checkpoint", "Eval", "EventData", "Failed", "Finished", "Forgot", "Memory", "Phase", "Preferred",
    "RacedLap", "Recovered", "Sample", "Score", "Started", "Step", "Warned",
]  # fmt: skip

EventData = (
    Started | Phase | Step | Eval | Score | Forgot | Preferred | RacedLap | Memory | Checkpoint | Warned | Recovered
    | Sample | Finished | Failed
)  # fmt: skip
TYPES: tuple[type[EventData], ...] = (
    Started, Phase, Step, Eval, Score, Forgot, Preferred, RacedLap, Memory, Checkpoint, Warned, Recovered,
    Sample, Finished, Failed,
)  # fmt: skip
