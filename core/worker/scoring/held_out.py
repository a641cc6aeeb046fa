"""The held-out rows during a training: the loss of each at every evaluation, and the adapters that may be delivered."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import torch
from safetensors.torch import load_file, save_file

from fitune.core.files import write_atomically
from fitune.core.records import from_json, to_json
from fitune.core.runs import EventLog, Run, Warned
from fitune.core.score import Look, Looks, delivered, is_over, is_worse_than_base
from fitune.core.worker.cards.rank import rank, ranks
from fitune.core.worker.cards.shards import whole_adapter
from fitune.core.worker.rows.tokenized import IGNORED

Rows = Sequence[Mapping[str, list[int]]]
MOST_ADAPTERS = 12
"""Adapters kept at once: the one to deliver and the newest."""


class HeldOut:
    """Takes the losses out of the trainer's evaluations, and keeps adapters in looks/ until the training is done."""

    def __init__(self, run: Run, rows: Rows, patience: int, step: int, at_once: int = 1) -> None:
        """step: of the checkpoint that the run goes on from, else 0. Looks after it are void.

        at_once: rows whose loss the trainer gives together; they count as one then, of all their tokens.
        """
        self.folder, self.patience = run.path / "looks", patience
        self.rows = len(rows)
        weights = [*map(_weight, rows)]
        tokens = tuple(sum(weights[start : start + at_once]) for start in range(0, len(weights), at_once))
        kept = read_looks(run)
        earlier = kept.looks if step and kept and kept.tokens == tokens else ()
        self.looks = Looks(tokens, tuple(look for look in earlier if look.step <= step))
        self._losses: list[torch.Tensor] = []

    def listen(self, trainer: Any) -> None:
        """Make the trainer, whose evaluations take one row after another, tell the loss of each."""
        inner = trainer.prediction_step

        def heard(*given: Any, **named: Any) -> Any:
            out = inner(*given, **named)
            self._losses.append(out[0])
            return out

        trainer.prediction_step = heard

    def add(self, step: int, model: Any) -> float:
        """Add the look that was just taken after a step, keep its adapter, and return its loss over all tokens.

        A look with a loss that is no number is not kept, as no delivery should come of it.
        """
        rows = len(self.looks.tokens)
        share = math.ceil(rows / ranks())  # of this rank; before it stand those of an evaluation that failed
        losses = torch.stack(self._losses[-share:]).flatten()
        look = Look(step, tuple(of_all_ranks(losses)[:rows].tolist()))
        self._losses.clear()
        loss = self.looks.mean(look)
        if not math.isfinite(loss):
            return loss
        self.looks = self.looks.add(look)
        adapter = whole_adapter(model) if step else {}
        if rank() > 0:
            return loss
        self.folder.mkdir(mode=0o700, exist_ok=True)
        if step:
            _save(self._file(step), adapter)
            self._prune()
        write_atomically(self.folder / "looks.json", orjson.dumps(to_json(self.looks)))
        return loss

    @property
    def is_over(self) -> bool:
        """True if the training can't get better."""
        return is_over(self.looks, self.patience)

    def deliver(self, step: int, log: EventLog) -> Look | None:
        """The look whose adapter is to be delivered, with a warning where it is not the last. step: the last. None
        without looks."""
        chosen = delivered(self.looks)
        if chosen is None:
            return None
        last = self.looks.trained[-1]
        if chosen.step != step:
            what = "not surely better" if self.looks.mean(last) <= self.looks.mean(chosen) else "worse"
            message = (
                f"The adapter of step {chosen.step} is delivered, not that of the last step {step}: on the held-out "
                f"rows later ones are {what} (loss {self.looks.mean(chosen):.3f} there, {self.looks.mean(last):.3f} "
                f"at step {last.step})."
            )
            log.write(Warned(kind="best", message=message))
        if is_worse_than_base(chosen, self.looks):
            message = (
                f"No step is better than the base model on the held-out rows (loss {self.looks.mean(chosen):.3f}, "
                f"before {self.looks.mean(self.looks.looks[0]):.3f}): don't use this adapter before you know why."
            )
            log.write(Warned(kind="worse", message=message))
        return chosen

    def adapter(self, look: Look) -> dict[str, torch.Tensor]:
        """The adapter as it was at a look that may be delivered, by the names of the model's parameters; empty if its
        file is gone."""
        path = self._file(look.step)
        return dict(load_file(path)) if path.exists() else {}

    def remove_others(self, chosen: Look) -> None:
        """Remove the kept adapters but the one that is delivered: only a resumed training needs them."""
        for path in set(self.folder.glob("step-*")) - {self._file(chosen.step)}:
            path.unlink()

    def _file(self, step: int) -> Path:
        return self.folder / f"step-{step}.safetensors"

    def _prune(self) -> None:
        """Remove the adapters of looks that can no longer be delivered: those before the one that would be now."""
        chosen = delivered(self.looks)
        steps = [look.step for look in self.looks.trained if chosen and look.step >= chosen.step]
        kept = {self._file(step) for step in [*steps[:1], *steps[1:][1 - MOST_ADAPTERS :]]}
        for path in set(self.folder.glob("step-*")) - kept:
            path.unlink()


def _weight(row: Mapping[str, list[int]]) -> int:
    """The weight of a row in the loss: its trained tokens; 1 where answers are compared, and each row counts alike."""
    if "rejected_ids" in row or "rating" in row:
        return 1
    return sum(label != IGNORED for label in row["labels"])


def read_looks(run: Run) -> Looks | None:
    """The looks of a run so far; None if there are none, or they can't be read."""
    try:
        raw = orjson.loads((run.path / "looks" / "looks.json").read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    return from_json(Looks, raw)


@torch.no_grad()
def restore(model: Any, adapter: Mapping[str, torch.Tensor]) -> None:
    """Give a model the trained weights of `HeldOut.adapter`."""
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            weight.data.copy_(adapter[name])


def of_all_ranks(losses: torch.Tensor) -> torch.Tensor:
    """The losses of all rows, of which each rank has every so many."""
    if ranks() == 1:
        return losses
    from torch import distributed

    found = [torch.empty_like(losses, device="cpu") for _ in range(ranks())]
    distributed.all_gather(found, losses.cpu())
    return torch.stack(found, 1).flatten()


def _save(path: Path, adapter: Mapping[str, torch.Tensor]) -> None:
    part = path.with_suffix(".part")
    save_file({name: weight.contiguous() for name, weight in adapter.items()}, part)
    part.replace(path)
