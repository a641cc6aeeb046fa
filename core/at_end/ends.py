"""The end of a run's training, in a word and a sentence."""

from typing import Literal

from fitune.core.runs import LIVE, Failed, Finished, Run, RunState
from fitune.core.runs.post_mortem import cause_of_death

End = Literal["finished", "stopped", "failed", "killed", "refused"]
"""refused: it could not start."""


def end_of(run: Run) -> tuple[End, str] | None:
    """The end of a run's training and a sentence on it; None while a worker lives. Foreign text may be in it.

    Raises UserError if its events can't be read.
    """
    status, state = run.current()
    end = state.ends.get("train")
    if status in LIVE:
        return None
    if status == "killed":
        return "killed", cause_of_death(run) or "Its worker was killed; nobody knows by whom."
    if isinstance(end, Failed):
        return "failed", f"{end.message} {end.hint}".strip()
    if isinstance(end, Finished):
        return ("stopped" if end.stopped else "finished"), _reached(end, state)
    return None


def _reached(end: Finished, state: RunState) -> str:
    """The steps that a training took, and what came of it."""
    facts = [f"{end.steps or 0} of {end.total_steps or '?'} steps"]
    if end.eval_loss is not None:
        facts.append(f"held-out loss {end.eval_loss:.3g}")
    if state.score:
        facts.append(f"verdict against its base: {state.score.word}")
    return ", ".join(facts) + "."
