"""`fitune tune-lr`: the same training with several learning rates, each for a few steps, judged by held-out rows."""

import gc
import math
import shutil
import time
from collections.abc import Sequence
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
from fitune.core.score.race import Lap, Race, Standing
from fitune.core.worker import models
from fitune.core.worker.chats.template import PromptOptions
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
"""Steps of a training before the race, which shows the pace."""
WARM_UP_TIMES = 2
"""How often the training's warm-up must fit into a lap's steps before the fall of the rate, for it to take the same
ones."""

SPARE_TIME = 1.1
"""The time that is told to be enough, as a share of what the pace of a few steps asks for."""


class LapReporter(Reporter):
    """Reports the steps of one lap, looks at the held-out rows after the last, and saves a checkpoint if asked to."""

    whole_steps = epoch_steps = 0
    """Steps of the training whose schedule the lap has, and of an epoch."""
    save_at: int | None = None
    """The step of the checkpoint."""

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
        super().on_train_begin(args, state, control, optimizer, train_dataloader, lr_scheduler, model)
        self.epoch_steps = math.ceil(len(train_dataloader) / args.gradient_accumulation_steps)
        for group in optimizer.param_groups:
            if "warmup_steps" in group:  # of schedule_free_adamw
                group["warmup_steps"] = args.get_warmup_steps(self.whole_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, optimizer: Any, **_: Any) -> None:
        is_last = state.global_step >= state.max_steps
        control.should_evaluate = self.held_out is not None and is_last
        control.should_save = state.global_step == self.save_at
        control.should_training_stop = is_last or self.run.stop.exists()
        if (is_last or control.should_save) and hasattr(optimizer, "eval"):
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
        train = recipe.train
        look = race.look_rows(train.micro_batch * train.grad_accum)
        self.rows: TrainingRows = read_rows(run, own, self.loaded.tokenizer, self.source.path, log, lambda _: [], look)
        self.full_steps = 0
        """Steps of the whole training; known after the first lap."""
        self.pace = race.Pace(0.0, 0.0)
        """As the newest lap has shown."""

    def warm_up(self) -> None:
        """Compile kernels in a first step, which shows nothing of the pace, then learn that and the number of steps."""
        self.lap(self.recipe.train.rate, 1)
        self.lap(self.recipe.train.rate, WARM_UP_STEPS)

    def lap(self, lr: float, steps: int, standing: Standing | None = None, is_kept: bool = False) -> Lap:
        """Train from the start with a rate, for so many steps: those of the training itself, and a fall of the rate.

        standing: of the round, to which the lap is added. is_kept: keep a checkpoint of the step before the fall, in
        the place of an earlier one, if the rate is ahead in the end. A lap that is too short for the training's warm-up
        has a shorter one, and is not kept.
        """
        began = time.monotonic()
        self._back_to_start()
        changes = {"lr": lr, "max_steps": steps, "report_to": "none"}
        recipe = self.recipe.model_copy(update={"train": self.recipe.train.model_copy(update=changes)})
        held_out = self._held_out()
        options = PromptOptions(recipe.data.thinking, recipe.data.template_options)
        samples = Samples([], self.loaded.tokenizer, self.source.path, options, self.log, False, [])
        reporter = LapReporter(self.run, self.log, recipe.train, self.memory, self.rows, held_out, samples)
        trainer = make_trainer(self.run, recipe, self.loaded, self.rows, reporter, self.kernel)
        trainer.args.eval_on_start = False
        trainer.args.per_device_eval_batch_size = self._rows_at_once
        reporter.count_tokens(trainer)
        own_steps = race.own_steps(steps)
        is_whole = own_steps >= WARM_UP_TIMES * trainer.args.get_warmup_steps(self.full_steps)
        reporter.whole_steps = max(steps, self.full_steps) if is_whole else steps
        reporter.save_at = own_steps if is_whole and own_steps and is_kept else None
        self._shape(trainer, reporter.whole_steps, own_steps)
        trained = trainer.train()
        history = trainer.state.log_history
        look = held_out.looks.looks[-1] if held_out.looks.looks else None
        if standing and look:
            standing.looks[lr] = look
        if reporter.save_at and trainer.state.global_step == steps:
            self._keep(trainer, own_steps, standing is not None and standing.best == lr)
        self.full_steps = self._steps_in_all(reporter.epoch_steps)
        del trainer
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        elapsed_s = time.monotonic() - began
        looking_s = sum(entry.get("eval_runtime", 0.0) for entry in history)
        step_s = (trained.metrics["train_runtime"] - looking_s) / steps
        self.pace = race.Pace(max(0.0, elapsed_s - steps * step_s), step_s)
        losses = tuple(entry["loss"] for entry in history if "loss" in entry)
        return Lap(lr, steps, losses, held_out.looks.mean(look) if look else None, elapsed_s)

    def _shape(self, trainer: Any, whole_steps: int, own_steps: int) -> None:
        """Give a trainer the schedule of a training of `whole_steps` steps up to `own_steps`, then a fall to 0; its
        checkpoints are those of that training."""
        create, save = trainer.create_scheduler, trainer._save_checkpoint

        def created(num_training_steps: int, optimizer: Any = None) -> Any:
            schedule = create(num_training_steps=whole_steps, optimizer=optimizer)
            schedule.lr_lambdas = [race.falling(share, own_steps, num_training_steps) for share in schedule.lr_lambdas]
            return schedule

        def saved(*given: Any, **named: Any) -> None:
            lap_steps, trainer.state.max_steps = trainer.state.max_steps, whole_steps
            save(*given, **named)
            trainer.state.max_steps = lap_steps

        trainer.create_scheduler, trainer._save_checkpoint = created, saved

    def _keep(self, trainer: Any, step: int, is_best: bool) -> None:
        """Move the checkpoint of a lap to the run's if it is the best so far, else remove it."""
        part = Path(trainer.args.output_dir) / f"checkpoint-{step}"
        if is_best:
            CheckpointWriter(self.run, self.log, 1, None).save(lambda: None, part)
        else:
            shutil.rmtree(part)

    def _steps_in_all(self, epoch_steps: int) -> int:
        train = self.recipe.train
        return train.max_steps or max(1, math.ceil(train.epochs * epoch_steps))

    def standing(self) -> Standing:
        """Of a round without laps yet."""
        return Standing(self._held_out().looks.tokens)

    def _held_out(self) -> HeldOut:
        return HeldOut(self.run, self.rows.looked_at, 0, 0, self._rows_at_once)

    @property
    def _rows_at_once(self) -> int:
        """Held-out rows that are looked at together: as many as are trained on."""
        train = self.recipe.train
        longest = max((len(row["input_ids"]) for row in self.rows.looked_at), default=1)
        return (
            min(train.micro_batch, max(1, train.micro_tokens // longest)) if train.micro_tokens else train.micro_batch
        )

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
        raise UserError(*race.NO_ROWS)
    track.warm_up()
    steps = race.first_steps(request.budget_s, track.pace, track.full_steps)
    if not steps:
        least_minutes = math.ceil(SPARE_TIME * race.least_s(track.pace, track.full_steps) / 60)
        raise UserError(
            f"A step takes {track.pace.step_s:.1f} s here, the start and the end of a short training "
            f"{track.pace.around_s:.0f} s, and the whole one has {track.full_steps} steps: in "
            f"{request.budget_s / 60:g} min the race would get fewer than {race.LEAST_STEPS} steps a rate.",
            f"Give it more time: --minutes {least_minutes}.",
        )
    raced = _race(track, steps, request.budget_s)
    if raced is None:
        log.write(Finished(stopped=True, elapsed_s=time.monotonic() - began))
        return
    write_atomically(run.path / "race.json", orjson.dumps(to_json(raced), option=orjson.OPT_INDENT_2))
    log.write(Finished(best_lr=raced.best_lr, elapsed_s=time.monotonic() - began))


def _race(track: Track, steps: int, budget_s: float) -> Race | None:
    """Both rounds, or one of whole trainings, with a checkpoint of the winner's last lap if the training can go on from
    it; None if it was stopped.

    steps: of a lap of the first round. budget_s: begin no lap beside those of a round's start that would not be over,
    with the planned ones of the last round, after so many seconds.
    """
    end = time.monotonic() + budget_s
    is_last = steps >= track.full_steps
    later_s = 0.0 if is_last else race.PLANNED[1] * track.pace.of(race.LONGER * steps)
    first = _round(track, 1, race.rates(track.recipe.train.rate), steps, end - later_s, is_last)
    if first is None:
        return None
    laps, standing = first
    if not is_last:
        steps = race.last_steps(end - time.monotonic(), track.pace, steps, track.full_steps)
        last = _round(track, 2, race.finalists(laps), steps, end, is_last=True)
        if last is None:
            return None
        laps, standing = [*laps, *last[0]], last[1]
    return Race(tuple(laps), standing.best, standing.level)


def _round(
    track: Track, number: int, rates: Sequence[float], steps: int, end: float, is_last: bool
) -> tuple[list[Lap], Standing] | None:
    """Laps of these rates, then of those beside the best that would be over at `end`; None if the race was stopped."""
    done, waiting, standing = list[Lap](), list(rates), track.standing()
    while waiting:
        track.log.write(Phase(name="race"))
        lap = track.lap(waiting.pop(0), steps, standing, is_last and not track.recipe.data.replay)
        if track.run.stop.exists():
            return None
        track.log.write(RacedLap(round=number, lr=lap.lr, steps=steps, loss=lap.held_out, elapsed_s=lap.elapsed_s))
        done.append(lap)
        more = None if waiting else race.beside(done)
        if more is not None and time.monotonic() + track.pace.of(steps) <= end:
            waiting.append(more)
    return done, standing
