"""The recipe as an Axolotl configuration; its keys are checked against the schema of VERSION."""

from typing import Any

from fitune.core.deliver.handoff.dataset_files import EVAL, TRAIN, RowKind, detect_kind
from fitune.core.deliver.handoff.quoting import commented, yaml_text
from fitune.core.deliver.handoff.spec import Files, TrainingSpec, is_folder

VERSION = "0.21.0"
TRACKER_SWITCH = {
    "wandb": "use_wandb",
    "mlflow": "use_mlflow",
    "tensorboard": "use_tensorboard",
    "trackio": "use_trackio",
}


def axolotl(spec: TrainingSpec) -> Files:
    """axolotl.yaml, for a folder with train.jsonl and eval.jsonl. Raises UserError as `dataset_files.detect_kind`."""
    kind = detect_kind(spec.recipe)
    lines = [
        f"{spec.name} as Axolotl trains it. Needs axolotl {VERSION} (Python 3.12) on an NVIDIA card:",
        "  axolotl train axolotl.yaml",
        f"Beside it lie {TRAIN} and {EVAL}: the rows as fitune read them, already split.",
        *spec.environment(),
        *spec.notes,
        *(f"Not carried over: {note}" for note in not_carried(spec, kind)),
    ]
    return {"axolotl.yaml": commented(lines) + "\n" + yaml_text(config(spec, kind))}


def config(spec: TrainingSpec, kind: RowKind) -> dict[str, Any]:
    """The settings as a tree, without those that the recipe leaves open."""
    tree = {**_model(spec), **_lora(spec), **_data(spec, kind), **_train(spec, kind)}
    return {key: value for key, value in tree.items() if value is not None}


def not_carried(spec: TrainingSpec, kind: RowKind) -> list[str]:
    """A note for each setting that Axolotl does not have, or treats differently."""
    lora, train, notes = spec.recipe.lora, spec.recipe.train, []
    if lora.bias != "none":
        notes.append(f"lora.bias = {lora.bias}: Axolotl trains no biases.")
    if lora.alpha != int(lora.alpha):
        notes.append(f"lora.alpha = {lora.alpha}: Axolotl takes whole numbers; it is rounded.")
    if lora.rank_pattern:
        notes.append("lora.rank_pattern: Axolotl takes one rank for all modules.")
    if train.optimizer == "lora_fa":
        notes.append("train.optimizer = lora_fa: Axolotl trains both matrices of the adapter, by AdamW.")
    if train.offload_layers is not None:
        notes.append(f"train.offload_layers = {train.offload_layers}: layer_offloading moves all frozen layers.")
    if spec.recipe.data.replay and spec.recipe.data.replay_source is None:
        notes.append("data.replay: the base model's own answers are not among the rows.")
    if spec.recipe.data.text_overlap is not None:
        notes.append("data.text_overlap: Axolotl cuts a text that is too long without an overlap.")
    if train.micro_tokens is not None:
        notes.append("train.micro_tokens: micro-batches hold so few rows that they never come to more tokens.")
    if train.checkpoint_skip_layers is not None:
        notes.append("train.checkpoint_skip_layers: Axolotl recomputes the activations of all layers.")
    if train.tiled_mlp:
        notes.append("train.tiled_mlp: each layer's MLP takes all tokens at once.")
    if train.checkpointing == "unsloth":
        notes.append('train.checkpointing = "unsloth": activation_offloading is Axolotl\'s nearest.')
    if train.report_to == "tensorboard":
        notes.append("train.report_to: install tensorboard beside Axolotl.")
    if spec.recipe.run.vram_limit_gib is not None:
        notes.append("run.vram_limit_gib: Axolotl takes what it needs of the card.")
    if spec.recipe.run.max_hours is not None or spec.recipe.run.stop_at is not None:
        notes.append("run.max_hours, run.stop_at: Axolotl trains to its end.")
    if spec.recipe.run.pause_above_c is not None:
        notes.append("run.pause_above_c: Axolotl does not pause.")
    if spec.recipe.run.copy_to is not None:
        notes.append("run.copy_to: Axolotl makes no copies.")
    if train.save_minutes is not None:
        notes.append("train.save_minutes: Axolotl saves by steps alone.")
    if spec.recipe.run.gpu is not None:
        notes.append("run.gpu: choose the card with CUDA_VISIBLE_DEVICES.")
    if kind.has_eval:
        notes.append(f"train.patience = {train.patience}: Axolotl trains to its end, and the last adapter is kept.")
        notes.append(f"train.score = {train.score}: Axolotl compares no answers with those of the base model.")
    if kind.holds == "text" and spec.recipe.data.text_overlap is None:
        notes.append("rows of plain text that are too long lose their end in fitune; Axolotl cuts them into several.")
    if kind.holds == "messages":
        notes.append("data.thinking: Axolotl learns what the chat template writes of thoughts, empty ones too.")
        notes.append("the plain template that fitune gives a model without a chat template: Axolotl stops there.")
    if spec.recipe.data.template_options:
        notes.append("data.template_options: Axolotl writes rows with the options that the template has by itself.")
    deliver = spec.recipe.deliver
    if deliver.merge or deliver.gguf or deliver.push_repo:
        notes.append(
            "[deliver]: afterwards `axolotl merge-lora axolotl.yaml` merges; GGUF and pushing are not in here."
        )
    return notes


def _model(spec: TrainingSpec) -> dict[str, Any]:
    model = spec.recipe.model
    folder = is_folder(model.id)
    return {
        "base_model": model.id,
        "revision_of_model": None if folder else spec.revision,
        "trust_remote_code": model.trust_remote_code,
        "load_in_4bit": model.quant == "nf4",
        "load_in_8bit": model.quant == "int8",
        "bnb_config_kwargs": {"bnb_4bit_use_double_quant": model.double_quant} if model.quant == "nf4" else None,
        "sequence_len": model.max_seq_length,
        "excess_length_strategy": "truncate",  # by itself Axolotl leaves such a row out
        "bf16": "auto",
    }


def _lora(spec: TrainingSpec) -> dict[str, Any]:
    if spec.recipe.trains_all:
        return {}
    lora = spec.recipe.lora
    linear = lora.target_modules == "all-linear"
    return {
        "adapter": "qlora" if spec.recipe.model.quant == "nf4" else "lora",
        "lora_r": lora.r,
        "lora_alpha": max(1, round(lora.alpha)),
        "lora_dropout": lora.dropout,
        "lora_target_linear": True if linear else None,
        "lora_target_modules": None if linear else list(lora.target_modules),
        "peft_layers_to_transform": list(lora.layers) if lora.layers is not None else None,
        "peft_use_rslora": lora.rslora or None,
        "peft_use_dora": lora.dora or None,
        "lora_modules_to_save": list(lora.modules_to_save) or None,
        "loraplus_lr_ratio": lora.lr_ratio if lora.lr_ratio != 1 else None,
        "peft_init_lora_weights": None if lora.init == "default" else lora.init,
    }


def _data(spec: TrainingSpec, kind: RowKind) -> dict[str, Any]:
    data = spec.recipe.data
    all_tokens = data.loss_on == "all"
    row_format: dict[str, Any]
    if kind.holds == "messages":
        roles = ["system", "user", "assistant", "tool"] if all_tokens else ["assistant"]
        row_format = {"type": "chat_template", "roles_to_train": roles, "train_on_eos": "all" if all_tokens else "turn"}
    elif kind.holds == "prompt":
        pair = {"field_instruction": "prompt", "field_output": "completion"}
        row_format = {"type": {**pair, "format": "{instruction}", "no_input_format": "{instruction}"}}
    else:
        row_format = {"type": "completion", "field": "text"}
    return {
        "datasets": [{"path": TRAIN, "ds_type": "json", **row_format}],
        "test_datasets": [{"path": EVAL, "ds_type": "json", "split": "train", **row_format}] if kind.has_eval else None,
        "val_set_size": 0.0,
        "train_on_inputs": all_tokens,
        "sample_packing": spec.packs,
        "attn_implementation": "flash_attention_2" if spec.packs else None,  # else packed rows would see each other
        "eval_sample_packing": spec.packs,
        "pad_to_sequence_len": spec.packs,
    }


def _train(spec: TrainingSpec, kind: RowKind) -> dict[str, Any]:
    train = spec.recipe.train
    offloads = train.checkpointing == "unsloth"
    switch = TRACKER_SWITCH.get(train.report_to)
    return {
        "micro_batch_size": spec.split[0],
        "gradient_accumulation_steps": spec.split[1],
        "num_epochs": train.epochs,
        "max_steps": train.max_steps,
        "learning_rate": train.rate,
        "lr_scheduler": "cosine" if train.scheduler == "cosine_with_min_lr" else train.scheduler,
        "cosine_min_lr_ratio": 0.1 if train.scheduler == "cosine_with_min_lr" else None,
        "warmup_ratio": train.warmup_ratio,
        "optimizer": spec.common_optimizer,
        "weight_decay": train.weight_decay,
        "max_grad_norm": train.max_grad_norm,
        "gradient_checkpointing": train.checkpointing != "off",
        "activation_offloading": True if offloads else None,
        "layer_offloading": True if train.offload_layers is not None else None,
        "seed": train.seed,
        "eval_steps": (train.eval_every or 0.1) if kind.has_eval else None,
        "eval_on_start": False if kind.has_eval else None,
        "save_steps": train.save_every or 0.1,
        "save_total_limit": train.keep_checkpoints,
        "logging_steps": 1,
        "output_dir": "axolotl-out",
        **({switch: True} if switch else {}),
    }
