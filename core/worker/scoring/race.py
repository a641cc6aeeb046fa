"""`fitune tune-lr`: the same training with several learning rates, each for a few steps, judged by held-out rows."""

import gc
import math
import time
from pathlib import Path
from typing import Any

import orjson
import torch

from fitune.core.deliver import RaceRequest, requests
from fitune.core.errors import UserError
from fitune.core.files import write_atomically
from fitune.core.recipe import Recipe
from fitune.core.records import to_json
from fitune.core.runs import EventLog, Finished, Phase, RacedLap, Run, Started
from fitune.core.score import race
from fitune.core.score.race import Lap, Race
from fitune.core.worker import models
from fitune.core.worker.device import compute_dtype
from fitune.core.worker.memory_use import MemoryMeter
from fitune.core.worker.rows.training_rows import TrainingRows, read_rows
from fitune.core.worker.scoring.held_out import HeldOut
from fitune.core.worker.training import model_with_adapter
from fitune.core.worker.training.callbacks import Reporter
from fitune.core.worker.training.samples import Samples
from fitune.core.worker.training.saving.checkpoints import CheckpointWriter
from fitune.core.worker.training.trainer import make_trainer

WARM_UP_STEPS = 5
"""Steps of a training before the race, which compiles kernels and shows the pace."""


class LapReporter(Reporter):
    """Reports the steps of one lap, and looks at the held-out rows after the last; it saves no checkpoint."""

    def on_step_end(self, args: Any, state: Any, control: Any, optimizer: Any, **_: Any) -> None:
        is_last = state.global_step >= state.max_steps
        control.should_evaluate, control.should_save = self.held_out is not None and is_last, False
        control.should_training_stop = is_last or self.run.stop.exists()
        if is_last and hasattr(optimizer, "eval"):
            optimizer.eval()


class Track:
    """A model, its adapter's start, and its rows: the same for every lap."""

    def __init__(self, run: Run, recipe: Recipe, log: EventLog, memory: MemoryMeter) -> None:
        self.run, self.recipe, self.log, self.memory = run, recipe, log, memory
        self.kernel = model_with_adapter.attention_kernel(recipe.train.backend)
        self.source = models.of_run(run, log)
        log.write(Phase(name="load", model=self.source.name, revision=self.source.revision))
        self.loaded = model_with_adapter.load(recipe, self.source)
        self.start = {name: weight.detach().cpu().clone() for name, weight in self._trained()}
        log.write(Phase(name="data", source=recipe.data.name))
        own = recipe.model_copy(update={"data": recipe.data.model_copy(update={"replay": 0})})  # the same for each rate
        self.rows: TrainingRows = read_rows(run, own, self.loaded.tokenizer, log, lambda _: [])

    @property
    def full_steps(self) -> int:
        """Steps of the whole training."""
        train_ = self.recipe.train
        an_epoch = math.ceil(len(self.rows.train) / (train_.micro_batch * train_.grad_accum))
        return train_.max_steps or max(1, math.ceil(train_.epochs * an_epoch))

    def lap(self, lr: float, steps: int, keep_below: float | None = None) -> Lap:
        """Train from the start with a rate, for so many steps.

        keep_below: keep a checkpoint in the place of an earlier one if the held-out loss is below this; None for none.
        """
        began = time.monotonic()
        self._back_to_start()
        changes = {"lr": lr, "max_steps": steps, "report_to": "none"}
        recipe = self.recipe.model_copy(update={"train": self.recipe.train.model_copy(update=changes)})
        held_out = HeldOut(self.run, self.rows.looked_at, 0, 0)
        samples = Samples([], self.loaded.tokenizer, self.source.path, self.log, False, [])
        reporter = LapReporter(self.run, self.log, recipe.train, self.memory, self.rows, held_out, samples)
        trainer = make_trainer(self.run, recipe, self.loaded, self.rows, reporter, self.kernel)
        trainer.args.eval_on_start = False
        reporter.count_tokens(trainer)
        trainer.train()
        losses = tuple(entry["loss"] for entry in trainer.state.log_history if "loss" in entry)
        looks = held_out.looks
        loss = looks.mean(looks.looks[-1]) if looks.looks else None
        if keep_below is not None and loss is not None and loss < keep_below:
            self._keep(trainer)
        del trainer
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return Lap(lr, steps, losses, loss, time.monotonic() - began)

    def _keep(self, trainer: Any) -> None:
        """Keep a checkpoint of the lap that a trainer has made, for a training of all steps."""
        trainer.state.max_steps = self.full_steps
        part = Path(trainer.args.output_dir) / f"checkpoint-{trainer.state.global_step}"
        writer = CheckpointWriter(self.run, self.log, 1, None)
        writer.save(lambda: trainer._save_checkpoint(trainer.model, None), part)

    def step_s(self) -> float:
        """Seconds of a step, as a warm-up shows: the first step, which compiles kernels, left out."""
        self.lap(self.recipe.train.rate, 1)
        lap_s = self.lap(self.recipe.train.rate, WARM_UP_STEPS).elapsed_s
        return lap_s / WARM_UP_STEPS

    @torch.no_grad()
    def _back_to_start(self) -> None:
        for name, weight in self._trained():
            weight.data.copy_(self.start[name])

    def _trained(self) -> list[tuple[str, Any]]:
        return [(name, weight) for name, weight in self.loaded.model.named_parameters() if weight.requires_grad]


def run(run: Run, log: EventLog, memory: MemoryMeter) -> None:
    """The job: write race.json, with the rate that won. Raises UserError without held-out rows, or with too little
    time."""
    began = time.monotonic()
    recipe, request = run.recipe(), requests.read(RaceRequest, run.path / "tune-lr.json")
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    log.write(Started(backend=recipe.train.backend, dtype=compute_dtype(), device=device))
    track = Track(run, recipe, log, memory)
    if not track.rows.looked_at:
        raise UserError("A race needs held-out rows to judge by.", 'Set data.eval_fraction = "auto".')
    step_s = track.step_s()
    rounds = race.steps_of_rounds(request.budget_s, step_s, track.full_steps)
    if not rounds:
        raise UserError(
            f"A step takes {step_s:.1f} s here and the training has {track.full_steps}: the race would get fewer than "
            f"{race.LEAST_STEPS} steps a rate.",
            "Give it more time with --minutes, or more rows or epochs.",
        )
    laps, rates, best = list[Lap](), race.rates(recipe.train.rate), math.inf
    for number, steps in enumerate(rounds, 1):
        done = []
        for lr in rates:
            if run.stop.exists():
                log.write(Finished(stopped=True, elapsed_s=time.monotonic() - began))
                return
            log.write(Phase(name="race"))
            is_kept = (
                race.goes_on(recipe.train.scheduler, recipe.data.replay)
                and number == len(rounds)
                and steps < track.full_steps
            )
            lap = track.lap(lr, steps, best if is_kept else None)
            best = best if lap.held_out is None else min(best, lap.held_out)
            log.write(RacedLap(round=number, lr=lr, steps=steps, loss=lap.held_out, elapsed_s=lap.elapsed_s))
            done.append(lap)
        laps, best = [*laps, *done], math.inf
        rates = race.better_half(done)
    result = Race(tuple(laps), rates[0] if rates else None)
    write_atomically(run.path / "race.json", orjson.dumps(to_json(result), option=orjson.OPT_INDENT_2))
    log.write(Finished(best_lr=result.best_lr, elapsed_s=time.monotonic() - began))
