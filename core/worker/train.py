"""One fine-tune, top to bottom. Both backends take this path; TRL's SFTTrainer does the training."""

import gc
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer
from trl import SFTConfig, SFTTrainer

from core import dataset
from core.errors import Problem
from core.events import EventLog
from core.recipe_fields import Recipe
from core.rows.split import eval_fraction, split
from core.runs import Run
from core.worker import adapters, backends, data, lesson, models, pack
from core.worker.cut import Cut, cut, nothing_left
from core.worker.memory import Memory
from core.worker.reporting import Reporter
from core.worker.samples import ROWS_LOOKED_AT, Samples, questions

MIN_LR_RATE = 0.1
"""Where cosine_with_min_lr ends, as a share of the learning rate."""


class CpuTrainer(SFTTrainer):
    """TRL computes its loss in a Triton kernel, which needs a GPU; on a CPU the model's own loss is the same number."""

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        return Trainer.compute_loss(self, *args, **kwargs)


def run(run: Run, log: EventLog, memory: Memory) -> None:
    """Train as run.json says, from the newest checkpoint if there is one, and leave the adapter in the run folder."""
    began = time.monotonic()

    # 1. What was asked for
    recipe = run.recipe()
    checkpoint = run.newest_checkpoint()
    limit_memory(recipe)
    log.write(
        "started",
        backend=recipe.train.backend,
        dtype=backends.compute_dtype(),
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        resumed_from=int(checkpoint.name.partition("-")[2]) if checkpoint else None,
    )

    # 2. The model's files, then the model with its adapter
    source = models.of_run(run, log)
    log.write("phase", name="load", model=source.name, revision=source.revision)
    loaded = backends.load(recipe, source)
    model, tokenizer = loaded.model, loaded.tokenizer
    adapters.remember_start(run, model)

    # 3. The rows, as token ids with labels
    log.write("phase", name="data", source=recipe.data.source)
    train_rows, eval_rows, held_out = read_rows(recipe, tokenizer, log)
    packed = pack.choose(recipe, model, train_rows, log)
    length = recipe.model.max_seq_length
    train_set, eval_set = pack.to_sets(train_rows, eval_rows, length, packed)

    # 4. The trainer
    coder = data.text_part(tokenizer)
    samples = Samples(
        questions(held_out, coder), coder, source.path, log, recipe.train.backend == "unsloth", run.state().samples
    )
    reporter = Reporter(run, log, recipe.train, memory, bool(eval_rows), samples)
    work = run.path / "work"
    trainer = (SFTTrainer if torch.cuda.is_available() else CpuTrainer)(
        model=model,
        processing_class=tokenizer,
        args=trainer_config(recipe, loaded.dtype, work, packed),
        train_dataset=train_set,
        eval_dataset=eval_set,
        callbacks=[reporter],
    )
    if packed:
        pack.unpack_if_refused(trainer, train_rows, eval_rows, length, log)
    reporter.count_tokens(trainer)

    # 5. Train
    gc.collect()
    if not run.stop.exists():
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    log.write("memory", step=trainer.state.global_step, **memory.read())
    lesson.record(run, recipe, source.path, reporter.batches, memory, log)

    # 6. The adapter, whole or not at all; one that was stopped before its first step has nothing to save
    if trainer.state.global_step:
        log.write("phase", name="save")
        adapters.save(run, trainer.model, tokenizer, source)
    shutil.rmtree(work, ignore_errors=True)

    # 7. The held-out questions once more
    if trainer.state.global_step:
        samples.end(trainer.model, trainer.state.global_step, trainer.state.max_steps)

    history = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    log.write(
        "finished",
        stopped=reporter.stopped or not trainer.state.global_step,
        steps=trainer.state.global_step,
        total_steps=trainer.state.max_steps,
        first_loss=history[0] if history else None,
        last_loss=history[-1] if history else None,
        eval_loss=reporter.last_eval_loss,
        seen_tokens=trainer.state.num_input_tokens_seen,
        elapsed_s=time.monotonic() - began,
        adapter="adapter",
        memory=memory.read(),
    )


def limit_memory(recipe: Recipe) -> None:
    """Keep PyTorch below run.vram_limit_gib, if the recipe sets one."""
    if recipe.run.vram_limit_gib and torch.cuda.is_available():
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, recipe.run.vram_limit_gib * 2**30 / total))


def read_rows(
    recipe: Recipe, tokenizer: Any, log: EventLog
) -> tuple[list[dict[str, list[int]]], list[dict[str, list[int]]], list[dict[str, Any]]]:
    """Rendered rows to train on, rendered rows held out, and some of these as they were, to be asked.

    Raises UserError if nothing is left to train on.
    """
    tokenizer = data.text_part(tokenizer)
    if data.ensure_template(tokenizer):
        message = (
            "This is a base model without a chat template: rows are written as plain ### User / ### Assistant text."
        )
        log.write("warning", kind="template", message=message)
    skipped: list[Problem] = []
    rows = list(dataset.rows(recipe.data, on_skip=skipped.append))
    train_places, eval_places = split(rows, eval_fraction(recipe, len(rows)), recipe.train.seed)
    length, loss_on = recipe.model.max_seq_length, recipe.data.loss_on
    kept = cut((rows[place] for place in train_places), tokenizer, length, loss_on)
    aside = cut((rows[place] for place in eval_places), tokenizer, length, loss_on)
    _tell_losses(log, skipped, kept, len(train_places))
    if not kept.rows:
        raise nothing_left(kept, recipe.data.source)
    return kept.rows, aside.rows, [rows[place] for place in eval_places[:ROWS_LOOKED_AT]]


def _tell_losses(log: EventLog, skipped: list[Problem], kept: Cut, asked: int) -> None:
    """A warning for each kind of row that is not trained as it stands in the data. asked: rows meant for training."""
    if skipped:
        message = f"{len(skipped)} rows were left out; the first: {skipped[0]}"
        log.write("warning", kind="rows", message=message, count=len(skipped))
    if len(kept.rows) > asked:
        message = (
            f"{asked} rows became {len(kept.rows)}: the model's chat template shows earlier answers of a chat "
            "otherwise than the model writes them, so each is learnt in a row of its own."
        )
        log.write("warning", kind="template", message=message, count=len(kept.rows))
    for kind, count, message in kept.losses():
        log.write("warning", kind=kind, message=message, count=count)


def trainer_config(recipe: Recipe, dtype: str, work: Path, packed: bool = False) -> SFTConfig:
    """The recipe in TRL's words."""
    train = recipe.train
    return SFTConfig(
        output_dir=str(work),
        per_device_train_batch_size=train.micro_batch,
        per_device_eval_batch_size=train.micro_batch,
        gradient_accumulation_steps=train.grad_accum,
        num_train_epochs=train.epochs,
        max_steps=train.max_steps or -1,
        learning_rate=train.lr,
        lr_scheduler_type=train.scheduler,
        lr_scheduler_kwargs={"min_lr_rate": MIN_LR_RATE} if train.scheduler == "cosine_with_min_lr" else None,
        warmup_steps=train.warmup_ratio,  # below 1 it is a share of all steps
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
        # The rows come rendered, labelled and cut: what was previewed is what is trained.
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        logging_steps=1,
        logging_nan_inf_filter=False,  # which would show NaN as 0.0
        disable_tqdm=True,
        # The reporter decides when to evaluate and save, by steps of this very run.
        eval_strategy="no",
        save_strategy="no",
        prediction_loss_only=True,
        seed=train.seed,
        data_seed=train.seed,
        report_to=train.report_to,
    )
