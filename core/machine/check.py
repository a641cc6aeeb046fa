"""The result of one check of `fitune doctor`."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check. `fix` is a next action, also where the status is ok but something can be better."""

    name: str
    """The thing that was checked, as a word or two."""
    status: Status
    """ok, warn (a training can work) or fail."""
    text: str
    """A sentence on the result."""
    fix: str = ""
    """A next action; may be empty."""
