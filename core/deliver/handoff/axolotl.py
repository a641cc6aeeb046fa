"""The recipe as a configuration of Axolotl; its names checked against the schema of the version named here."""

from typing import Any

from fitune.core.deliver.handoff.dataset_files import EVAL, TRAIN, Kind, look
from fitune.core.deliver.handoff.job import Files, Job, is_folder
from fitune.core.deliver.handoff.quoting import commented, yaml_text

VERSION = "0.21.0"
TRACKER_SWITCH = {
    "wandb": "use_wandb",
    "mlflow": "use_mlflow",
    "tensorboard": "use_tensorboard",
    "trackio": "use_trackio",
}


def axolotl(job: Job) -> Files:
    """axolotl.yaml, to lie beside train.jsonl and eval.jsonl. Raises UserError as `rows.look`."""
    kind = look(job.recipe)
    lines = [
        f"{job.name} as Axolotl trains it. Needs axolotl {VERSION} (Python 3.12) on an NVIDIA card:",
        "  axolotl train axolotl.yaml",
        f"Beside it lie {TRAIN} and {EVAL}: the rows as fitune read them, already split.",
        *job.environment(),
        *job.notes,
        *(f"Not carried over: {each}" for each in not_carried(job, kind)),
    ]
    return {"axolotl.yaml": commented(lines) + "\n" + yaml_text(config(job, kind))}


def config(job: Job, kind: Kind) -> dict[str, Any]:
    """The settings as a tree; what fitune leaves open is left out."""
    tree = {**_model(job), **_lora(job), **_data(job, kind), **_train(job, kind)}
    return {key: value for key, value in tree.items() if value is not None}


def not_carried(job: Job, kind: Kind) -> list[str]:
    """Each setting that Axolotl has no word for, or takes otherwise."""
    lora, train, told = job.recipe.lora, job.recipe.train, []
    if lora.bias != "none":
        told.append(f"lora.bias = {lora.bias}: Axolotl trains no biases.")
    if lora.alpha != int(lora.alpha):
        told.append(f"lora.alpha = {lora.alpha}: Axolotl takes whole numbers; it is rounded.")
    if train.offload_layers is not None:
        told.append(f"train.offload_layers = {train.offload_layers}: layer_offloading moves all frozen layers.")
    if train.checkpointing == "unsloth":
        told.append('train.checkpointing = "unsloth": activation_offloading is Axolotl\'s nearest.')
    if train.report_to == "tensorboard":
        told.append("train.report_to: install tensorboard beside Axolotl.")
    if job.packing_is_open:
        told.append('data.packing = "auto": fitune decides by the lengths of the rows; here sample_packing says it.')
    if job.recipe.run.vram_limit_gib is not None:
        told.append("run.vram_limit_gib: Axolotl takes what it needs of the card.")
    if job.recipe.run.gpu is not None:
        told.append("run.gpu: choose the card with CUDA_VISIBLE_DEVICES.")
    if kind.holds == "text":
        told.append("rows of plain text that are too long lose their end in fitune; Axolotl cuts them into several.")
    if kind.holds == "messages":
        told.append("the plain template that fitune gives a model without a chat template: Axolotl stops there.")
    wanted = job.recipe.deliver
    if wanted.merge or wanted.gguf or wanted.push_repo:
        told.append("[deliver]: afterwards `axolotl merge-lora axolotl.yaml` merges; GGUF and pushing are not in here.")
    return told


def _model(job: Job) -> dict[str, Any]:
    model = job.recipe.model
    folder = is_folder(model.id)
    return {
        "base_model": model.id,
        "revision_of_model": None if folder else job.revision,
        "trust_remote_code": model.trust_remote_code,
        "load_in_4bit": model.quant == "nf4",
        "load_in_8bit": model.quant == "int8",
        "bnb_config_kwargs": {"bnb_4bit_use_double_quant": model.double_quant} if model.quant == "nf4" else None,
        "sequence_len": model.max_seq_length,
        "excess_length_strategy": "truncate",  # by itself Axolotl leaves such a row out
        "bf16": "auto",
    }


def _lora(job: Job) -> dict[str, Any]:
    lora = job.recipe.lora
    linear = lora.target_modules == "all-linear"
    return {
        "adapter": "qlora" if job.recipe.model.quant == "nf4" else "lora",
        "lora_r": lora.r,
        "lora_alpha": max(1, round(lora.alpha)),
        "lora_dropout": lora.dropout,
        "lora_target_linear": True if linear else None,
        "lora_target_modules": None if linear else list(lora.target_modules),
        "peft_layers_to_transform": list(lora.layers) if lora.layers is not None else None,
        "peft_use_rslora": lora.rslora or None,
        "peft_use_dora": lora.dora or None,
        "peft_init_lora_weights": None if lora.init == "default" else lora.init,
    }


def _data(job: Job, kind: Kind) -> dict[str, Any]:
    data = job.recipe.data
    everything = data.loss_on == "all"
    reading: dict[str, Any]
    if kind.holds == "messages":
        roles = ["system", "user", "assistant", "tool"] if everything else ["assistant"]
        reading = {"type": "chat_template", "roles_to_train": roles, "train_on_eos": "all" if everything else "turn"}
    elif kind.holds == "prompt":
        pair = {"field_instruction": "prompt", "field_output": "completion"}
        reading = {"type": {**pair, "format": "{instruction}", "no_input_format": "{instruction}"}}
    else:
        reading = {"type": "completion", "field": "text"}
    return {
        "datasets": [{"path": TRAIN, "ds_type": "json", **reading}],
        "test_datasets": [{"path": EVAL, "ds_type": "json", "split": "train", **reading}] if kind.has_eval else None,
        "val_set_size": 0.0,
        "train_on_inputs": everything,
        "sample_packing": job.packs,
        "attn_implementation": "flash_attention_2" if job.packs else None,  # else packed rows would see each other
        "eval_sample_packing": job.packs,
        "pad_to_sequence_len": job.packs,
    }


def _train(job: Job, kind: Kind) -> dict[str, Any]:
    train = job.recipe.train
    parked = train.checkpointing == "unsloth"
    switch = TRACKER_SWITCH.get(train.report_to)
    return {
        "micro_batch_size": train.micro_batch,
        "gradient_accumulation_steps": train.grad_accum,
        "num_epochs": train.epochs,
        "max_steps": train.max_steps,
        "learning_rate": train.lr,
        "lr_scheduler": "cosine" if train.scheduler == "cosine_with_min_lr" else train.scheduler,
        "cosine_min_lr_ratio": 0.1 if train.scheduler == "cosine_with_min_lr" else None,
        "warmup_ratio": train.warmup_ratio,
        "optimizer": train.optimizer,
        "weight_decay": train.weight_decay,
        "max_grad_norm": train.max_grad_norm,
        "gradient_checkpointing": train.checkpointing != "off",
        "activation_offloading": True if parked else None,
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
