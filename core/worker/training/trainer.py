"""TRL's trainer as a run needs it, the same for both backends."""

import math
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer
from trl import SFTConfig, SFTTrainer

from fitune.core.machine import Kernel
from fitune.core.recipe import Recipe
from fitune.core.runs import Phase, Run
from fitune.core.worker.cards.rank import ranks, splits
from fitune.core.worker.cards.shards import keep_files_of_one_card, split_layers_alone
from fitune.core.worker.cards.share import copy_adapter_alone, expect_all_gradients, share_rows
from fitune.core.worker.images.collator import ImageCollator
from fitune.core.worker.images.tower import without_gradients
from fitune.core.worker.rows import render
from fitune.core.worker.rows.micro_batches import split_steps
from fitune.core.worker.rows.training_rows import TrainingRows
from fitune.core.worker.training import model_with_adapter, packing
from fitune.core.worker.training.callbacks import Reporter
from fitune.core.worker.training.trackers import spare_from_trackers
from fitune.core.worker.training.variants.optimizers import own_optimizer
from fitune.core.worker.training.varlen_attention import allow_cudnn, could_be_faster

MIN_LR_RATE = 0.1
"""The last rate of cosine_with_min_lr, as a share of the learning rate."""


class CpuTrainer(SFTTrainer):
    """A trainer with the model's own loss, the same number: TRL computes it in a Triton kernel, which needs a GPU."""

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        return Trainer.compute_loss(self, *args, **kwargs)


def make_trainer(
    run: Run,
    recipe: Recipe,
    loaded: model_with_adapter.Loaded,
    rows: TrainingRows,
    reporter: Reporter,
    kernel: Kernel | None,
) -> Trainer:
    """TRL's trainer of the recipe's objective on these rows; the reporter writes its events."""
    compares = recipe.train.objective != "sft"
    if compares:
        from fitune.core.worker.training.objectives.trainers import comparing_trainer  # more of TRL to load

        settings = settings_of(recipe, loaded.dtype, run.path / "work", run.name, len(rows.train))
        reporter.log.write(Phase(name="prepare", rows=len(rows.train)))
        trainer = comparing_trainer(recipe, loaded, rows, reporter, settings)
    else:
        trainer = _sft_trainer(run, recipe, loaded, rows, reporter, kernel)
    trainer.optimizer = own_optimizer(recipe, trainer.model, trainer.args)
    spare_from_trackers(trainer, recipe.train.report_to, reporter.log)
    if loaded.dtype != "bfloat16":
        model_with_adapter.widen(trainer.model)
    share_rows(trainer)
    if splits(recipe):
        split_layers_alone(trainer)
        keep_files_of_one_card(trainer)
    elif ranks() > 1:
        copy_adapter_alone(trainer)
    if reporter.held_out:
        reporter.held_out.listen(trainer)
        trainer.args.eval_on_start = not reporter.held_out.looks.looks
    if recipe.train.micro_tokens and not compares and not trainer.args.packing:
        split_steps(trainer, recipe.train.micro_tokens)
    return trainer


def _sft_trainer(
    run: Run,
    recipe: Recipe,
    loaded: model_with_adapter.Loaded,
    rows: TrainingRows,
    reporter: Reporter,
    kernel: Kernel | None,
) -> SFTTrainer:
    """The trainer for rows with one answer, packed if that is worth it."""
    collator = None
    if rows.images:
        collator = ImageCollator(rows.images, render.text_part(loaded.tokenizer))
        without_gradients(loaded.model)
    packed = packing.choose(recipe, loaded.model, rows.train, reporter.log)
    length = recipe.model.max_seq_length
    train_set, eval_set = packing.to_sets(rows.train, rows.looked_at, length, packed)
    args = trainer_config(recipe, loaded.dtype, run.path / "work", packed, run.name, len(train_set))
    if ranks() > 1 and args.device.type == "cpu":
        args._setup_devices = torch.device("cpu")  # onto "cpu:0", as it is called there, torch loads no checkpoint
    if could_be_faster(kernel) or collator:
        args.padding_free = False  # padding costs less than a kernel for each row
    model_with_adapter.without_expert_loss(args, loaded.model)
    expect_all_gradients(args, loaded.model)
    allow_cudnn([*rows.train, *rows.looked_at])
    trainer = (SFTTrainer if torch.cuda.is_available() else CpuTrainer)(
        model=loaded.model,
        processing_class=loaded.tokenizer,
        args=args,
        data_collator=collator,
        train_dataset=train_set,
        eval_dataset=eval_set,
        callbacks=[reporter],
    )
    if packed:
        packing.unpack_if_refused(trainer, rows.train, rows.looked_at, length, reporter.log)
    if recipe.train.backend == "unsloth":
        packing.pad_flat_batches(trainer, loaded.model.config.model_type)
    return trainer


def trainer_config(
    recipe: Recipe, dtype: str, work: Path, packed: bool = False, name: str | None = None, rows: int | None = None
) -> SFTConfig:
    """The recipe as TRL's settings for rows with one answer.

    work: the trainer's own folder. name: the run's name for trackers. rows: the number of rows to train on, if known.
    """
    return SFTConfig(
        **settings_of(recipe, dtype, work, name, rows),
        max_length=recipe.model.max_seq_length,
        packing=packed,
        # The rows are rendered, labelled and truncated already, the same as in the preview.
        dataset_kwargs={"skip_prepare_dataset": True},
    )


def settings_of(
    recipe: Recipe, dtype: str, work: Path, name: str | None = None, rows: int | None = None
) -> dict[str, Any]:
    """The recipe as settings of transformers' trainer, whatever the objective; arguments as for `trainer_config`."""
    train = recipe.train
    epoch_steps = math.ceil(rows / (train.micro_batch * train.grad_accum)) if rows else math.inf
    steps = train.max_steps or train.epochs * epoch_steps
    return {
        "output_dir": str(work),
        "per_device_train_batch_size": train.micro_batch,
        "per_device_eval_batch_size": 1,  # so that the loss of each row is known
        "gradient_accumulation_steps": train.grad_accum // ranks(),
        "num_train_epochs": train.epochs,
        "max_steps": train.max_steps or -1,
        "learning_rate": train.rate,
        "lr_scheduler_type": train.scheduler,
        "lr_scheduler_kwargs": {"min_lr_rate": MIN_LR_RATE} if train.scheduler == "cosine_with_min_lr" else None,
        # Below 1 it is a share of all steps. The first step has a rate of 0, so a training of one step gets no warm-up.
        "warmup_steps": train.warmup_ratio if steps > 1 else 0,
        "optim": "adamw_torch" if train.optimizer == "lora_fa" else train.optimizer,  # which PEFT makes
        "weight_decay": train.weight_decay,
        "max_grad_norm": train.max_grad_norm,
        "bf16": dtype == "bfloat16",
        "fp16": dtype == "float16",
        "use_cpu": dtype == "float32",
        # Both backends have set up checkpointing on the model already.
        "gradient_checkpointing": False,
        "remove_unused_columns": False,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # which would show NaN as 0.0
        "disable_tqdm": True,
        # The reporter decides when to evaluate and save, by steps of this very run.
        "eval_strategy": "no",
        "save_strategy": "no",
        "prediction_loss_only": True,
        "ddp_broadcast_buffers": False,  # tables of positions, the same on each card
        "seed": train.seed,
        "data_seed": train.seed,
        "report_to": train.report_to,
        "run_name": name,
        "project": "fitune",
    }
