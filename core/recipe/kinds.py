"""What a group of a recipe is, and the values that its fields may have: choices, patterns of text, numbers or lists."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Quant = Literal["nf4", "int8", "bf16"]
Checkpointing = Literal["unsloth", "on", "off"]
Weights = Literal["adapter", "all"]
Backend = Literal["auto", "unsloth", "trl"]
Init = Literal["default", "gaussian", "pissa", "olora", "orthogonal", "loftq"]
MOVES_THE_BASE: tuple[Init, ...] = ("pissa", "olora")
"""Adapter initialisations that change the base weights: in peft's tuners/lora/layer.py each *_init that sets them."""
BEGINS_FILLED: tuple[Init, ...] = (*MOVES_THE_BASE, "loftq")
"""Those whose adapter holds something before the first step: LoftQ's holds what the base lost when it was quantized."""
Objective = Literal["sft", "dpo", "orpo", "kto"]
DataFormat = Literal[
    "auto", "messages", "sharegpt", "alpaca", "prompt_completion", "question_answer", "text", "preference", "rated"
]
COMPARE: tuple[Objective, ...] = ("dpo", "kto")
"""Objectives that compare the model with what it was before: with its adapter switched off."""
READ_AS: dict[Objective, DataFormat] = {"dpo": "preference", "orpo": "preference", "kto": "rated"}
ModulePath = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]{1,200}$")]
Thinking = Literal["auto", "keep", "off"]
Scheduler = Literal[
    "linear", "cosine", "constant", "constant_with_warmup", "cosine_with_min_lr", "polynomial", "inverse_sqrt"
]
Optimizer = Literal[
    "adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit", "adamw_torch", "adamw_torch_fused",
    "adafactor", "lion_8bit", "paged_lion_8bit", "sgd", "schedule_free_adamw", "lora_fa",
]  # fmt: skip

Gpus = (
    Literal["auto", "all"]
    | Annotated[int, Field(ge=1, le=64)]
    | Annotated[tuple[Annotated[int, Field(ge=0, le=1023)] | str, ...], Field(min_length=1)]
)

RUN_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
GUIDE_RATE = 2e-4
"""The learning rate for LoRA in most guides (QLoRA, Unsloth)."""
ALL_WEIGHTS_SHARE = 0.1
"""The learning rate of all weights as a share of an adapter's (core/forecast/learning_rate.py)."""
RATE_SHARES: dict[Objective, float] = {"sft": 1.0, "dpo": 1 / 40, "kto": 1 / 40, "orpo": 0.4}
"""The learning rate of an objective as a share of that for good answers. TRL 1.15 trains LoRA with 2e-4 by sft and 5e-6
by dpo (trl/scripts/sft.py, dpo.py); its guide to kto asks for 5e-7 to 5e-6; orpo's paper trains whole models with 8e-6
(Hong et al. 2024), where TRL's script takes 2e-5 for sft."""
STOP_AT = r"^(\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T)?([01]\d|2[0-3]):[0-5]\d$"


class Group(BaseModel):
    # Help texts are read on demand (`help_of`), and a group is built with the recipe: each command starts faster.
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), defer_build=True)
