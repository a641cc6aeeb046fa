"""The part of the script that loads the model and adds the adapter, as the worker's backends do: Unsloth or TRL."""

from fitune.core.deliver.downloads import MODEL_FILES, SKIPPED_FILES
from fitune.core.deliver.handoff.quoting import call
from fitune.core.deliver.handoff.spec import TrainingSpec, is_folder

WHOLE = ("modules_to_save", "ensure_weight_tying")
"""What whole_modules in targets.py finds."""


def unsloth_model(spec: TrainingSpec) -> str:
    """Source text that makes `model` and `tokenizer` with Unsloth.

    It loads from a folder, as the worker does: for a Hub id Unsloth may load another repository than the named one.
    """
    model, train = spec.recipe.model, spec.recipe.train
    patterns = [*MODEL_FILES, "*.py"] if model.trust_remote_code else MODEL_FILES
    download_arguments = {
        "repo_id": "MODEL",
        "revision": "REVISION",
        "allow_patterns": f"{' '.join(patterns)!r}.split()",
        "ignore_patterns": f"{' '.join(SKIPPED_FILES)!r}.split()",
    }
    folder = "MODEL" if is_folder(model.id) else call("snapshot_download", download_arguments)
    load_arguments = {
        "model_name": "FOLDER",
        "max_seq_length": "LENGTH",
        "dtype": "DTYPE",
        "load_in_4bit": repr(model.quant == "nf4"),
        "load_in_8bit": repr(model.quant == "int8"),
        "trust_remote_code": repr(model.trust_remote_code),
    }
    if train.offload_layers is not None:
        load_arguments["offload_layers"] = repr(train.offload_layers)
    if train.tiled_mlp:
        load_arguments["unsloth_tiled_mlp"] = "True"
    checkpointing = {"unsloth": "'unsloth'", "on": "True", "off": "False"}[train.checkpointing]
    lora_arguments = {
        **_lora(spec),
        "use_gradient_checkpointing": checkpointing,
        **({"checkpoint_skip_layers": repr(train.checkpoint_skip_layers)} if train.checkpoint_skip_layers else {}),
        "random_state": "SEED",
    }
    adapt = call("FastLanguageModel.get_peft_model", {"model": "model", **lora_arguments})
    return (
        f"FOLDER = {folder}\n"
        "choose_expert_layout(Path(FOLDER))\n"
        "with whole_model(MODEL):\n"
        f"    model, tokenizer = {call('FastLanguageModel.from_pretrained', load_arguments, '    ')}\n"
        f"{_targets(spec, 'model')}"
        "# Else Unsloth drops chosen modules whose names it does not know.\n"
        'unfiltered = {"finetune_vision_layers": True} if os.environ.get("UNSLOTH_USE_NEW_MODEL") == "1" else {}\n'
        f"model = {adapt.removesuffix(')')}    **unfiltered,\n)\n"
        "base = model.peft_config['default']  # the base model that the adapter names\n"
        "base.base_model_name_or_path, base.revision = MODEL, REVISION\n"
    )


def trl_model(spec: TrainingSpec, several_cards: bool) -> str:
    """Source text that makes `model` and `tokenizer` with transformers and peft, on one card or on several."""
    model, train = spec.recipe.model, spec.recipe.train
    device_map = '{"": CARD if GPU else "cpu"}' if several_cards else '{"": 0 if GPU else "cpu"}'
    load_arguments = {
        "pretrained_model_name_or_path": "MODEL",
        "revision": "REVISION",
        "dtype": "DTYPE",
        "quantization_config": _quantization(spec, several_cards),
        "device_map": f"None if SHARDED else {device_map}" if several_cards else device_map,
        "trust_remote_code": repr(model.trust_remote_code),
        "use_safetensors": "True",
    }
    checkpointing = (
        ""
        if train.checkpointing == "off"
        else 'base.gradient_checkpointing_enable({"use_reentrant": False})\nbase.enable_input_require_grads()\n'
    )
    remote_code = model.trust_remote_code
    lora = {**_lora(spec), "task_type": "'CAUSAL_LM'"}
    return (
        f"config = AutoConfig.from_pretrained(MODEL, revision=REVISION, trust_remote_code={remote_code})\n"
        "with whole_model(MODEL):\n"
        f"    base = {call('model_class(config).from_pretrained', load_arguments, '    ')}\n"
        f"tokenizer = AutoTokenizer.from_pretrained(MODEL, revision=REVISION, trust_remote_code={remote_code})\n"
        f"base.config.use_cache = False\n{checkpointing}{_targets(spec, 'base')}"
        "set_seed(SEED)  # the adapter starts with random weights\n"
        f"model = {call('get_peft_model', {'model': 'base', 'peft_config': call('LoraConfig', lora, '    ')})}\n"
    )


def _targets(spec: TrainingSpec, model: str) -> str:
    """Source text that finds what the adapter is put on."""
    lora = spec.recipe.lora
    wanted = repr(lora.target_modules if lora.target_modules == "all-linear" else tuple(lora.target_modules))
    layers = "" if lora.layers is None else f", {tuple(lora.layers)!r}"
    whole = f"whole = whole_modules({model}, {lora.modules_to_save!r})\n" if lora.modules_to_save else ""
    found = f"targets = find_targets({model}, {wanted}{layers})\nnames = short_names({model}, targets.modules)\n"
    return found + whole


def _lora(spec: TrainingSpec) -> dict[str, str]:
    lora = spec.recipe.lora
    return {
        "r": repr(lora.r),
        "lora_alpha": repr(lora.alpha),
        "lora_dropout": repr(lora.dropout),
        "bias": repr(lora.bias),
        "target_modules": "names",
        "target_parameters": "list(targets.parameters)",
        "use_rslora": repr(lora.rslora),
        "use_dora": repr(lora.dora),
        "init_lora_weights": repr(True if lora.init == "default" else lora.init),
        **({"rank_pattern": repr(lora.rank_pattern)} if lora.rank_pattern else {}),
        **({key: f"whole[{key!r}]" for key in WHOLE} if lora.modules_to_save else {}),
    }


def _quantization(spec: TrainingSpec, several_cards: bool) -> str:
    model = spec.recipe.model
    if model.quant == "bf16":
        return "None"
    skipped = f"outside_text(config, remote_code={model.trust_remote_code})"
    if model.quant == "int8":
        return call("BitsAndBytesConfig", {"load_in_8bit": "True", "llm_int8_skip_modules": skipped}, "    ")
    four_bit = {
        "load_in_4bit": "True",
        "bnb_4bit_quant_type": "'nf4'",
        "bnb_4bit_compute_dtype": "DTYPE",
        "bnb_4bit_use_double_quant": repr(model.double_quant),
        "llm_int8_skip_modules": skipped,
    }
    if several_cards:
        four_bit["bnb_4bit_quant_storage"] = "DTYPE"  # else FSDP can't split it
    return call("BitsAndBytesConfig", four_bit, "    ")
