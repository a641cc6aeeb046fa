"""Callbacks of the trainer: events, the times of evaluations and checkpoints, and the stop on request."""

import datetime
import math
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import TrainerCallback

from fitune.core.intervals import SAVE_APART_S, steps_between
from fitune.core.recipe import Train
from fitune.core.runs import Eval, EventLog, Phase, Run, Step, Warned
from fitune.core.worker.cards.rank import rank, ranks, total, totals
from fitune.core.worker.cards.share import tokens_of_rows
from fitune.core.worker.memory_use import MemoryMeter
from fitune.core.worker.rows.training_rows import TrainingRows
from fitune.core.worker.scoring.held_out import HeldOut
from fitune.core.worker.training.model_with_adapter import compiles_the_model
from fitune.core.worker.training.packing import Rows
from fitune.core.worker.training.recovery.schedule import set_rate
from fitune.core.worker.training.samples import Samples

MEMORY_EVERY_S = 15.0
SPEEDS_KEPT = 1000
"""Steps whose median is the pace."""


@dataclass(slots=True)
class Batches:
    """The micro-batches of this process, in tokens with padding."""

    count: int = 0
    tokens: int = 0
    largest: int = 0
    step_tokens: int = 0
    """Tokens of the current step."""
    steps: int = 0
    """Steps that are done."""
    speeds: deque[float] = field(default_factory=lambda: deque(maxlen=SPEEDS_KEPT))
    """Tokens a second of each step but the first, which compiles kernels."""

    def add(self, tokens: int) -> None:
        self.count, self.tokens, self.step_tokens = self.count + 1, self.tokens + tokens, self.step_tokens + tokens
        self.largest = max(self.largest, tokens)

    def end_step(self, step_s: float) -> None:
        if self.tokens > self.step_tokens:
            self.speeds.append(self.step_tokens / step_s)
        self.step_tokens = 0
        self.steps += 1


def tokens_of(inputs: Mapping[str, torch.Tensor]) -> int | torch.Tensor:
    """The tokens of a micro-batch that are no padding. Of rows laid end to end Unsloth gives the lengths; padded rows
    have a mask; what has neither is no padding."""
    if "packed_seq_lengths" in inputs:
        return inputs["packed_seq_lengths"].sum()
    mask = inputs.get("attention_mask")
    return inputs["input_ids"].numel() if mask is None else mask.sum()


def token_count(rows: Rows) -> int:
    """The tokens of rows, without padding; of both answers where two are compared."""
    return sum(len(row["input_ids"]) + len(row.get("rejected_ids", ())) for row in rows)


def rewards_in(logs: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The rewards that TRL logs where answers are compared, by the fields of an event.

    Before the first step all rewards are 0. TRL takes these ties for wrong; here each counts half, as chance gives.
    """
    names = {"chosen_reward": "chosen", "rejected_reward": "rejected", "pair_accuracy": "accuracies"}
    found = {field: logs.get(f"{prefix}rewards/{name}") for field, name in names.items()}
    told = {field: float(value) for field, value in found.items() if value is not None}
    is_tie = "pair_accuracy" in told and told.get("chosen_reward") == told.get("rejected_reward") == 0.0
    return told | {"pair_accuracy": 0.5} if is_tie else told


class Reporter(TrainerCallback):
    """Writes step, eval and memory events; decides when to evaluate, save and stop."""

    def __init__(
        self,
        run: Run,
        log: EventLog,
        train: Train,
        memory: MemoryMeter,
        rows: TrainingRows,
        held_out: HeldOut | None,
        samples: Samples,
    ) -> None:
        """held_out: None without held-out rows."""
        self.run, self.log, self.train, self.memory, self.rows = run, log, train, memory, rows
        self.held_out, self.samples = held_out, samples
        self.batches = Batches()
        self.ended_early = False
        """True if the training was ended because it could not get better."""
        self.limit: tuple[datetime.datetime, str] | None = None
        """The time at which the training stops, and the field that says so."""
        self._saved_at = time.monotonic()
        self._step_began = self._memory_written = 0.0
        self._tokens: list[int | torch.Tensor] = []

    def count_tokens(self, trainer: Any) -> None:
        """Make the trainer count the tokens that it trains on; shapes and lazy sums only, so the GPU never waits."""
        inner = trainer.training_step

        def counted(model: Any, inputs: dict[str, Any], *rest: Any, **named: Any) -> Any:
            self.batches.add(inputs["input_ids"].numel())
            self._tokens.append(tokens_of(inputs) if ranks() == 1 else tokens_of_rows(inputs))
            return inner(model, inputs, *rest, **named)

        trainer.training_step = counted

    def on_train_begin(
        self,
        args: Any,
        state: Any,
        control: Any,
        optimizer: Any,
        train_dataloader: Any,
        lr_scheduler: Any = None,
        model: Any = None,
        **_: Any,
    ) -> None:
        if state.global_step:
            set_rate(optimizer, lr_scheduler, args.learning_rate, state.global_step)
        for group in optimizer.param_groups:
            if "warmup_steps" in group:  # schedule_free_adamw reads the share of steps as a number of steps
                group["warmup_steps"] = args.get_warmup_steps(state.max_steps)
        self.samples.begin(model, state.global_step)
        epoch_steps = math.ceil(len(train_dataloader) / args.gradient_accumulation_steps)
        held_out, budget = token_count(self.rows.looked_at), self.run.info().budget
        self.log.write(
            Phase(
                name="train",
                total_steps=state.max_steps,
                epochs=state.num_train_epochs,
                tokens=round(token_count(self.rows.train) * state.max_steps / epoch_steps),
                eval_every=steps_between(self.train.eval_every, state.max_steps) if held_out else None,
                eval_tokens=held_out or None,
                save_every=steps_between(self.train.save_every, state.max_steps),
                checkpoint_bytes=budget.checkpoint_bytes if budget else None,
                save_apart_s=SAVE_APART_S if self.train.save_every is None else None,
                compiles=compiles_the_model() or None,
            )
        )

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._step_began = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, optimizer: Any, **_: Any) -> None:
        step, last = state.global_step, state.global_step >= state.max_steps
        eval_every = steps_between(self.train.eval_every, state.max_steps)
        control.should_evaluate = self.held_out is not None and (last or step % eval_every == 0)
        control.should_save = last or (self.train.save_every is not None and step % self.train.save_every == 0)
        is_save_due = rank() == 0 and self._is_save_due(step, state.max_steps)
        is_to_stop = rank() == 0 and not last and (self.run.stop.exists() or self._is_over())
        save, stop = totals(is_save_due, is_to_stop)  # in one word, as the ranks wait for each other
        if save or stop:
            control.should_save = True
        if stop:
            control.should_training_stop = True
        self._saved_at = time.monotonic() if control.should_save else self._saved_at
        if (control.should_save or control.should_evaluate) and hasattr(optimizer, "eval"):
            optimizer.eval()  # schedule_free_adamw saves other weights than it trains; the next step turns back

    def _is_save_due(self, step: int, total_steps: int) -> bool:
        """True if a checkpoint is due by the clock: train.save_minutes after the last one, or at one of the steps where
        the recipe sets none, if the last one was not just now."""
        since_s, minutes = time.monotonic() - self._saved_at, self.train.save_minutes
        by_itself = self.train.save_every is None and step % steps_between(None, total_steps) == 0
        return (by_itself and since_s >= SAVE_APART_S) or (minutes is not None and since_s > 60 * minutes)

    def _is_over(self) -> bool:
        """True once the time of the training is over; it is told then."""
        if self.limit is None or datetime.datetime.now().astimezone() < self.limit[0]:
            return False
        message = (
            f"{self.limit[1]} is reached: the training stops, with a checkpoint. To go on: fitune resume "
            f"{self.run.name} --set {self.limit[1].partition(' ')[0]}=..."
        )
        self.log.write(Warned(kind="limit", message=message))
        return True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        if not logs or "loss" not in logs:
            return
        # The trainer has just read the loss from the GPU, so this is the time the step really took.
        step_s = time.monotonic() - self._step_began
        self.batches.end_step(step_s)
        tokens = total(int(sum(self._tokens)))
        self._tokens.clear()
        state.num_input_tokens_seen += tokens  # checkpoints keep it, so a resumed run continues the count
        loss, grad_norm = float(logs["loss"]), float(logs.get("grad_norm") or 0.0)
        self.log.write(
            Step(
                step=state.global_step,
                epoch=state.epoch,
                loss=loss,
                lr=float(logs["learning_rate"]),
                grad_norm=grad_norm,
                tokens_per_s=tokens / step_s,
                seen_tokens=state.num_input_tokens_seen,
                step_s=step_s,
                **rewards_in(logs),
            )
        )
        if self.memory.grew() or time.monotonic() - self._memory_written > MEMORY_EVERY_S:
            self._memory_written = time.monotonic()
            self.log.write(self.memory.read(state.global_step))

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: dict[str, Any], model: Any = None, **_: Any
    ) -> None:
        assert self.held_out is not None
        loss, rows = self.held_out.add(state.global_step, model), self.held_out.rows
        rewards = rewards_in(metrics, "eval_")
        elapsed_s = metrics.get("eval_runtime")
        self.log.write(Eval(step=state.global_step, loss=loss, rows=rows, elapsed_s=elapsed_s, **rewards))
        if self.held_out.is_over and state.global_step < state.max_steps:
            self._stop_early(state.global_step, control)
        elif state.global_step:
            self.samples.during(model, state.global_step, state.max_steps)

    def _stop_early(self, step: int, control: Any) -> None:
        message = (
            f"Stopped at step {step}: the last {self.train.patience} looks at the held-out rows were all surely worse "
            "than the best, so the model only memorises by now. train.patience = 0 goes on to the end."
        )
        self.log.write(Warned(kind="patience", message=message))
        self.ended_early = control.should_training_stop = control.should_save = True
