"""One training, top to bottom: the same path for both backends and all objectives; TRL's trainer takes the steps."""

import datetime
import gc
import shutil
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerState

from fitune.core.errors import UserError
from fitune.core.forecast import refuse_stretched
from fitune.core.machine import Kernel
from fitune.core.memory import CONTEXT_BYTES
from fitune.core.recipe import Recipe, deadline
from fitune.core.runs import EventLog, Finished, Phase, Run, Started, Tail, Warned, spent_s
from fitune.core.runs.checkpoints import choose
from fitune.core.score import Look, scores
from fitune.core.units import GIB
from fitune.core.worker import models
from fitune.core.worker.architecture.base_files import refuse_damaged
from fitune.core.worker.architecture.warnings_of import warnings_of
from fitune.core.worker.cards.rank import first_alone, leave, rank, splits, total
from fitune.core.worker.cards.shards import whole_adapter
from fitune.core.worker.chats.template import PromptOptions
from fitune.core.worker.chats.time_limit import limit_template
from fitune.core.worker.device import compute_dtype
from fitune.core.worker.memory_use import MemoryMeter, return_freed_blocks
from fitune.core.worker.rows import render
from fitune.core.worker.rows.replay import own_answers
from fitune.core.worker.rows.training_rows import read_rows, refuse_absent_tokens, served_switch
from fitune.core.worker.scoring import job
from fitune.core.worker.scoring.held_out import HeldOut, restore
from fitune.core.worker.training import model_with_adapter, record
from fitune.core.worker.training.callbacks import Reporter
from fitune.core.worker.training.recovery.guards import guarded, save_now, starting_anew_with_less
from fitune.core.worker.training.recovery.leaving import StopNow, terminated
from fitune.core.worker.training.samples import CANDIDATE_ROWS, Samples, questions
from fitune.core.worker.training.saving import adapter
from fitune.core.worker.training.saving.checkpoints import pass_over_damaged, save_when_there_is_room, step_of
from fitune.core.worker.training.saving.copies import Copies
from fitune.core.worker.training.trainer import make_trainer
from fitune.core.worker.training.varlen_attention import could_be_faster
from fitune.core.worker.tuned_model import TunedModel


def run(run: Run, log: EventLog, memory: MemoryMeter) -> None:
    """Train as run.json says, from the newest checkpoint if there is one, and leave the adapter in the run folder."""
    recipe, choice = run.recipe(), choose(run.checkpoints)
    checkpoint = choice.checkpoint
    refuse_absent_optimizer(recipe.train.optimizer)
    copies = Copies(run, log, recipe.run.copy_to) if recipe.run.copy_to and rank() == 0 else None
    earlier_s = spent_s(Tail(run.events).catch_up(), "train") if checkpoint else 0.0
    began = time.monotonic() - earlier_s
    limit_memory(recipe)
    kernel = model_with_adapter.attention_kernel(recipe.train.backend)
    _write_started(recipe, checkpoint, kernel, log)
    if rank() == 0:
        pass_over_damaged(run, choice, log)

    source = first_alone("model", lambda: models.of_run(run, log))
    refuse_damaged(source.path)
    if recipe.train.backend == "unsloth":
        refuse_stretched(str(source.path), recipe.model.max_seq_length)
    log.write(Phase(name="load", model=source.name, revision=source.revision))
    with starting_anew_with_less(run, recipe, log):
        loaded = model_with_adapter.load(recipe, source)
    for warning in warnings_of(loaded.model, recipe.lora, recipe.train.backend, torch.cuda.is_available()):
        log.write(warning)
    first_alone("start", lambda: adapter.remember_start(run, loaded.model))

    coder = render.text_part(loaded.tokenizer)
    limit_template(coder)
    options = PromptOptions(recipe.data.thinking, recipe.data.template_options)
    log.write(Phase(name="data", source=recipe.data.name, switch=served_switch(coder, options)))

    def answer_prompts(count: int) -> list[dict[str, Any]]:
        return first_alone("replay", lambda: own_answers(run, recipe, loaded.model, coder, source.path, count, log))

    rows = read_rows(run, recipe, loaded.tokenizer, source.path, log, answer_prompts)
    if splits(recipe) and rows.held_out:
        message = (
            "The model is split over the cards, so it is asked no questions, and its answers are not scored; the loss "
            "on the held-out rows is."
        )
        log.write(Warned(kind="split", message=message))
    refuse_absent_tokens(rows, coder, loaded.model.config.get_text_config().vocab_size)
    if not torch.cuda.is_available():
        longest = max(len(row.get(ids, ())) for row in rows.train for ids in ("input_ids", "rejected_ids"))
        tokens = recipe.train.micro_tokens or recipe.train.micro_batch * recipe.train.texts * longest
        return_freed_blocks(4 * tokens * loaded.model.config.get_text_config().hidden_size)
    samples = Samples(
        # A split model can't answer: the other ranks would have to compute with it.
        questions(rows.held_out[:CANDIDATE_ROWS], coder, options, rows.images)
        if rank() == 0 and not splits(recipe)
        else [],
        coder,
        source.path,
        options,
        log,
        recipe.train.backend == "unsloth",
        run.state().samples,
    )
    step = step_of(checkpoint) if checkpoint else 0
    held_out = HeldOut(run, rows.looked_at, recipe.train.patience, step) if rows.looked_at else None
    reporter = Reporter(run, log, recipe.train, memory, rows, held_out, samples)
    reporter.limit = deadline(recipe.run, datetime.datetime.now().astimezone(), time.monotonic() - began)
    trainer = make_trainer(run, recipe, loaded, rows, reporter, kernel)
    guard = guarded(trainer, run, log, coder, memory, copies)
    reporter.count_tokens(trainer)

    gc.collect()
    with starting_anew_with_less(run, recipe, log, guard):
        train_from(checkpoint, trainer, run.stop)
    log.write(memory.read(trainer.state.global_step))
    tensors = whole_adapter(trainer.model) if splits(recipe) else None
    leave()
    if rank() > 0:  # the rest is done once
        return
    shutil.rmtree(run.path / "work", ignore_errors=True)
    chosen = None
    if trainer.state.global_step:  # one that was stopped before its first step has nothing to save
        log.write(Phase(name="save"))
        chosen = held_out.deliver(trainer.state.global_step, log) if held_out else None
        kept = held_out.adapter(chosen) if held_out and chosen else None
        if kept and tensors:  # a split model is saved from its tensors
            tensors = kept
        elif kept:
            restore(trainer.model, kept)
        save_when_there_is_room(
            lambda: adapter.save(run, trainer.model, loaded.tokenizer, source, tensors),
            run,
            trainer.state.global_step,
            log,
        )
        scores.discard(run.path)
        if rows.images is None:  # what images cost says nothing about other runs
            record.record(run, recipe, reporter.batches, memory, log)
        if not terminated.is_set():
            samples.end(trainer.model, trainer.state.global_step, trainer.state.max_steps)
            trained_s = time.monotonic() - began
            tuned = None if splits(recipe) else TunedModel(trainer.model, coder, samples.stops, images=rows.images)
            job.after_training(run, recipe, tuned, rows.held_out, rows.keys, trained_s, log)
    _write_finished(trainer.state, reporter, chosen, time.monotonic() - began)
    if copies:
        copies.finish()


def refuse_absent_optimizer(name: str) -> None:
    """Raise UserError if the package of train.optimizer is not installed: the trainer finds out after minutes."""
    if name == "schedule_free_adamw" and find_spec("schedulefree") is None:
        hint = 'Install it beside fitune (uv pip install schedulefree), or set optimizer = "adamw_8bit".'
        raise UserError("train.optimizer: the package schedulefree is not installed.", hint)


def train_from(checkpoint: Path | None, trainer: Trainer, stop: Path) -> None:
    """Train to the end, from a checkpoint if there is one, unless the run was asked to stop before the first step.

    A checkpoint of the last step is only loaded: transformers would take another step from it within an epoch.
    """
    asked_to_stop = total(rank() == 0 and stop.exists()) > 0
    if checkpoint:
        state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        if asked_to_stop or state.global_step >= state.max_steps:
            trainer._load_from_checkpoint(str(checkpoint))
            trainer.state = state
            return
    if asked_to_stop:
        return
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except StopNow:
        save_now(trainer)


def _write_started(recipe: Recipe, checkpoint: Path | None, kernel: Kernel | None, log: EventLog) -> None:
    log.write(
        Started(
            backend=recipe.train.backend,
            dtype=compute_dtype(),
            device=torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
            attention=kernel,
            resumed_from=step_of(checkpoint) if checkpoint else None,
        )
    )
    if could_be_faster(kernel):
        message = (
            "Attention takes one row after another, which makes short rows several times slower: no FlashAttention "
            "works with the installed torch. `fitune doctor` says how to install the pinned one, which has it."
        )
        log.write(Warned(kind="attention", message=message))


def _write_finished(state: TrainerState, reporter: Reporter, chosen: Look | None, elapsed_s: float) -> None:
    """Write the last event. chosen: the look at the held-out rows whose adapter is delivered."""
    losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
    is_complete = reporter.ended_early or 0 < state.max_steps <= state.global_step
    held_out = reporter.held_out
    if held_out and chosen and is_complete:
        held_out.remove_others(chosen)
    reporter.log.write(
        Finished(
            stopped=not is_complete,
            terminated=(not is_complete and terminated.is_set()) or None,
            steps=state.global_step,
            total_steps=state.max_steps,
            first_loss=losses[0] if losses else None,
            last_loss=losses[-1] if losses else None,
            eval_loss=held_out.looks.mean(chosen) if held_out and chosen else None,
            delivered_step=chosen.step if chosen else None,
            seen_tokens=state.num_input_tokens_seen,
            elapsed_s=elapsed_s,
            adapter="adapter",
            memory=reporter.memory.read(),
        )
    )


def limit_memory(recipe: Recipe) -> None:
    """Keep the process below run.vram_limit_gib, if the recipe sets one: PyTorch gets it less CUDA's context."""
    if recipe.run.vram_limit_gib and torch.cuda.is_available():
        card_bytes = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
        left = max(0.0, recipe.run.vram_limit_gib * GIB - CONTEXT_BYTES)
        torch.cuda.set_per_process_memory_fraction(min(1.0, left / card_bytes))
