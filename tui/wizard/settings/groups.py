"""The settings in groups, each with a title and a sentence, in the order of the form."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldGroup:
    """Settings that are looked for together."""

    title: str
    about: str
    """A sentence on what they decide."""
    fields: tuple[str, ...]
    """Their names."""


FIRST = FieldGroup(
    "What matters first",
    "All good as they are.",
    (
        "model.id", "model.quant", "model.max_seq_length", "lora.r", "lora.alpha", "train.epochs", "train.lr",
        "train.micro_batch", "train.grad_accum", "train.optimizer",
    ),
)  # fmt: skip
GROUPS = (
    FIRST,
    FieldGroup(
        "Learning",
        "How long, and in how large steps.",
        ("train.objective", "train.beta", "train.max_steps", "train.scheduler", "train.warmup_ratio",
         "train.weight_decay", "train.max_grad_norm", "train.seed"),
    ),
    FieldGroup(
        "Rows",
        "How they are read, and what is learned.",
        ("data.format", "data.split", "data.loss_on", "data.eval_fraction", "data.packing", "data.thinking",
         "data.text_overlap", "data.image_pixels", "data.image_folder", "data.template_options", "data.replay",
         "data.replay_source"),
    ),
    FieldGroup(
        "Adapter",
        "What is trained beside the model.",
        ("train.weights", "lora.target_modules", "lora.layers", "lora.dropout", "lora.bias", "lora.rslora", "lora.dora",
         "lora.init", "lora.rank_pattern", "lora.modules_to_save", "lora.lr_ratio"),
    ),
    FieldGroup(
        "Model",
        "Which copy of it, and how it is kept.",
        ("model.revision", "model.double_quant", "model.trust_remote_code"),
    ),
    FieldGroup(
        "Memory and speed",
        "Lower the one or raise the other.",
        ("train.checkpointing", "train.checkpoint_skip_layers", "train.tiled_mlp", "train.offload_layers",
         "train.micro_tokens", "train.backend"),
    ),
    FieldGroup(
        "Checks and checkpoints",
        "How often it is checked and saved.",
        ("train.eval_every", "train.patience", "train.score", "train.save_every", "train.save_minutes",
         "train.keep_checkpoints", "train.report_to"),
    ),
    FieldGroup(
        "Run",
        "Its name, its cards, and when it ends.",
        ("run.name", "run.home", "run.gpu", "run.gpus", "run.shard", "run.vram_limit_gib", "run.max_hours",
         "run.stop_at", "run.pause_above_c", "run.copy_to"),
    ),
    FieldGroup(
        "Afterwards",
        "What is made of the trained adapter.",
        ("deliver.merge", "deliver.gguf", "deliver.push_repo", "deliver.private"),
    ),
)  # fmt: skip
ELSEWHERE = ("data.source", "data.sources", "data.columns")
"""Asked by a step of their own."""


def group_of(name: str) -> FieldGroup | None:
    """The group of a field; None for those that are asked elsewhere."""
    return next((group for group in GROUPS if name in group.fields), None)
