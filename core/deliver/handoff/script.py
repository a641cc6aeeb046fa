"""Generate a Python script that trains as the run did, with Unsloth or TRL and without fitune.

The script reads rows that are already mapped and split. It tokenizes them with a copy of fitune's own code, so that
the tokens and the loss mask are exactly the same, and puts the adapter on what fitune's targets.py finds.
"""

from fitune.core.deliver.handoff.quoting import call, commented
from fitune.core.deliver.handoff.script_model import trl_model, unsloth_model
from fitune.core.deliver.handoff.spec import TrainingSpec, is_folder
from fitune.core.intervals import EVALS_PER_RUN, MIN_STEPS_BETWEEN, steps_between
from fitune.core.memory import FAST_UNSLOTH, FLAT_MULTIPLE

ROWS = '''
# 2. The rows: token ids, and labels that say which of them are trained

text = text_part(tokenizer)  # of a model that also sees, the tokenizer inside its processor
ensure_template(text)


def load(name, packed):
    """A data set of a file's rows; None if there are none. Rows longer than LENGTH lose their end."""
    rows = []
    with open(HERE / name, encoding="utf-8") as file:
        for samples in render(map(json.loads, file), text, LOSS_ON, PROMPTS):
            for sample in samples if isinstance(samples, list) else []:  # else the chat template refuses the row
                if sample.first is not None and sample.first < LENGTH:  # else no trained token is left
                    rows.append({"input_ids": sample.ids[:LENGTH], "labels": sample.labels[:LENGTH]})
    data = Dataset.from_list(rows) if rows else None
    %s


train_set, eval_set = load("train.jsonl", PACKING), load("eval.jsonl", False)
'''
DTYPE = """GPU = torch.cuda.is_available()
DTYPE = torch.float32 if not GPU else torch.float16
if GPU and torch.cuda.is_bf16_supported(including_emulation=False):
    DTYPE = torch.bfloat16
"""
ALLOCATION = (
    "# Before torch: without it torch loses up to 0.7 GiB between the blocks of a step. Not on Windows and WSL.\n"
    'if os.name != "nt" and "microsoft" not in platform.release().lower():\n'
    '    os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")\n'
)
PACK = 'return pack_dataset(data, LENGTH, "bfd") if packed and data else data'
PACK_OR_LAY_OUT = f"""if data and not packed:
        data._unsloth_truncated_to = LENGTH  # all rows are cut: so Unsloth lays them end to end, without padding
    {PACK}"""
KERNEL = "install()  # torch's attention kernel for rows that lie end to end, if Unsloth finds no other\n"
FLAT_BATCHES = f"""allow_cudnn(train_set)
flat = "{" ".join(sorted(FAST_UNSLOTH))}".split()
if model.config.model_type in flat and getattr(trainer.data_collator, "padding_free", False):
    trainer.data_collator.pad_to_multiple_of = {FLAT_MULTIPLE}  # fewer different shapes
"""
PACKING_CHECK = """if PACKING and not trainer.args.packing:
    raise SystemExit("Unsloth can't keep packed rows of this model apart: set PACKING = False.")
"""
FP32_ADAPTER = """if DTYPE == torch.float16:  # its gradient scaler takes no 16-bit gradients
    for weight in trainer.model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
"""
SEVERAL_CARDS = """
# The batch size is micro-batch x accumulation x cards, and stays the same as on one card.
CARDS, CARD = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_RANK", 0))
SHARDED = os.environ.get("ACCELERATE_USE_FSDP") == "true"
if GRAD_ACCUM % CARDS == 0:
    GRAD_ACCUM //= CARDS
elif MICRO_BATCH % CARDS == 0:
    MICRO_BATCH //= CARDS
else:
    raise SystemExit(f"{CARDS} cards divide neither GRAD_ACCUM = {GRAD_ACCUM} nor MICRO_BATCH = {MICRO_BATCH}.")
"""
CPU_TRAINER = '''

class CpuTrainer(SFTTrainer):
    """TRL computes its loss in a kernel for GPUs; on a CPU the model's own loss is the same number."""

    def compute_loss(self, *args, **kwargs):
        return Trainer.compute_loss(self, *args, **kwargs)


'''


def script(spec: TrainingSpec, several_cards: bool = False) -> str:
    """The text of the script. several_cards: for `accelerate launch`, which only the TRL backend supports."""
    backend = "trl" if several_cards else spec.backend
    sections = [
        _header(spec, backend),
        _imports(spec, backend, several_cards),
        _settings(spec),
        SEVERAL_CARDS if several_cards else "",
        "\n# 1. The model, with an adapter to train\n\n",
        KERNEL + unsloth_model(spec) if backend == "unsloth" else trl_model(spec, several_cards),
        ROWS.replace("%s", PACK_OR_LAY_OUT if backend == "unsloth" else PACK),
        "\n# 3. Training\n\n",
        _steps(spec, several_cards),
        CPU_TRAINER if backend == "trl" else "",
        _training(spec, backend, several_cards),
    ]
    return "".join(sections)


def not_carried(spec: TrainingSpec, backend: str) -> list[str]:
    """A sentence for each setting of the recipe that the script does not follow."""
    train, run, notes = spec.recipe.train, spec.recipe.run, []
    if train.backend == "auto" and backend == "unsloth":
        notes.append('train.backend = "auto": this is the Unsloth backend, which fitune chooses on NVIDIA cards.')
    if backend != spec.backend:
        notes.append("train.backend: Unsloth trains on one card; this is the TRL backend.")
        if train.checkpointing == "unsloth":
            notes.append('train.checkpointing = "unsloth": activations stay on the card ("on").')
        if train.offload_layers is not None:
            notes.append("train.offload_layers: all layers stay on the card.")
        if train.checkpoint_skip_layers is not None:
            notes.append("train.checkpoint_skip_layers: the activations of all layers are recomputed.")
        if train.tiled_mlp:
            notes.append("train.tiled_mlp: each layer's MLP takes all tokens at once.")
    if spec.recipe.data.replay and spec.recipe.data.replay_source is None:
        notes.append("data.replay: the base model's own answers are not among the rows.")
    if spec.recipe.data.text_overlap is not None:
        notes.append("data.text_overlap: a text that is too long loses its end.")
    if train.micro_tokens is not None:
        notes.append("train.micro_tokens: micro-batches hold so few rows that they never come to more tokens.")
    if spec.recipe.data.packing is True and backend == "trl" and spec.packed is None:
        notes.append("data.packing: fitune first tries whether packed rows would see each other in this model.")
    if spec.recipe.data.eval_fraction != 0:
        notes.append("train.patience: the script trains to its end, and keeps the last adapter, not the best.")
    if spec.recipe.lora.lr_ratio != 1:
        notes.append("lora.lr_ratio: both matrices of the adapter learn at train.lr.")
    if train.optimizer == "lora_fa":
        notes.append("train.optimizer = lora_fa: the script trains both matrices of the adapter, by AdamW.")
    if run.vram_limit_gib is not None:
        notes.append("run.vram_limit_gib: the script takes as much of the card as it needs.")
    if run.gpus not in ("auto", 1) and backend == spec.backend == "unsloth":
        notes.append("run.gpus: this script trains on one card; --to accelerate is for several.")
    if run.max_hours is not None or run.stop_at is not None:
        notes.append("run.max_hours, run.stop_at: the script trains to its end.")
    if run.pause_above_c is not None:
        notes.append("run.pause_above_c: the script does not pause.")
    if run.copy_to is not None:
        notes.append("run.copy_to: the script makes no copies.")
    if train.save_minutes is not None:
        notes.append("train.save_minutes: the script saves by steps alone.")
    if run.gpu is not None:
        notes.append("run.gpu: the script takes the first card it sees (CUDA_VISIBLE_DEVICES).")
    deliver = spec.recipe.deliver
    if deliver.merge or deliver.gguf or deliver.push_repo:
        notes.append("[deliver]: the script writes the adapter; merging, GGUF and pushing are not in it.")
    return notes


def _header(spec: TrainingSpec, backend: str) -> str:
    requirements = "".join(f'#     "{package}",\n' for package in spec.packages(backend))
    local = is_folder(spec.recipe.model.id)
    lines = [
        f"{spec.name}, without fitune: {spec.recipe.model.id} learns from train.jsonl.",
        "",
        "Run it with `uv run run.py`, which installs the packages above; or install them yourself: python run.py",
        "Its folder also needs train.jsonl and eval.jsonl, the rows as fitune read and split them, and three files of",
        "fitune's own (Apache-2.0): render.py turns rows into tokens, model_class.py and targets.py know the model.",
        *(
            ["A fourth, varlen_attention.py, gives Unsloth the attention kernel that torch has."]
            * (backend == "unsloth")
        ),
        "It writes adapter/, trainer_state.json (every loss), and checkpoints in work/.",
        *spec.environment(),
        *spec.notes,
        *(["The model is a folder of the machine it was trained on: copy it, and change MODEL."] if local else []),
        *(f"Not carried over: {note}" for note in not_carried(spec, backend)),
    ]
    return (
        '# /// script\n# requires-python = ">=3.11,<3.14"\n'
        f"# dependencies = [\n{requirements}# ]\n# ///\n#\n{commented(lines)}\n"
    )


def _imports(spec: TrainingSpec, backend: str, several_cards: bool) -> str:
    unsloth, quantized = backend == "unsloth", spec.recipe.model.quant != "bf16"
    bits, whole = "BitsAndBytesConfig, " if quantized else "", spec.recipe.lora.modules_to_save
    lines = {
        "from unsloth import FastLanguageModel  # before trl, transformers and peft, which it changes\n": unsloth,
        "import json": True,
        "import math": not spec.recipe.train.max_steps,
        "import os": True,
        "import platform": not unsloth,
        "from pathlib import Path\n": True,
        ALLOCATION: not unsloth,
        "import torch": True,
        "from datasets import Dataset": True,
        "from huggingface_hub import snapshot_download": unsloth and not is_folder(spec.recipe.model.id),
        "from peft import LoraConfig, get_peft_model": not unsloth,
        f"from transformers import AutoConfig, AutoTokenizer, {bits}Trainer, set_seed": not unsloth,
        "from trl import SFTConfig, SFTTrainer, pack_dataset\n": True,
        "from model_class import choose_expert_layout, whole_model": unsloth,
        f"from model_class import model_class, {'outside_text, ' if quantized else ''}whole_model": not unsloth,
        "from render import PromptOptions, ensure_template, render, text_part": True,
        f"from targets import find_targets, short_names{', whole_modules' if whole else ''}": True,
        "from varlen_attention import allow_cudnn, install": unsloth,
    }
    return "".join(f"{line}\n" for line, needed in lines.items() if needed) + "\n"


def _settings(spec: TrainingSpec) -> str:
    model, train = spec.recipe.model, spec.recipe.train
    return (
        "HERE = Path(__file__).resolve().parent\n"
        f"MODEL, REVISION = {model.id!r}, {spec.revision!r}\n"
        f"LENGTH = {model.max_seq_length}  # tokens; longer rows lose their end\n"
        f"LOSS_ON = {spec.recipe.data.loss_on!r}  # 'answers', or 'all'\n"
        f"PROMPTS = PromptOptions({spec.recipe.data.thinking!r}, {spec.recipe.data.template_options!r})\n"
        f"PACKING = {spec.packs}  # several short rows in one of LENGTH\n"
        f"MICRO_BATCH, GRAD_ACCUM = {spec.split[0]}, {spec.split[1]}\n"
        f"SEED = {train.seed}\n{DTYPE}"
    )


def _steps(spec: TrainingSpec, several_cards: bool) -> str:
    """The number of steps, and the steps between evaluations and between checkpoints."""
    train = spec.recipe.train
    times = f"max(1, min({EVALS_PER_RUN}, round(STEPS / {MIN_STEPS_BETWEEN})))"  # as steps_between
    default = f"max({MIN_STEPS_BETWEEN}, math.ceil(STEPS / {times}))"
    if train.max_steps:
        default = str(steps_between(None, train.max_steps))
    batches = f"math.ceil(len(train_set) / {'(MICRO_BATCH * CARDS)' if several_cards else 'MICRO_BATCH'})"
    steps = train.max_steps or f"math.ceil({train.epochs!r} * math.ceil({batches} / GRAD_ACCUM))"
    return f"STEPS = {steps}\nEVAL_EVERY = {train.eval_every or default}\nSAVE_EVERY = {train.save_every or default}\n"


def _config(spec: TrainingSpec) -> dict[str, str]:
    """The arguments of SFTConfig, as expressions."""
    train = spec.recipe.train
    return {
        "output_dir": 'str(HERE / "work")',
        "per_device_train_batch_size": "MICRO_BATCH",
        "per_device_eval_batch_size": "1",
        "gradient_accumulation_steps": "GRAD_ACCUM",
        "num_train_epochs": repr(train.epochs),
        "max_steps": repr(train.max_steps or -1),
        "learning_rate": repr(train.rate),
        "lr_scheduler_type": repr(train.scheduler),
        "lr_scheduler_kwargs": "{'min_lr_rate': 0.1}" if train.scheduler == "cosine_with_min_lr" else "None",
        "warmup_steps": f"{train.warmup_ratio!r} if STEPS > 1 else 0",
        "optim": repr(spec.common_optimizer),
        "weight_decay": repr(train.weight_decay),
        "max_grad_norm": repr(train.max_grad_norm),
        "bf16": "DTYPE == torch.bfloat16",
        "fp16": "DTYPE == torch.float16",
        "use_cpu": "not GPU",
        "gradient_checkpointing": "False",
        "max_length": "LENGTH",
        "packing": "PACKING",
        "dataset_kwargs": '{"skip_prepare_dataset": True}',
        "remove_unused_columns": "False",
        "logging_steps": "1",
        "logging_nan_inf_filter": "False",
        "eval_strategy": '"steps" if eval_set else "no"',
        "eval_steps": "EVAL_EVERY",
        "eval_on_start": "bool(eval_set)",
        "save_steps": "SAVE_EVERY",
        "save_total_limit": repr(train.keep_checkpoints),
        "prediction_loss_only": "True",
        "seed": "SEED",
        "data_seed": "SEED",
        "report_to": repr(train.report_to),
    }


def _training(spec: TrainingSpec, backend: str, several_cards: bool) -> str:
    trainer = "SFTTrainer" if backend == "unsloth" else "(SFTTrainer if GPU else CpuTrainer)"
    arguments = {
        "model": "model",
        "processing_class": "tokenizer",
        "args": call("SFTConfig", _config(spec), "    "),
        "train_dataset": "train_set",
        "eval_dataset": "eval_set",
    }
    return (
        f"trainer = {call(trainer, arguments)}\n"
        f"{FP32_ADAPTER}{FLAT_BATCHES + PACKING_CHECK if backend == 'unsloth' else ''}"
        "trainer.train()\n"
        "if eval_set and trainer.state.global_step % EVAL_EVERY:\n"
        "    trainer.evaluate()\n"
        'trainer.save_model(str(HERE / "adapter"))\n'
        f"{'if trainer.is_world_process_zero():' + chr(10) + '    ' if several_cards else ''}"
        'trainer.state.save_to_json(str(HERE / "trainer_state.json"))\n'
    )
