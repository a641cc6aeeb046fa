"""What a user should know of a model with its adapter before it is trained: what is not trained, what can't be made of
it, and what takes longer than it must."""

import re
from collections.abc import Iterator
from typing import Any

from fitune.core.machine import install_sentence, missing_kernels
from fitune.core.memory import EXPERT_NAMES
from fitune.core.recipe import Lora
from fitune.core.runs import Warned
from fitune.core.worker.merging.file_names import holds_experts


def warnings_of(model: Any, lora: Lora, backend: str, on_card: bool) -> Iterator[Warned]:
    """The warnings for a model that is loaded with its adapter. on_card: it trains on a card; else no kernel helps."""
    # Unsloth trains embed_tokens and lm_head whole, which peft keeps as modules_to_save.
    trained = ("lora_A", "modules_to_save")
    adapted = [f".{name}" for name, module in model.named_modules() if any(hasattr(module, part) for part in trained)]
    has_experts = any(name.endswith(".experts") for name in adapted)
    if has_experts:  # unsloth adapts their weights there, which are no modules
        adapted += [f".{name}" for name in EXPERT_NAMES]
    names = () if lora.target_modules == "all-linear" else lora.target_modules
    # peft is silent as long as another name fits.
    if unknown := [name for name in names if not any(module.endswith(f".{name}") for module in adapted)]:
        message = f"lora.target_modules: the model has no {', '.join(unknown)}; only the others are trained."
        yield Warned(kind="modules", message=message)
    if idle := [key for key in lora.rank_pattern if not any(re.fullmatch(rf".*\.({key})", name) for name in adapted)]:
        message = (
            f"lora.rank_pattern: no module with an adapter is named {', '.join(idle)}; lora.r holds for all others."
        )
        yield Warned(kind="modules", message=message)
    if has_experts and not holds_experts(model.get_base_model()):
        message = (
            "The adapter changes the model's experts, too, which its files hold in another way than the memory, "
            "and so it can't be merged or exported as GGUF afterwards. One that can: "
            'lora.target_modules = ["q_proj", "k_proj", "v_proj", "o_proj"].'
        )
        yield Warned(kind="experts", message=message)
    if on_card and _has_other_mixers(model) and (missing := missing_kernels(model.config.model_type, backend)):
        cause = (
            "Some layers of this model run without their kernels, which takes several times the memory and the time: "
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed."
        )
        yield Warned(kind="kernels", message=f"{cause} {install_sentence(missing)}")


def _has_other_mixers(model: Any) -> bool:
    """False for a model whose layers all have softmax attention, such as the small Granite 4 without Mamba layers."""
    kinds = getattr(model.config.get_text_config(), "layer_types", None)
    return kinds is None or any(kind not in ("attention", "full_attention", "sliding_attention") for kind in kinds)
