"""Predicted against measured memory: each case is a real `fitune train` of a few steps on full-length rows.

usage: python bench/vram.py MODELS_DIR [--only TEXT] [--at-once N] [--out FILE.jsonl]
Builds random-weight models of the shapes it needs in MODELS_DIR. Prints one JSON line a case. Alone on the card
(--at-once 1) `device` is what the card's memory grew by; with others it is what the driver books on the process, which
leaves out a little, so compare `reserved`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

STEPS = 4
"""Optimizer states appear in the first step, so the second is the first true peak."""
L1, L3, L8 = "meta-llama/Llama-3.2-1B-Instruct", "meta-llama/Llama-3.2-3B-Instruct", "meta-llama/Llama-3.1-8B-Instruct"
TINY, Q05, Q8 = "HuggingFaceTB/SmolLM2-135M-Instruct", "Qwen/Qwen2.5-0.5B-Instruct", "Qwen/Qwen3-8B"
TRL = {"train.backend": "trl", "train.checkpointing": "on"}
CASES: tuple[tuple[str, dict[str, Any]], ...] = (
    # (model, what differs from NF4, r 16, 2 x 2048, adamw_8bit, unsloth)
    (TINY, {}),
    (TINY, {**TRL, "model.quant": "bf16"}),
    (Q05, {}),
    (Q05, {"train.micro_batch": 8, "model.max_seq_length": 1024}),
    (L1, {}),
    (L1, {"train.micro_batch": 1, "model.max_seq_length": 8192}),
    (L1, {"train.checkpointing": "on"}),
    (L1, {"train.checkpointing": "off"}),
    (L1, {"model.quant": "bf16", "train.optimizer": "adamw_torch_fused"}),
    (L1, {"lora.r": 128}),
    (L1, {"train.grad_accum": 4}),
    (L1, TRL),
    (L1, {**TRL, "model.quant": "bf16", "train.micro_batch": 1}),
    (L3, {}),
    (L3, {"train.micro_batch": 4, "model.max_seq_length": 4096}),
    (L3, {**TRL, "train.micro_batch": 1}),
    (L8, {}),
    (L8, {"train.micro_batch": 1, "model.max_seq_length": 512}),
    (L8, {"lora.r": 64, "train.optimizer": "paged_adamw_8bit"}),
    (L8, {"train.micro_batch": 4, "model.max_seq_length": 4096}),
    (L8, {"train.offload_layers": 16}),
    (L8, TRL),
    (Q8, {}),
)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("models", type=Path)
    options.add_argument("--only", default="")
    options.add_argument("--at-once", type=int, default=1)
    options.add_argument("--out", type=Path)
    args = options.parse_args()
    cases = [case for case in CASES if args.only in case[0]]
    for model in dict.fromkeys(model for model, _ in cases):
        build(model, args.models / model.rpartition("/")[2])
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(args.at_once) as pool:
        data = write_rows(Path(folder))
        jobs = [pool.submit(measure, number, *case, args.models, data) for number, case in enumerate(cases)]
        for job in jobs:
            line = json.dumps(job.result())
            print(line, flush=True)
            if args.out:
                with args.out.open("a") as file:
                    file.write(line + "\n")


def build(model: str, folder: Path) -> None:
    """Have a random-weight model of that shape."""
    if not folder.exists():
        script = Path(__file__).with_name("make_model.py")
        subprocess.run([sys.executable, script, model, folder], check=True, stdout=subprocess.DEVNULL)


def write_rows(folder: Path) -> Path:
    """Rows of 10,000 tokens and more: each is cut to the length of the case."""
    text = "the quick brown fox jumps over the lazy dog " * 2400
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": f"{number} {text}"}) + "\n" for number in range(64)))
    return path


def measure(number: int, model: str, changes: dict[str, Any], models: Path, data: Path) -> dict[str, Any]:
    """Run one case and return its figures, in bytes."""
    sets = {"train.max_steps": STEPS, "train.micro_batch": 2, "train.grad_accum": 1, "train.save_every": 100_000,
            "data.eval_fraction": 0, "run.name": f"case-{number}", **changes}  # fmt: skip
    recipe = data.with_name(f"{number}.toml")
    recipe.write_text(f'[model]\nid = "{models / model.rpartition("/")[2]}"\n[data]\nsource = "{data}"\n')
    arguments = [text for key, value in sets.items() for text in ("--set", f"{key}={value}")]
    command = [sys.executable, "-P", "-m", "tui", "train", recipe, "--share-gpu", "--yes", *arguments]
    home = data.parent / "home"
    subprocess.run(command, env={**os.environ, "FITUNE_HOME": str(home)}, capture_output=True)
    run = home / "runs" / f"case-{number}"
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    last, info = events[-1], json.loads((run / "run.json").read_text())
    steps = [event["data"] for event in events if event["type"] == "step"]
    memory = last["data"].get("memory", {})
    budget = info["budget"]
    context = sum(part["bytes"] for part in budget["parts"] if part["name"] == "CUDA context")
    return {
        "model": model,
        **changes,
        "predicted": budget["total_bytes"],
        "low": budget["low_bytes"],
        "high": budget["high_bytes"],
        "device": memory.get("peak_device"),
        "predicted_reserved": budget["total_bytes"] - context,
        "reserved": memory.get("peak_reserved"),
        "allocated": memory.get("peak_allocated"),
        "tokens_per_s": round(max(step["tokens_per_s"] for step in steps)) if steps else None,
        "failed": last["data"].get("message") if last["type"] == "failed" else None,
        "versions": {name: info["versions"].get(name) for name in ("torch", "unsloth", "trl", "transformers")},
        "card": (info["gpu"] or {}).get("name"),
    }


if __name__ == "__main__":
    main()
