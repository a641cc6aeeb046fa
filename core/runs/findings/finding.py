"""A finding: something wrong that the numbers of a run show."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something wrong with a run, in words for the person who trains."""

    kind: str
    """Its subject, as a word: spike, plateau, overfitting, memory ..."""
    symptom: str
    """What is seen, as a sentence."""
    evidence: str
    """The numbers that show it."""
    cause: str
    """The likely cause, as a sentence."""
    remedy: str
    """What to do, as a sentence."""
    set: Mapping[str, object] = field(default_factory=dict)
    """The change of the recipe that would help, by `group.key`; may be empty."""
    step: int | None = None
    """The step at which it was seen; None if it is about the whole run."""

    @property
    def text(self) -> str:
        """The finding in a line."""
        change = f" ({self.change})" if self.change else ""
        return f"{self.symptom} {self.evidence} {self.cause} {self.remedy}{change}"

    @property
    def change(self) -> str:
        """The change of the recipe as options of the command that takes them; empty if there is none."""
        if not self.set:
            return ""
        from fitune.core.recipe import (  # 10 MiB of pydantic, which watching a healthy run does without
            may_change,
            options,
        )

        told = options(self.set)
        return f"fitune resume RUN {told}" if all(map(may_change, self.set)) else f"in a new run: {told}"
