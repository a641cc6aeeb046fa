"""TRL's trainers for DPO, ORPO and KTO, on rows that are in tokens already: rendered and cut as in the preview.

What the model was before is the same model with its adapter switched off: no second one is loaded.
"""

from typing import Any

import torch
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference

from fitune.core.recipe import Recipe
from fitune.core.worker.rows.training_rows import TrainingRows
from fitune.core.worker.training.callbacks import Reporter
from fitune.core.worker.training.model_with_adapter import Loaded, without_expert_loss
from fitune.core.worker.training.objectives.cpu_head import IGNORED, use_cpu_head
from fitune.core.worker.training.objectives.sets import pair_set, rated_set, weights_of_kinds

Settings = dict[str, Any]
ADAPTER, REFERENCE = "default", "ref"
"""The names of the adapter, and of the copy of how it began that TRL 1.15 keeps (dpo_trainer.py, kto_trainer.py)."""


class PairTrainer(DPOTrainer):
    """TRL's trainer for DPO (Rafailov et al. 2023, arXiv 2305.18290)."""

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset


class RatedTrainer(KTOTrainer):
    """TRL's trainer for KTO (Ethayarajh et al. 2024, arXiv 2402.01306)."""

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset


class OddsTrainer(ORPOTrainer):
    """TRL's trainer for ORPO (Hong et al. 2024, arXiv 2403.07691)."""

    def tokenize_row(self, feature: Any, model: Any = None) -> Any:
        return feature


class OddsCollator(DataCollatorForPreference):
    """Puts pairs together as for DPO, and names the halves of the batch as TRL's trainer for ORPO does."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = super().torch_call(examples)
        rows = len(examples)
        labels = batch["input_ids"].masked_fill(batch.pop("completion_mask") == 0, IGNORED)
        for name, half in (("chosen", slice(rows)), ("rejected", slice(rows, None))):
            batch[f"{name}_input_ids"] = batch["input_ids"][half]
            batch[f"{name}_attention_mask"] = batch["attention_mask"][half]
            batch[f"{name}_labels"] = labels[half]
        return batch


def comparing_trainer(
    recipe: Recipe, loaded: Loaded, rows: TrainingRows, reporter: Reporter, settings: Settings
) -> DPOTrainer | KTOTrainer | ORPOTrainer:
    """The trainer of the recipe's objective. settings: those of transformers' trainer."""
    train = recipe.train
    settings = {**settings, "beta": train.beta, "max_length": recipe.model.max_seq_length}
    # TRL switches checkpointing off and on again around the reference pass: on as it was set up.
    settings["gradient_checkpointing_kwargs"] = {"use_reentrant": False}
    common = {"model": loaded.model, "processing_class": loaded.tokenizer, "callbacks": [reporter]}
    match train.objective:
        case "kto":
            good, bad = weights_of_kinds(rows.train)
            sets = {
                "train_dataset": rated_set(rows.train, train.micro_batch, train.seed),
                "eval_dataset": rated_set(rows.looked_at, train.micro_batch),
            }
            args = KTOConfig(**settings, desirable_weight=good, undesirable_weight=bad)
            trainer = RatedTrainer(args=without_expert_loss(args, loaded.model), **common, **sets)
        case "orpo":
            sets = {"train_dataset": pair_set(rows.train), "eval_dataset": pair_set(rows.looked_at)}
            pad = loaded.tokenizer.pad_token_id
            collator = OddsCollator(loaded.tokenizer.eos_token_id if pad is None else pad, settings["max_length"])
            args = ORPOConfig(**settings, padding_value=collator.pad_token_id)
            trainer = OddsTrainer(args=args, data_collator=collator, **common, **sets)
            trainer.use_dpo_data_collator = True  # else each evaluation warns that this is none
        case _:
            sets = {"train_dataset": pair_set(rows.train), "eval_dataset": pair_set(rows.looked_at)}
            args = DPOConfig(**settings)
            trainer = PairTrainer(args=without_expert_loss(args, loaded.model), **common, **sets)
    if REFERENCE in trainer.model.peft_config:  # a fresh adapter changes nothing: without it the model is what it was
        trainer.model.delete_adapter(REFERENCE)
        trainer.model.set_adapter(ADAPTER)  # modules that are trained whole may have none now
    if train.backend == "unsloth":  # else TRL puts torch's checkpoints in the place of Unsloth's at each reference pass
        trainer.model.is_gradient_checkpointing = False
    if not torch.cuda.is_available():
        use_cpu_head()
    return trainer
