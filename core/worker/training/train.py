"""One training, top to bottom: the same path for both backends; TRL's SFTTrainer takes the steps."""

import datetime
import gc
import math
import shutil
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerState
from trl import SFTConfig, SFTTrainer

from fitune.core.errors import UserError
from fitune.core.machine import Kernel, install_sentence, missing_kernels
from fitune.core.memory import CONTEXT_BYTES, EXPERT_NAMES
from fitune.core.recipe import Lora, Recipe, deadline
from fitune.core.runs import EventLog, Finished, Phase, Run, Started, Tail, Warned, spent_s
from fitune.core.runs.checkpoints import choose
from fitune.core.score import Look
from fitune.core.units import GIB
from fitune.core.worker import models
from fitune.core.worker.architecture.base_files import refuse_damaged
from fitune.core.worker.cards.rank import first_alone, leave, rank, ranks, splits, total
from fitune.core.worker.cards.shards import keep_files_of_one_card, split_layers_alone, whole_adapter
from fitune.core.worker.cards.share import copy_adapter_alone, share_rows
from fitune.core.worker.chats.template import PromptOptions
from fitune.core.worker.chats.time_limit import limit_template
from fitune.core.worker.device import compute_dtype
from fitune.core.worker.memory_use import MemoryMeter
from fitune.core.worker.rows import render
from fitune.core.worker.rows.micro_batches import split_steps
from fitune.core.worker.rows.replay import own_answers
from fitune.core.worker.scoring import job
from fitune.core.worker.scoring.held_out import HeldOut, restore
from fitune.core.worker.training import model_with_adapter, packing, record, saved_adapter
from fitune.core.worker.training.callbacks import Reporter
from fitune.core.worker.training.recovery.checkpoints import pass_over_damaged, save_when_there_is_room, step_of
from fitune.core.worker.training.recovery.guards import guarded, save_now, starting_anew_with_less
from fitune.core.worker.training.recovery.leaving import StopNow, terminated
from fitune.core.worker.training.samples import CANDIDATE_ROWS, Samples, questions
from fitune.core.worker.training.training_rows import TrainingRows, read_rows, refuse_absent_tokens, served_switch
from fitune.core.worker.training.varlen_attention import allow_cudnn, could_be_faster
from fitune.core.worker.tuned_model import TunedModel

MIN_LR_RATE = 0.1
"""The last rate of cosine_with_min_lr, as a share of the learning rate."""


class CpuTrainer(SFTTrainer):
    """A trainer with the model's own loss, the same number: TRL computes it in a Triton kernel, which needs a GPU."""

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        return Trainer.compute_loss(self, *args, **kwargs)


def run(run: Run, log: EventLog, memory: MemoryMeter) -> None:
    """Train as run.json says, from the newest checkpoint if there is one, and leave the adapter in the run folder."""
    recipe, choice = run.recipe(), choose(run.checkpoints)
    checkpoint = choice.checkpoint
    refuse_absent_optimizer(recipe.train.optimizer)
    earlier_s = spent_s(Tail(run.events).catch_up(), "train") if checkpoint else 0.0
    began = time.monotonic() - earlier_s
    limit_memory(recipe)
    kernel = model_with_adapter.attention_kernel(recipe.train.backend)
    _write_started(recipe, checkpoint, kernel, log)
    if rank() == 0:
        pass_over_damaged(run, choice, log)

    source = first_alone("model", lambda: models.of_run(run, log))
    refuse_damaged(source.path)
    log.write(Phase(name="load", model=source.name, revision=source.revision))
    with starting_anew_with_less(run, recipe, log):
        loaded = model_with_adapter.load(recipe, source)
    _warn_of_unknown_modules(recipe.lora, loaded.model, log)
    _warn_of_experts(loaded.model, log)
    _warn_of_slow_layers(loaded.model, recipe.train.backend, log)
    first_alone("start", lambda: saved_adapter.remember_start(run, loaded.model))

    coder = render.text_part(loaded.tokenizer)
    limit_template(coder)
    options = PromptOptions(recipe.data.thinking, recipe.data.template_options)
    log.write(Phase(name="data", source=recipe.data.name, switch=served_switch(coder, options)))

    def answer_prompts(count: int) -> list[dict[str, Any]]:
        return first_alone("replay", lambda: own_answers(run, recipe, loaded.model, coder, source.path, count, log))

    rows = read_rows(run, recipe, loaded.tokenizer, log, answer_prompts)
    refuse_absent_tokens(rows, coder, loaded.model.config.get_text_config().vocab_size)
    samples = Samples(
        # A split model can't answer: the other ranks would have to compute with it.
        questions(rows.held_out[:CANDIDATE_ROWS], coder, options) if rank() == 0 and not splits(recipe) else [],
        coder,
        source.path,
        log,
        recipe.train.backend == "unsloth",
        run.state().samples,
    )
    step = step_of(checkpoint) if checkpoint else 0
    held_out = HeldOut(run, rows.looked_at, recipe.train.patience, step) if rows.looked_at else None
    reporter = Reporter(run, log, recipe.train, memory, rows, held_out, samples)
    reporter.limit = deadline(recipe.run, datetime.datetime.now().astimezone(), time.monotonic() - began)
    trainer = make_trainer(run, recipe, loaded, rows, reporter, kernel)
    guard = guarded(trainer, run, log, coder)
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
            lambda: saved_adapter.save(run, trainer.model, loaded.tokenizer, source, tensors),
            run,
            trainer.state.global_step,
            log,
        )
        record.record(run, recipe, source.path, reporter.batches, memory, log)
        if not terminated.is_set():
            samples.end(trainer.model, trainer.state.global_step, trainer.state.max_steps)
            trained_s = time.monotonic() - began
            tuned = None if splits(recipe) else TunedModel(trainer.model, coder, samples.stops)
            job.after_training(run, recipe, tuned, rows.held_out, rows.keys, trained_s, log)
    _write_finished(trainer.state, reporter, chosen, time.monotonic() - began)


def refuse_absent_optimizer(name: str) -> None:
    """Raise UserError if the package of train.optimizer is not installed: the trainer finds out after minutes."""
    if name == "schedule_free_adamw" and find_spec("schedulefree") is None:
        hint = 'Install it beside fitune (uv pip install schedulefree), or set optimizer = "adamw_8bit".'
        raise UserError("train.optimizer: the package schedulefree is not installed.", hint)


def train_from(checkpoint: Path | None, trainer: SFTTrainer, stop: Path) -> None:
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


def _warn_of_unknown_modules(lora: Lora, model: Any, log: EventLog) -> None:
    """Warn of names in lora.target_modules that no module has: peft is silent as long as another name fits."""
    # Unsloth trains embed_tokens and lm_head whole, which peft keeps as modules_to_save.
    trained = ("lora_A", "modules_to_save")
    adapted = [f".{name}" for name, module in model.named_modules() if any(hasattr(module, part) for part in trained)]
    if any(name.endswith(".experts") for name in adapted):  # unsloth adapts their weights there, which are no modules
        adapted += [f".{name}" for name in EXPERT_NAMES]
    names = () if lora.target_modules == "all-linear" else lora.target_modules
    if unknown := [name for name in names if not any(module.endswith(f".{name}") for module in adapted)]:
        message = f"lora.target_modules: the model has no {', '.join(unknown)}; only the others are trained."
        log.write(Warned(kind="modules", message=message))


def _warn_of_experts(model: Any, log: EventLog) -> None:
    """Warn if experts get an adapter: peft and unsloth keep it in other shapes than those of the model's files."""
    if any(name.endswith(".experts") and hasattr(module, "lora_A") for name, module in model.named_modules()):
        message = (
            "The adapter changes the model's experts, too, and so can't be merged or exported as GGUF afterwards. One "
            'that can: lora.target_modules = ["q_proj", "k_proj", "v_proj", "o_proj"].'
        )
        log.write(Warned(kind="experts", message=message))


def _warn_of_slow_layers(model: Any, backend: str, log: EventLog) -> None:
    """Warn if layers of the model that are no attention lack their kernels on the card."""
    missing = missing_kernels(model.config.model_type, backend) if torch.cuda.is_available() else ()
    if missing:
        cause = f"Some layers of this model are several times slower without {' and '.join(missing)}."
        log.write(Warned(kind="kernels", message=f"{cause} {install_sentence(missing)}"))


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


def make_trainer(
    run: Run,
    recipe: Recipe,
    loaded: model_with_adapter.Loaded,
    rows: TrainingRows,
    reporter: Reporter,
    kernel: Kernel | None,
) -> SFTTrainer:
    """TRL's trainer on these rows, packed if that is worth it; the reporter writes its events."""
    packed = packing.choose(recipe, loaded.model, rows.train, reporter.log)
    length = recipe.model.max_seq_length
    train_set, eval_set = packing.to_sets(rows.train, rows.looked_at, length, packed)
    args = trainer_config(recipe, loaded.dtype, run.path / "work", packed, run.name, len(train_set))
    if ranks() > 1 and args.device.type == "cpu":
        args._setup_devices = torch.device("cpu")  # onto "cpu:0", as it is called there, torch loads no checkpoint
    if could_be_faster(kernel):
        args.padding_free = False  # padding costs less than a kernel for each row
    if getattr(loaded.model.config.get_text_config(), "num_local_experts", None) == 0:
        args.router_aux_loss_coef = 0.0  # TRL asks every family with experts for their loss, also a model without any
    allow_cudnn([*rows.train, *rows.looked_at])
    trainer = (SFTTrainer if torch.cuda.is_available() else CpuTrainer)(
        model=loaded.model,
        processing_class=loaded.tokenizer,
        args=args,
        train_dataset=train_set,
        eval_dataset=eval_set,
        callbacks=[reporter],
    )
    if loaded.dtype == "float16":
        widen(trainer.model)
    if packed:
        packing.unpack_if_refused(trainer, rows.train, rows.looked_at, length, reporter.log)
    if recipe.train.backend == "unsloth":
        packing.pad_flat_batches(trainer, loaded.model.config.model_type)
    share_rows(trainer)
    if splits(recipe):
        split_layers_alone(trainer)
        keep_files_of_one_card(trainer)
    elif ranks() > 1:
        copy_adapter_alone(trainer.model)
    if reporter.held_out:
        reporter.held_out.listen(trainer)
        trainer.args.eval_on_start = not reporter.held_out.looks.looks
    if recipe.train.micro_tokens and not trainer.args.packing:
        split_steps(trainer, recipe.train.micro_tokens)
    return trainer


def widen(model: Any) -> None:
    """Make the trained weights fp32: TRL 1.15 makes the adapter of a quantized model bf16 (sft_trainer.py), and the
    gradient scaler of fp16 does not take bf16."""
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()


def limit_memory(recipe: Recipe) -> None:
    """Keep the process below run.vram_limit_gib, if the recipe sets one: PyTorch gets it less CUDA's context."""
    if recipe.run.vram_limit_gib and torch.cuda.is_available():
        card_bytes = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
        left = max(0.0, recipe.run.vram_limit_gib * GIB - CONTEXT_BYTES)
        torch.cuda.set_per_process_memory_fraction(min(1.0, left / card_bytes))


def trainer_config(
    recipe: Recipe, dtype: str, work: Path, packed: bool = False, name: str | None = None, rows: int | None = None
) -> SFTConfig:
    """The recipe as TRL's settings.

    work: the trainer's own folder. name: the run's name for trackers. rows: the number of rows to train on, if known.
    """
    train = recipe.train
    epoch_steps = math.ceil(rows / (train.micro_batch * train.grad_accum)) if rows else math.inf
    steps = train.max_steps or train.epochs * epoch_steps
    return SFTConfig(
        output_dir=str(work),
        per_device_train_batch_size=train.micro_batch,
        per_device_eval_batch_size=1,  # so that the loss of each row is known
        gradient_accumulation_steps=train.grad_accum // ranks(),
        num_train_epochs=train.epochs,
        max_steps=train.max_steps or -1,
        learning_rate=train.lr,
        lr_scheduler_type=train.scheduler,
        lr_scheduler_kwargs={"min_lr_rate": MIN_LR_RATE} if train.scheduler == "cosine_with_min_lr" else None,
        # Below 1 it is a share of all steps. The first step has a rate of 0, so a training of one step gets no warm-up.
        warmup_steps=train.warmup_ratio if steps > 1 else 0,
        optim=train.optimizer,
        weight_decay=train.weight_decay,
        max_grad_norm=train.max_grad_norm,
        bf16=dtype == "bfloat16",
        fp16=dtype == "float16",
        use_cpu=dtype == "float32",
        # Both backends have set up checkpointing on the model already.
        gradient_checkpointing=False,
        max_length=recipe.model.max_seq_length,
        packing=packed,
        # The rows are rendered, labelled and truncated already, the same as in the preview.
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        logging_steps=1,
        logging_nan_inf_filter=False,  # which would show NaN as 0.0
        disable_tqdm=True,
        # The reporter decides when to evaluate and save, by steps of this very run.
        eval_strategy="no",
        save_strategy="no",
        prediction_loss_only=True,
        ddp_broadcast_buffers=False,  # tables of positions, the same on each card
        seed=train.seed,
        data_seed=train.seed,
        report_to=train.report_to,
        run_name=name,
        project="fitune",
    )
