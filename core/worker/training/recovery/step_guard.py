"""Guards the steps of a trainer: when memory runs out, the same step is taken again in smaller passes.

The loss of a pass is divided by the trained tokens of the whole step, so that the passes add up to the same gradient
(with dropout: up to its random choice).
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pyarrow.compute
import torch

from fitune.core.diagnose import diagnose
from fitune.core.runs import EventLog, Recovered, Warned
from fitune.core.tokens import largest_micro_batch, rows_within
from fitune.core.worker.cards.rank import ranks
from fitune.core.worker.rows.micro_batches import Inputs
from fitune.core.worker.training.recovery.leaving import StopNow, terminated
from fitune.core.worker.training.recovery.passes import free, split, token_count

IGNORED = -100
"""The label of a token that is not trained."""
Pass = Callable[..., torch.Tensor]


class StepGuard:
    """Takes the micro-batches of one trainer."""

    def __init__(self, trainer: Any, log: EventLog) -> None:
        self.trainer, self.log = trainer, log
        self.batches: list[Inputs] = []
        """The micro-batches of the current step so far."""
        self.losses: list[torch.Tensor] = []
        """Their losses, each divided by the trained tokens of the step."""
        self.fits_tokens = 0
        """The most tokens that a pass has held."""
        self._most_tokens: int | None = None
        self._is_trial = False
        self._inner: Pass = trainer.training_step
        trainer.training_step = self.training_step

    def begin_step(self) -> None:
        """Forget the micro-batches of the step before."""
        self.batches.clear()
        self.losses.clear()

    def try_longest(self, model: Any) -> None:
        """Take the largest batch once, without a step: memory that does not do is found now, and not after hours.

        The random numbers are put back, so that the training is the same as without. Raises as `training_step`.
        """
        if self.trainer.args.world_size > 1:
            return
        trainer, failed = self.trainer, ""
        trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps  # set in its loop only
        with torch.random.fork_rng():
            try:
                batch = trainer.data_collator(largest_batch(trainer))
                labels = batch.get("labels")  # none where answers are compared
                trained = None if labels is None else labels.ne(IGNORED).sum().to(trainer.args.device)
                self.begin_step()
                self._is_trial = True
                self.training_step(model, batch, trained)
            except Exception as error:
                if is_out_of_memory(error) or isinstance(error, StopNow):
                    raise
                failed = diagnose(error).message
        self._is_trial = False
        if failed:  # if that was no fault of the trial alone, the first step tells it
            self.log.write(Warned(kind="longest", message=f"The longest rows could not be tried: {failed}"))
        self.begin_step()
        model.zero_grad(set_to_none=True)

    def training_step(
        self, model: Any, inputs: Inputs, num_items_in_batch: Any = None, *rest: Any, **named: Any
    ) -> torch.Tensor:
        """The loss of one micro-batch, with its gradient added to the step's.

        Raises StopNow after SIGTERM, and the error of the memory if a single row does not fit.
        """
        if terminated.is_set() and ranks() == 1:
            raise StopNow
        self.batches.append(inputs)

        def one_pass(part: Inputs) -> torch.Tensor:
            loss = self._inner(model, dict(part), num_items_in_batch, *rest, **named)
            self.fits_tokens = max(self.fits_tokens, token_count(part))
            return loss

        can_split = num_items_in_batch is not None and self.trainer.args.world_size == 1
        try:
            self.losses.append(self._sum_of_passes(one_pass, inputs))
            return self.losses[-1]
        except Exception as error:
            if not (can_split and is_out_of_memory(error)):
                raise
        self._again_in_smaller_passes(model, one_pass)
        return self.losses[-1]

    def _again_in_smaller_passes(self, model: Any, one_pass: Callable[[Inputs], torch.Tensor]) -> None:
        """Take the step's micro-batches again from the first. Raises the error of the memory if rows can't be split."""
        tried = max(map(token_count, self.batches))
        while True:
            free()
            self._most_tokens = min(self._most_tokens or tried, tried) // 2
            model.zero_grad()  # the failed pass may have added a part of its gradient
            passes = sum(len(self._parts(batch)) for batch in self.batches)
            try:
                self.losses[:] = [self._sum_of_passes(one_pass, batch) for batch in self.batches]
                break
            except Exception as error:
                longest = max(token_count(row) for batch in self.batches for row in split(batch, 1, fill_to=1))
                if not is_out_of_memory(error) or self._most_tokens < longest:
                    raise
            tried = self._most_tokens
        step = self.trainer.state.global_step + 1
        if self._is_trial:
            done = "The longest rows don't fit into the memory at once; they do in"
        else:
            done = f"The memory ran out at step {step}. The step was taken again, in"
        message = (
            f"{done} {passes} passes instead of {len(self.batches)}, with the same gradient. From now on at most "
            f"{self._most_tokens:,} tokens are taken at once; each pass more costs about the time of a micro-batch."
        )
        self.log.write(Recovered(kind="oom", message=message, step=step))

    def _sum_of_passes(self, one_pass: Callable[[Inputs], torch.Tensor], batch: Inputs) -> torch.Tensor:
        """The loss of a micro-batch, in as many passes as the memory asks for."""
        return torch.stack([one_pass(part) for part in self._parts(batch)]).sum()

    def _parts(self, batch: Inputs) -> list[Inputs]:
        if self._most_tokens is None or token_count(batch) <= self._most_tokens:
            return [batch]
        fill_to = getattr(self.trainer.data_collator, "pad_to_multiple_of", None) or 1
        return split(batch, self._most_tokens, fill_to)


def largest_batch(trainer: Any) -> list[dict[str, Any]]:
    """The rows of a micro-batch as large as the budget expects the largest of the training.

    Padded and packed rows: the longest. Rows laid end to end: the longest row, with others that fill up to the tokens
    that hardly any micro-batch exceeds, since the longest rows of all hardly ever come together.
    """
    rows, count = trainer.train_dataset, trainer.args.train_batch_size  # a whole set, its rows not chosen by indexes
    texts = [name for name in rows.column_names if name.endswith("_ids")]
    lengths = sum(pyarrow.compute.list_value_length(rows.data[name]).to_numpy() for name in texts)
    order = lengths.argsort()
    chosen = order[-count:]
    if getattr(trainer.data_collator, "padding_free", False) and not getattr(trainer.args, "packing", False):
        batches = trainer.state.max_steps * trainer.args.gradient_accumulation_steps
        most = largest_micro_batch(Counter(lengths.tolist()), count, batches)
        chosen = order[rows_within(lengths[order].tolist(), count, most)]
    return [rows[int(index)] for index in chosen]


def is_out_of_memory(error: Exception) -> bool:
    """True if the memory of the card or of the host ran out."""
    return diagnose(error).kind == "oom"
