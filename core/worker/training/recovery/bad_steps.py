"""Steps whose numbers are NaN or infinite, or exactly 0, or whose loss jumps: they never reach the weights.

One bad batch is left out, and its rows are named. After several in a row the training goes back to its last checkpoint
with half the rate; after MOST_HALVINGS of these it ends. A base model that gives NaN before anything was learnt ends
it at once: no rate helps there. A loss that jumps may be right, so only few of these steps are left out, and a training
goes back once for them.
"""

import math
from collections import deque
from collections.abc import Iterator
from statistics import median
from typing import Any

import torch
from transformers import TrainerCallback

from fitune.core.diagnose import Failure, KnownFailure
from fitune.core.runs import EventLog, Recovered, Run, Tail
from fitune.core.runs.findings import RECENT, is_spike
from fitune.core.worker.cards.rank import ranks
from fitune.core.worker.rows.micro_batches import Inputs
from fitune.core.worker.training.recovery.leaving import Restart
from fitune.core.worker.training.recovery.step_guard import StepGuard

BAD_IN_A_ROW = 3
MOST_LEFT_OUT = 10
"""Steps that are left out before the data, and not the rate, are to blame."""
MOST_HALVINGS = 3
SKIPPED_BY_FP16 = 17
"""fp16 training skips a step whose gradient overflows, and halves a scale that begins at 2^16 (torch's GradScaler):
after 16 of them it scales no more, and the gradient is too large by itself."""
ZERO_IN_A_ROW = 5
"""Steps whose loss or gradient is exactly 0: a true gradient of many numbers never is."""
ROWS_NAMED, ROW_CHARACTERS = 3, 60
MOST_SPIKES = 3
"""Steps whose loss jumps that are left out; after so many in a row the weights are to blame, and no rows."""


class NonFiniteError(Exception):
    """The loss, the gradient or the weights are NaN or infinite: more training would only spread it."""


class BadSteps(TrainerCallback):
    """Judges each gradient before the optimizer takes it, and the loss after it."""

    def __init__(self, trainer: Any, guard: StepGuard, run: Run, log: EventLog, tokenizer: Any) -> None:
        self.trainer, self.guard, self.run, self.log, self.tokenizer = trainer, guard, run, log, tokenizer
        self._norm: Any = 0.0
        self._first_step = self._left_out_step = 0
        self._in_a_row = self._left_out = self._zeros = 0
        self._spikes: list[int] = []
        self._may_leave_out = ranks() == 1 and run.recipe().train.objective == "sft"
        """True if a jump speaks against the rows: the loss of pairs is close to 0, and jumps where one is hard."""
        self._recent: deque[float] = deque(maxlen=RECENT)
        clip = trainer.accelerator.clip_grad_norm_

        def clip_and_note(*known: Any, **named: Any) -> Any:
            self._norm = clip(*known, **named)
            return self._norm

        trainer.accelerator.clip_grad_norm_ = clip_and_note

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        self._first_step = state.global_step
        logged = [entry["loss"] for entry in state.log_history if "loss" in entry]
        self._recent.extend(loss for loss in logged[-RECENT:] if math.isfinite(loss))
        self._spikes = [each.step for each in self._told("spike") if each.step and each.step <= self._first_step]
        if torch.cuda.is_available():
            self.guard.try_longest(model)

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.guard.begin_step()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Leave a step out whose gradient is not finite: the optimizer then sees no gradient, and changes nothing.

        With fp16 the gradient's scaler does that itself. Raises as `_refuse`.
        """
        if args.fp16:
            return
        step = state.global_step + 1
        if math.isfinite(float(self._norm)):
            self._in_a_row = 0
            self._leave_spike_out(model, step)
            return
        self._in_a_row, self._left_out = self._in_a_row + 1, self._left_out + 1
        self._refuse(model, step)
        model.zero_grad(set_to_none=True)
        self._left_out_step = step
        bad = [
            batch
            for batch, loss in zip(self.guard.batches, self.guard.losses, strict=True)
            if not math.isfinite(float(loss))
        ]
        message = (
            f"Step {step} was left out: its gradient is not a number, and would have spoilt all weights. "
            f"{self._named(bad or self.guard.batches)}"
        )
        self.log.write(Recovered(kind="nan", message=message, step=step))

    def _refuse(self, model: Any, step: int) -> None:
        """Raise KnownFailure if the base model is to blame; if the rate or the data are, Restart with half the rate."""
        never_good = self._first_step == 0 and self._left_out == step
        if never_good and (culprit := _non_finite_weight(model)):
            raise KnownFailure(_broken_base(f"The base model's weights hold NaN or infinity, in {culprit}."))
        if never_good and self._in_a_row >= BAD_IN_A_ROW:
            raise KnownFailure(
                _broken_base("The loss or its gradient is NaN from the first step on, before anything was learnt.")
            )
        is_poisoned = not all(bool(each.isfinite().all()) for each in model.parameters() if each.requires_grad)
        if is_poisoned or self._in_a_row >= BAD_IN_A_ROW or self._left_out > MOST_LEFT_OUT:
            raise go_back(self.run, self.log, f"the gradient at step {step} is {float(self._norm)}")

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Raise KnownFailure after several steps whose loss or gradient is exactly 0: nothing is learnt then.

        Raise as `go_back` if the loss is not finite, or with fp16 the gradient of too many steps in a row.
        """
        if not logs or "loss" not in logs:
            return
        step, loss, norm = state.global_step, float(logs["loss"]), logs.get("grad_norm")
        if args.fp16 and norm is not None:
            self._in_a_row = 0 if math.isfinite(norm) else self._in_a_row + 1
        if self._in_a_row >= SKIPPED_BY_FP16:
            raise go_back(self.run, self.log, f"the gradient at step {step} is {norm}")
        if not math.isfinite(loss):
            self.trainer._tr_loss.zero_()  # it is reset by subtraction, which leaves NaN
            if step != self._left_out_step:
                raise go_back(self.run, self.log, f"the loss at step {step} is {loss}")
        self._zeros = self._zeros + 1 if loss == 0.0 or norm == 0.0 else 0
        if self._zeros >= ZERO_IN_A_ROW:
            what = "loss" if loss == 0.0 else "gradient"
            message = f"The {what} was exactly 0 for {ZERO_IN_A_ROW} steps, up to step {step}: nothing is learnt."
            hint = (
                "That is a fault of the training libraries with this model, or of weights that are all 0. Start a new "
                'run with train.backend = "trl", or with another version of unsloth.'
            )
            raise KnownFailure(Failure("bug", message, hint))
        if math.isfinite(loss):
            self._recent.append(loss)

    def _leave_spike_out(self, model: Any, step: int) -> None:
        """Leave a step out whose loss jumped, the first few times. Raise Restart where it stays there, once."""
        loss = float(sum(self.guard.losses))
        is_full = len(self._recent) == RECENT
        if not self._may_leave_out or not is_full or not is_spike(loss, usual := median(self._recent)):
            return
        if len(self._spikes) >= MOST_SPIKES:
            return
        self._spikes.append(step)
        model.zero_grad(set_to_none=True)
        message = (
            f"Step {step} was left out: its loss jumped to {loss:.2f}, from about {usual:.2f}. "
            f"{self._named(self.guard.batches)}"
        )
        self.log.write(Recovered(kind="spike", message=message, step=step))
        if self._spikes == list(range(step - MOST_SPIKES + 1, step + 1)) and not self._told("rate"):
            raise go_back(
                self.run, self.log, f"the loss jumped to {loss:.2f}, and stayed there for {MOST_SPIKES} steps"
            )

    def _told(self, kind: str) -> list[Recovered]:
        """What was put right so far, of a kind."""
        told = (each.data for each in Tail(self.run.events).catch_up())
        return [each for each in told if isinstance(each, Recovered) and each.kind == kind]

    def _named(self, batches: list[Inputs]) -> str:
        """The rows of micro-batches, by how they begin."""
        rows = [ids for batch in batches for ids in _rows_of(batch)]
        texts = [" ".join(self.tokenizer.decode(ids, skip_special_tokens=True).split()) for ids in rows[:ROWS_NAMED]]
        quoted = ", ".join(f"“{text[:ROW_CHARACTERS]}”" for text in texts)
        more = f" and {len(rows) - ROWS_NAMED} more" if len(rows) > ROWS_NAMED else ""
        return f"Look at {'its row' if len(rows) == 1 else 'its rows'} {quoted}{more}."


def go_back(run: Run, log: EventLog, why: str) -> Exception:
    """The exception to raise where the weights went astray: Restart with half the rate, or KnownFailure after a few."""
    halved = sum(isinstance(each.data, Recovered) and each.data.kind == "rate" for each in Tail(run.events).catch_up())
    rate = run.recipe().train.rate
    if ranks() > 1:
        hint = f"Go on with half the rate: fitune resume {run.name} --set train.lr={rate / 2:g}"
        return KnownFailure(Failure("nan", f"The training went astray: {why}.", hint))
    if halved >= MOST_HALVINGS:
        message = f"Again {why}, although the rate was halved {halved} times, to {rate:g}."
        hint = (
            "Look at the data (fitune data SOURCE --model ID): very long, empty or broken rows. Or train in another "
            'type or backend: model.quant = "bf16", train.backend = "trl".'
        )
        return KnownFailure(Failure("nan", message, hint))
    checkpoint = run.newest_checkpoint()
    run.change({"train.lr": rate / 2})
    message = (
        f"The training went astray: {why}. It goes back to {checkpoint.name if checkpoint else 'its start'} with half "
        f"the rate, {rate / 2:g}; the steps since are taken again."
    )
    log.write(Recovered(kind="rate", message=message, set={"train.lr": rate / 2}))
    return Restart()


def _broken_base(message: str) -> Failure:
    hint = (
        "The model's files are damaged, or it overflows in the type it is computed in: download it again, choose "
        'another copy of it, or set model.quant = "bf16".'
    )
    return Failure("nan", message, hint)


def _non_finite_weight(model: Any) -> str | None:
    """The name of a weight of the base that is not finite; None if all are."""
    for name, weight in model.named_parameters():
        if weight.is_floating_point() and "lora_" not in name and not bool(weight.isfinite().all()):
            return str(name).removeprefix("base_model.model.").replace(".base_layer", "")
    return None


def _rows_of(batch: Inputs) -> Iterator[list[int]]:
    """The token ids of each row of a micro-batch, without padding."""
    lengths = batch.get("packed_seq_lengths")
    if lengths is not None:
        ids = batch["input_ids"].flatten()
        yield from (part.tolist() for part in ids[: int(lengths.sum())].split(lengths.tolist()))
        return
    mask = batch.get("attention_mask", torch.ones_like(batch["input_ids"]))
    yield from (row[kept.bool()].tolist() for row, kept in zip(batch["input_ids"], mask, strict=True))
