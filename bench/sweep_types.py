"""Each model_type of transformers with a class that writes text: is its shape what the class and peft say?

usage: PYTHONPATH=. python bench/sweep_types.py [MODEL_TYPE ...] > bench/results/types_DATE.jsonl
Builds each with its default config on the meta device, counts its parameters and those of an adapter that peft puts on
all its matrices, and compares both with the shape. One JSON line a type: "exact", "differs" with both counts, or
"refused" with the sentence that a user gets. Takes a quarter of an hour on two cores.
"""

import contextlib
import json
import signal
import sys
from collections import Counter
from importlib.metadata import version
from typing import Any

from fitune.core.errors import UserError
from fitune.core.worker.architecture.build import build
from fitune.core.worker.architecture.describe import describe
from fitune.core.worker.architecture.targets import find_targets, short_names

RANK = 16
LIMIT_S = 120
NEEDED: dict[str, dict[str, Any]] = {
    "dots1": {"n_routed_experts": 64, "n_shared_experts": 1},
    "hunyuan_v1_dense": {"head_dim": 128},
    "hunyuan_v1_moe": {"head_dim": 128},
    "idefics3": {"text_config": {"model_type": "llama", "pad_token_id": 0}},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 16},
    "ministral": {"head_dim": 128},
    "nemotron": {"num_key_value_heads": 8},
    "reformer": {"is_decoder": True},
    "smolvlm": {"text_config": {"model_type": "llama", "pad_token_id": 0}},
}
"""Values that a model_type has no working default for."""


def model_types() -> list[str]:
    """Every model_type with a causal or an image-text class."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    classes = {*AutoModelForCausalLM._model_mapping.keys(), *AutoModelForImageTextToText._model_mapping.keys()}
    return sorted({config.model_type for config in classes})


def compared(model_type: str) -> dict[str, Any]:
    """The counts of one type."""
    try:
        model = build({"model_type": model_type, **NEEDED.get(model_type, {})})
    except UserError as error:
        return {"refused": str(error)}
    params = sum(weight.numel() for weight in model.parameters())
    shape = describe(model)
    lora = sum(RANK * (each.inputs + each.outputs) * times for each, times in shape.matrices if each.adapted)
    found = {"class": type(model).__name__, "params": params, "lora": lora, "layers": len(shape.order)}
    differs = {"params_said": shape.params} if shape.params != params else {}
    try:
        trained = trained_by_peft(model)
    except UserError as error:
        return found | differs | {"refused": str(error)}
    differs |= {"lora_of_peft": trained} if trained != lora else {}
    return found | ({"differs": differs} if differs else {"exact": True})


def trained_by_peft(model: Any) -> int:
    """The number of weights of an adapter on "all-linear", as peft makes it."""
    from peft import LoraConfig, get_peft_model

    names = short_names(model, find_targets(model, "all-linear").modules)
    adapted = get_peft_model(model, LoraConfig(r=RANK, target_modules=names, task_type="CAUSAL_LM"))
    return sum(weight.numel() for weight in adapted.parameters() if weight.requires_grad)


def main(chosen: list[str]) -> None:
    print(json.dumps({"about": f"transformers {version('transformers')}, peft {version('peft')}, default configs"}))
    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(TimeoutError()))
    counts: Counter[str] = Counter()
    for model_type in chosen or model_types():
        signal.alarm(LIMIT_S)
        try:
            with contextlib.redirect_stdout(sys.stderr):
                found = compared(model_type)
        except Exception as error:  # a fault of fitune, transformers or peft: the sweep is there to find it
            found = {"fault": f"{type(error).__name__}: {error}"[:300]}
        signal.alarm(0)
        counts.update(key for key in ("exact", "differs", "refused", "fault") if key in found)
        print(json.dumps({"model_type": model_type, **found}), flush=True)
    print(dict(counts), file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
