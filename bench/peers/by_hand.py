"""The same fine-tune written by hand, as a guide shows it and as an expert writes it.

usage: python bench/peers/by_hand.py unsloth-guide|unsloth-expert|trl-expert MODELDIR CHATS.jsonl [ADAPTER]
With a folder ADAPTER it trains one epoch and leaves its adapter there. TRL packs with the package flash-attn only;
without it, rows are padded.
"""

import sys
import tempfile
from importlib.util import find_spec
from typing import Any

kind, model_dir, chats, *adapter_dir = sys.argv[1:]
if kind.startswith("unsloth"):
    from unsloth import FastLanguageModel  # before trl, transformers and peft

import torch
from datasets import load_dataset
from trl import SFTConfig, SFTTrainer

LENGTH = 2048
LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
EXPERT, FLASH = kind.endswith("expert"), find_spec("flash_attn") is not None
PACKS = kind == "unsloth-expert" or (EXPERT and FLASH)
AT_ONCE = 2 if not EXPERT else 4 if PACKS else 8


def unsloth() -> tuple[Any, Any]:
    """Model and tokenizer with Unsloth; the guide keeps its checkpointing, the expert needs none."""
    model, tokenizer = FastLanguageModel.from_pretrained(model_dir, max_seq_length=LENGTH, load_in_4bit=True)
    model = FastLanguageModel.get_peft_model(
        model,
        r=16,
        lora_alpha=16,
        target_modules=LINEARS,
        use_gradient_checkpointing=False if EXPERT else "unsloth",
        random_state=3407,
    )
    return model, tokenizer


def transformers() -> tuple[Any, Any]:
    """Model and tokenizer with transformers, and the package flash-attn if there is one."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    four_bits = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.bfloat16,
        bnb_4bit_use_double_quant=True,
    )
    model = AutoModelForCausalLM.from_pretrained(
        model_dir,
        dtype=torch.bfloat16,
        quantization_config=four_bits,
        device_map={"": 0},
        attn_implementation="flash_attention_2" if FLASH else "sdpa",
    )
    return model, AutoTokenizer.from_pretrained(model_dir)


def lora() -> Any:
    """The adapter, where TRL is to make it."""
    from peft import LoraConfig

    return LoraConfig(r=16, lora_alpha=16, target_modules=LINEARS, task_type="CAUSAL_LM")


model, tokenizer = unsloth() if kind.startswith("unsloth") else transformers()
rows = load_dataset("json", data_files=chats, split="train")
if kind.startswith("unsloth"):  # its guide writes the chats out as text
    rows = rows.map(lambda row: {"text": tokenizer.apply_chat_template(row["messages"], tokenize=False)})
    rows = rows.select_columns(["text"])
args = SFTConfig(
    output_dir=tempfile.mkdtemp(),
    per_device_train_batch_size=AT_ONCE,
    gradient_accumulation_steps=8 // AT_ONCE,
    num_train_epochs=1 if adapter_dir else 3,
    packing=PACKS,
    **({"gradient_checkpointing": False} if EXPERT else {}),
    use_liger_kernel=kind == "trl-expert" and find_spec("liger_kernel") is not None,
    learning_rate=2e-4,
    warmup_steps=5,
    weight_decay=0.01,
    optim="adamw_8bit",
    bf16=True,
    max_length=LENGTH,
    logging_steps=1,
    save_strategy="no",
    report_to="none",
    disable_tqdm=True,
    seed=3407,
)
adapter = {} if kind.startswith("unsloth") else {"peft_config": lora()}
trainer = SFTTrainer(model=model, processing_class=tokenizer, train_dataset=rows, args=args, **adapter)
trainer.train()
if adapter_dir:
    trainer.model.save_pretrained(adapter_dir[0])
