"""The result of one check of `fitune doctor`."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check. `fix` is a next action, also where the status is ok but something can be better."""

    name: str
    status: Status
    text: str
    fix: str = ""
