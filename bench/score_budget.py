"""Predicted against measured peak device memory: `uv run bench/score_budget.py ROWS.jsonl`.

Rows are lines of JSON: model, backend, bs, seq, r, quant, optim, gc, peak_device_GiB. A first line with `about` is
skipped, except for the versions in it. Prints each row, then mean, worst over and worst under in percent.
"""

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from core.budget import Card, Stack, estimate
from core.config import parse
from core.recipe_fields import Recipe
from core.shapes import Shape, load

GIB = 2**30
H100 = Card(total_bytes=85_520_809_984, free_bytes=85_000_000_000, compute_capability=(9, 0))
MODELS = {
    "smollm2-135m": "HuggingFaceTB/SmolLM2-135M-Instruct",
    "llama-3.2-1b": "meta-llama/Llama-3.2-1B-Instruct",
    "llama-3.2-3b": "meta-llama/Llama-3.2-3B-Instruct",
    "llama-3.1-8b": "meta-llama/Llama-3.1-8B-Instruct",
    "mistral-7b-v0.3": "mistralai/Mistral-7B-Instruct-v0.3",
    "qwen2.5-7b": "Qwen/Qwen2.5-7B-Instruct",
    "qwen2.5-14b": "Qwen/Qwen2.5-14B-Instruct",
    "qwen2.5-32b": "Qwen/Qwen2.5-32B-Instruct",
    "qwen3-0.6b": "Qwen/Qwen3-0.6B",
    "qwen3-4b": "Qwen/Qwen3-4B",
    "qwen3-8b": "Qwen/Qwen3-8B",
    "gemma-2-9b": "google/gemma-2-9b-it",
    "phi-3-mini": "microsoft/Phi-3-mini-4k-instruct",
}


def shape_of(row: dict[str, Any]) -> Shape:
    return load(MODELS.get(row["model"], row["model"]))


def recipe_of(row: dict[str, Any]) -> Recipe:
    """The recipe which a row of measurements ran."""
    checkpointing = {"unsloth": "unsloth", "true": "on", "false": "off"}[row["gc"]]
    train = {
        "backend": row["backend"],
        "micro_batch": row["bs"],
        "grad_accum": row.get("ga", 1),
        "optimizer": row["optim"],
        "checkpointing": checkpointing,
    }
    if row.get("offload"):
        train["offload_layers"] = row["offload"]
    model = {"id": row["model"], "quant": row["quant"], "max_seq_length": row["seq"]}
    lora = {"r": row["r"], "target_modules": row["targets"]}
    return parse({"model": model, "lora": lora, "data": {"source": "-"}, "train": train}, "row")


def score(rows: list[dict[str, Any]], stack: Stack, card: Card = H100) -> list[float]:
    """Errors of the predicted peak, in percent of the measured one; prints a line a row."""
    errors = []
    for row in rows:
        budget = estimate(shape_of(row), recipe_of(row), card, stack=stack)
        measured = row["peak_device_GiB"] * GIB
        errors.append(100 * (budget.total_bytes - measured) / measured)
        case = f"{row['model']} {row['backend']} {row['bs']}x{row['seq']} r{row['r']} {row['quant']} {row['gc']}"
        found = f"{budget.total_bytes / GIB:7.3f} of {measured / GIB:7.3f} GiB {errors[-1]:+6.2f} %"
        bounds = f"[{budget.low_bytes / GIB:.2f}, {budget.high_bytes / GIB:.2f}]"
        print(f"{case:48} {found}  {bounds}  peak at {budget.moment}")
    return errors


def main(paths: list[str]) -> int:
    lines = [json.loads(line) for path in paths for line in Path(path).read_text().splitlines() if line.strip()]
    about = " ".join(line["about"] for line in lines if "about" in line)
    rows = [line for line in lines if "peak_device_GiB" in line and "oom" not in line and "error" not in line]
    if not rows:
        print("No rows with peak_device_GiB.", file=sys.stderr)
        return 2
    # The rows say by which code they were taken: the loss of a newer zoo, and a script that widened norms to fp32.
    stack = Stack(tiled_loss="unsloth 2026.10.9" in about, fp32_stream="gpu/measure.py" in about)
    errors = score(rows, stack)
    mean = sum(map(abs, errors)) / len(errors)
    over, under = max(0.0, *errors), min(0.0, *errors)
    print(f"{len(errors)} rows: mean {mean:.2f} %, worst over {over:+.2f} %, worst under {under:+.2f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
