"""The two backends that load a model for training: unsloth, and plain transformers + peft ("trl").

Each has one function. It sets the type (bf16 or fp16), quantization, LoRA or DoRA, gradient checkpointing and layers in
RAM.

`prepare` must run before anything imports trl, transformers or peft: unsloth rewrites their sources as it is imported.
"""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from fitune.core.errors import UserError
from fitune.core.machine import Kernel, grows_in_place
from fitune.core.memory import CHUNK_TARGET_CAP, FAST_UNSLOTH, config_json, refuse_beyond_places
from fitune.core.recipe import Model, Recipe
from fitune.core.units import GIB
from fitune.core.worker.architecture.describe import table_of_places
from fitune.core.worker.architecture.model_class import (
    choose_expert_layout,
    keep_towers_whole,
    model_class,
    outside_text,
    whole_model,
)
from fitune.core.worker.architecture.purpose import refuse_other_purposes, refuse_seeing_ahead
from fitune.core.worker.architecture.targets import (
    all_weights,
    find_targets,
    short_names,
    whole_modules,
)
from fitune.core.worker.cards.rank import splits
from fitune.core.worker.device import compute_dtype
from fitune.core.worker.models import ModelFiles
from fitune.core.worker.rows.render import text_part
from fitune.core.worker.training.variants.loftq import fill_with_rounding


@dataclass(slots=True)
class Loaded:
    """A model with its adapter, and its tokenizer."""

    model: Any
    tokenizer: Any
    dtype: str
    """bfloat16, float16 (older cards) or float32 (CPU): the type that the forward pass computes in."""


def prepare(backend: str, base: Model | None = None) -> None:
    """Set the process up for "unsloth" or "trl", before the training stack is imported. base: the model to load."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("UNSLOTH_DISABLE_STATISTICS", "1")
    if backend == "unsloth":
        if base and _is_hand_written(base):
            os.environ.setdefault("UNSLOTH_FORCE_SINGLE_COMPILE_WORKER", "1")
        _import_unsloth()
        _limit_loss_chunks()
    elif grows_in_place():  # as unsloth does: without it torch strands up to 0.7 GiB between the blocks of a step
        os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")


def _is_hand_written(base: Model) -> bool:
    """True if Unsloth has its own layers for a model. They need few kernels: a compile process for each core takes
    longer to start (5 s on an H200) than it saves. All others are compiled from transformers' code, mostly by this
    process: with 5 more the first step of 8 layers of Ministral 3 came after 28 s instead of 32 s on an H200."""
    try:
        config, _ = config_json.load_config(base.id, base.revision)
    except UserError:  # the job says later what is wrong with it
        return False
    return isinstance(config, dict) and config.get("model_type") in FAST_UNSLOTH


def _import_unsloth() -> None:
    """Import Unsloth without garbage collection, since it keeps millions of objects: on an H200 the first step comes
    after 41 s instead of 46 s."""
    compiled_code = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    gc.disable()
    import unsloth  # noqa: F401

    gc.freeze()
    gc.enable()
    if compiled_code:  # unsloth_zoo drops it (patching_utils.py), so that each start of the machine compiles anew
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = compiled_code


def _limit_loss_chunks() -> None:
    """Have Unsloth compute the loss in smaller chunks than by itself, so that seldom the logits are what takes the most
    memory: 12,622 tokens a second instead of 12,691, and 0.69 GB less for packed rows of an 8B on an H200. Where
    UNSLOTH_CE_LOSS_TARGET_GB or UNSLOTH_CE_LOSS_N_CHUNKS is set, Unsloth goes by that."""
    loss: Any = import_module("unsloth_zoo.fused_losses.cross_entropy_loss")
    loss._CE_TARGET_GB_CAP = CHUNK_TARGET_CAP / GIB


def compiles_the_model() -> bool:
    """True if Unsloth has no layers of its own for the loaded model, and compiles those of transformers."""
    return os.environ.get("UNSLOTH_USE_NEW_MODEL") == "1"


def attention_kernel(backend: str) -> Kernel | None:
    """Give Unsloth the best attention kernel of this machine and return it; None with the trl backend, which has one
    for padded rows only. Call it after `prepare`."""
    if backend != "unsloth":
        return None
    from fitune.core.worker.training import varlen_attention

    return varlen_attention.install()


def load(recipe: Recipe, source: ModelFiles) -> Loaded:
    """Load the base model with the recipe's quantization, and put a fresh adapter on it.

    Raises UserError for a model that was not made to go on with a text, or that has no places for such long rows.
    """
    from transformers import AutoConfig

    refuse_other_purposes(AutoConfig.from_pretrained(source.path, trust_remote_code=recipe.model.trust_remote_code))
    loaded = (_load_unsloth if recipe.train.backend == "unsloth" else _load_trl)(recipe, source)
    base = loaded.model.get_base_model()
    refuse_seeing_ahead(base)
    refuse_beyond_places(source.name, table_of_places(base), recipe.model.max_seq_length)
    return loaded


def _load_unsloth(recipe: Recipe, source: ModelFiles) -> Loaded:
    import torch
    from unsloth import FastLanguageModel

    model, train = recipe.model, recipe.train
    dtype = compute_dtype()
    offload = {} if train.offload_layers is None else {"offload_layers": train.offload_layers}
    place = {"device_map": {"": "cpu"}} if splits(recipe) else {}  # each card then takes its part
    choose_expert_layout(source.path)
    if model.quant != "bf16":
        keep_towers_whole(source.path, model.trust_remote_code)
    with whole_model(source.name):
        base, processing = FastLanguageModel.from_pretrained(
            str(source.path),
            max_seq_length=model.max_seq_length,
            dtype=getattr(torch, dtype),
            load_in_4bit=model.quant == "nf4",
            load_in_8bit=model.quant == "int8",
            trust_remote_code=model.trust_remote_code,
            unsloth_tiled_mlp=train.tiled_mlp,
            **offload,
            **place,
        )
    # Where Unsloth has no code of its own for a family it drops chosen modules whose names it does not know (Mamba,
    # convolutions), unless every part of the model is open to adapters.
    unfiltered = {"finetune_vision_layers": True} if compiles_the_model() else {}
    with _explained_refusal(source):
        adapted = FastLanguageModel.get_peft_model(
            base,
            **_adapter_settings(recipe, base),
            checkpoint_skip_layers=train.checkpoint_skip_layers or 0,
            use_gradient_checkpointing={"unsloth": "unsloth", "on": True, "off": False}[train.checkpointing],
            random_state=train.seed,
            **unfiltered,
        )
    return Loaded(adapted, text_part(processing), dtype)


def base_model(recipe: Recipe, source: ModelFiles, dtype: str) -> Any:
    """The base model of transformers with the recipe's quantization, without an adapter. dtype: of compute_dtype."""
    import torch
    from transformers import AutoConfig, BitsAndBytesConfig

    model = recipe.model
    config = AutoConfig.from_pretrained(source.path, trust_remote_code=model.trust_remote_code)
    whole_precision = outside_text(config, model.trust_remote_code)
    quantization = {
        "nf4": BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=getattr(torch, dtype),
            bnb_4bit_use_double_quant=model.double_quant,
            llm_int8_skip_modules=whole_precision,
        ),
        "int8": BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=whole_precision),
        "bf16": None,
    }[model.quant]
    with whole_model(source.name):
        return model_class(config).from_pretrained(
            source.path,
            dtype=getattr(torch, dtype),
            quantization_config=quantization,
            device_map={"": 0 if torch.cuda.is_available() and not splits(recipe) else "cpu"},
            trust_remote_code=model.trust_remote_code,
            use_safetensors=True,
        )


def _load_trl(recipe: Recipe, source: ModelFiles) -> Loaded:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoTokenizer, set_seed

    train = recipe.train
    dtype = compute_dtype()
    base = base_model(recipe, source, dtype)
    tokenizer = AutoTokenizer.from_pretrained(source.path, trust_remote_code=recipe.model.trust_remote_code)
    # Not peft's prepare_model_for_kbit_training: it widens norms, embeddings and with them every activation to fp32.
    base.config.use_cache = False
    if train.checkpointing != "off":
        base.gradient_checkpointing_enable({"use_reentrant": False})
        base.enable_input_require_grads()
    set_seed(train.seed)  # the adapter's start is random, and belongs to the run
    config = LoraConfig(**_adapter_settings(recipe, base), task_type="CAUSAL_LM")
    with _explained_refusal(source):
        adapted = get_peft_model(base, config)
    if recipe.trains_all:
        widen(adapted)
    if recipe.lora.init == "loftq":
        fill_with_rounding(adapted, source)
    return Loaded(adapted, tokenizer, dtype)


def _adapter_settings(recipe: Recipe, base: Any) -> dict[str, Any]:
    """The adapter of a recipe for a base model, in the terms of peft's LoraConfig."""
    if recipe.trains_all:
        return all_weights(base)
    lora = recipe.lora
    targets = find_targets(base, lora.target_modules, lora.layers)
    return {
        "r": lora.r,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "bias": lora.bias,
        "target_modules": short_names(base, targets.modules),
        "target_parameters": list(targets.parameters),  # an empty list: Unsloth adds no experts by itself
        "use_rslora": lora.rslora,
        "use_dora": lora.dora,
        "init_lora_weights": lora.init if lora.init not in ("default", "loftq") else True,
        "rank_pattern": dict(lora.rank_pattern),
        **whole_modules(base, lora.modules_to_save),
    }


def widen(model: Any) -> None:
    """Make the trained weights fp32: 16 bits round a step of full fine-tuning away, and neither a processor nor the
    gradient scaler of fp16 takes the bf16 that TRL 1.15 makes of a quantized model's adapter (sft_trainer.py)."""
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()


def without_expert_loss(args: Any, model: Any) -> Any:
    """TRL's settings without the loss of experts where there is none to take. TRL asks it of each family with experts:
    also of a model without, and of Granite and DBRX, whose classes in transformers 5.17 don't tell where they sent the
    tokens, so that the first step failed ("'int' object has no attribute 'to'")."""
    told = any("router_logits" in (getattr(module, "_can_record_outputs", None) or ()) for module in model.modules())
    if not told or getattr(model.config.get_text_config(), "num_local_experts", None) == 0:
        args.router_aux_loss_coef = 0.0
    return args


@contextmanager
def _explained_refusal(source: ModelFiles) -> Iterator[None]:
    """Turn PEFT's error for modules that the model does not have, or that take no adapter, into a UserError."""
    try:
        yield
    except ValueError as error:
        reason = " ".join(str(error).split())[:300]
        hint = "Fix lora.target_modules or lora.layers."
        raise UserError(f"No such adapter can be put on {source.name}: {reason}", hint) from error
