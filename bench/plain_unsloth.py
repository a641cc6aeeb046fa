"""A fine-tune as one writes it by hand, with Unsloth and TRL alone: what `bench/spine.py` compares fitune with.

usage: python bench/plain_unsloth.py MODELDIR DATA.jsonl STEPS        prints one JSON line a step, then one at the end
"""

import json
import sys
import tempfile
import time
from typing import Any

import pynvml

pynvml.nvmlInit()
CARD = pynvml.nvmlDeviceGetHandleByIndex(0)
BEFORE_BYTES = pynvml.nvmlDeviceGetMemoryInfo(CARD).used  # before CUDA starts in this process

from unsloth import FastLanguageModel  # before trl, transformers and peft

from datasets import load_dataset
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer

model_dir, data_file, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])


class Clock(TrainerCallback):
    """Notes when each step's loss was read, and what the card held then."""

    def __init__(self) -> None:
        self.peak_bytes = 0

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if "loss" in (logs or {}):
            self.peak_bytes = max(self.peak_bytes, pynvml.nvmlDeviceGetMemoryInfo(CARD).used - BEFORE_BYTES)
            print(json.dumps({"step": state.global_step, "t": time.time(), "loss": logs["loss"]}), flush=True)


model, tokenizer = FastLanguageModel.from_pretrained(model_dir, max_seq_length=2048, load_in_4bit=True)
model = FastLanguageModel.get_peft_model(
    model,
    r=16,
    lora_alpha=16,
    target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    use_gradient_checkpointing="unsloth",
    random_state=3407,
)
clock = Clock()
trainer = SFTTrainer(
    model=model,
    processing_class=tokenizer,
    train_dataset=load_dataset("json", data_files=data_file, split="train"),
    args=SFTConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=2,
        gradient_accumulation_steps=1,
        max_steps=steps,
        learning_rate=2e-4,
        warmup_steps=1,
        optim="adamw_8bit",
        bf16=True,
        max_length=2048,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=3407,
    ),
    callbacks=[clock],
)
trainer.train()
print(json.dumps({"peak_device_bytes": clock.peak_bytes}), flush=True)
