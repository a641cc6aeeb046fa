"""The script's part that loads the model and puts an adapter on it: as the worker's backends does, in either way."""

from fitune.core.deliver.downloads import UNWANTED, WANTED
from fitune.core.deliver.handoff.job import Job, is_folder
from fitune.core.deliver.handoff.quoting import call

LINEARS = (
    "q_proj", "k_proj", "v_proj", "qkv_proj", "o_proj", "gate_proj", "up_proj", "gate_up_proj", "down_proj",
)  # fmt: skip
"""As in the worker's backends: what all-linear means to Unsloth, of which a model has those that it has."""

NAMES = "[name for name in LINEARS if name in present]"


def unsloth_model(job: Job) -> str:
    """Source text that makes `model` and `tokenizer` with Unsloth.

    From a folder, as the worker does: by its name on the Hub, Unsloth may take another model than asked for.
    """
    model, train = job.recipe.model, job.recipe.train
    wanted = [*WANTED, "*.py"] if model.trust_remote_code else WANTED
    fetching = {
        "repo_id": "MODEL",
        "revision": "REVISION",
        "allow_patterns": f"{' '.join(wanted)!r}.split()",
        "ignore_patterns": f"{' '.join(UNWANTED)!r}.split()",
    }
    folder = "MODEL" if is_folder(model.id) else call("snapshot_download", fetching)
    loading = {
        "model_name": "FOLDER",
        "max_seq_length": "LENGTH",
        "dtype": "DTYPE",
        "load_in_4bit": repr(model.quant == "nf4"),
        "load_in_8bit": repr(model.quant == "int8"),
        "trust_remote_code": repr(model.trust_remote_code),
    }
    if train.offload_layers is not None:
        loading["offload_layers"] = repr(train.offload_layers)
    checkpointing = {"unsloth": "'unsloth'", "on": "True", "off": "False"}[train.checkpointing]
    adapting = {
        **_lora(job, NAMES),
        "use_gradient_checkpointing": checkpointing,
        "random_state": "SEED",
    }
    return (
        f"FOLDER = {folder}\n"
        f"model, tokenizer = {call('FastLanguageModel.from_pretrained', loading)}\n"
        f"{_named('model') if job.recipe.lora.target_modules == 'all-linear' else ''}"
        f"model = {call('FastLanguageModel.get_peft_model', {'model': 'model', **adapting})}\n"
        "base = model.peft_config['default']  # what the adapter says that it belongs to\n"
        "base.base_model_name_or_path, base.revision = MODEL, REVISION\n"
    )


def trl_model(job: Job, several_cards: bool) -> str:
    """Source text that makes `model` and `tokenizer` with transformers and peft, on one card or on one of several."""
    model, train = job.recipe.model, job.recipe.train
    place = '{"": CARD if GPU else "cpu"}' if several_cards else '{"": 0 if GPU else "cpu"}'
    loading = {
        "pretrained_model_name_or_path": "MODEL",
        "revision": "REVISION",
        "dtype": "DTYPE",
        "quantization_config": _quantization(job, several_cards),
        "device_map": f"None if SHARDED else {place}" if several_cards else place,
        "trust_remote_code": repr(model.trust_remote_code),
        "use_safetensors": "True",
    }
    checkpointing = (
        ""
        if train.checkpointing == "off"
        else 'base.gradient_checkpointing_enable({"use_reentrant": False})\nbase.enable_input_require_grads()\n'
    )
    code = model.trust_remote_code
    by_name = job.recipe.lora.layers is not None  # peft wants names where only some layers are chosen
    lora = {**_lora(job, NAMES if by_name else "'all-linear'"), "task_type": "'CAUSAL_LM'"}
    named = _named("base") if by_name and job.recipe.lora.target_modules == "all-linear" else ""
    return (
        f"base = {call('AutoModelForCausalLM.from_pretrained', loading)}\n"
        f"tokenizer = AutoTokenizer.from_pretrained(MODEL, revision=REVISION, trust_remote_code={code})\n"
        f"base.config.use_cache = False\n{checkpointing}{named}"
        "set_seed(SEED)  # the adapter's start is random, and belongs to the run\n"
        f"model = {call('get_peft_model', {'model': 'base', 'peft_config': call('LoraConfig', lora, '    ')})}\n"
    )


def _named(model: str) -> str:
    """Source text that finds the names of a model's matrices."""
    return (
        f'LINEARS = {list(LINEARS)!r}\npresent = {{name.rpartition(".")[2] for name, _ in {model}.named_modules()}}\n'
    )


def _lora(job: Job, all_linear: str) -> dict[str, str]:
    lora = job.recipe.lora
    targets = all_linear if lora.target_modules == "all-linear" else repr(list(lora.target_modules))
    return {
        "r": repr(lora.r),
        "lora_alpha": repr(lora.alpha),
        "lora_dropout": repr(lora.dropout),
        "bias": repr(lora.bias),
        "target_modules": targets,
        "layers_to_transform": repr(list(lora.layers) if lora.layers is not None else None),
        "use_rslora": repr(lora.rslora),
        "use_dora": repr(lora.dora),
        "init_lora_weights": repr(True if lora.init == "default" else lora.init),
    }


def _quantization(job: Job, several_cards: bool) -> str:
    model = job.recipe.model
    if model.quant == "bf16":
        return "None"
    if model.quant == "int8":
        return "BitsAndBytesConfig(load_in_8bit=True)"
    four_bit = {
        "load_in_4bit": "True",
        "bnb_4bit_quant_type": "'nf4'",
        "bnb_4bit_compute_dtype": "DTYPE",
        "bnb_4bit_use_double_quant": repr(model.double_quant),
    }
    if several_cards:
        four_bit["bnb_4bit_quant_storage"] = "DTYPE"  # else FSDP can't split it
    return call("BitsAndBytesConfig", four_bit, "    ")
