"""How fast a merge writes beside a plain copy of the same files, and how much host memory it takes.

usage: python bench/merge_speed.py MODEL_FOLDER [--rank 16]     prints a JSON line when the weights are
written and another when they are proven

The adapter is random, on every linear layer. Peak memory is that of the worker's process up to its proof, libraries
included; the proof loads the model whole, and is timed by itself.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from fitune.core import runs
from fitune.core.recipe.load import parse
from fitune.core.runs import Finished
from fitune.core.runs.run import Run

MODULES = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
           "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")  # fmt: skip


def make_run(model: Path, home: Path, rank: int) -> Run:
    """A run whose training never was, with an adapter all the same."""
    import torch
    from peft import LoraConfig
    from safetensors.torch import save_file

    from fitune.core.worker.merging.tensors import locate_tensors

    data = home / "rows.jsonl"
    data.write_text("".join(json.dumps({"question": f"{n}?", "answer": f"{n}."}) + "\n" for n in range(40)))
    tree: dict[str, Any] = {"model": {"id": str(model), "quant": "bf16"}, "data": {"source": str(data)}}
    run = runs.create(parse(tree, "bench"), home)
    LoraConfig(r=rank, lora_alpha=rank, target_modules="all-linear", task_type="CAUSAL_LM").save_pretrained(run.adapter)
    held = {}
    for name, slot in locate_tensors(model).items():
        if name.removesuffix(".weight").endswith(MODULES):
            key = f"base_model.model.{name.removesuffix('.weight')}"
            held[f"{key}.lora_A.weight"] = torch.randn(rank, slot.shape[1]) * 0.02
            held[f"{key}.lora_B.weight"] = torch.randn(slot.shape[0], rank) * 0.02
    save_file(held, run.adapter / "adapter_model.safetensors", {"format": "pt"})
    for pattern in ("tokenizer*", "chat_template*"):
        for path in model.glob(pattern):
            shutil.copyfile(path, run.adapter / path.name)
    return run


def copy_s(model: Path, to: Path) -> float:
    """Seconds of a plain copy of the weights; done twice, so that both this and the merge read from the page cache."""
    for _ in range(2):
        shutil.rmtree(to, ignore_errors=True)
        began = time.monotonic()
        shutil.copytree(model, to)
    took_s = time.monotonic() - began
    shutil.rmtree(to)
    return took_s


def main() -> None:
    """Measure and print."""
    wanted = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    wanted.add_argument("model", type=Path)
    wanted.add_argument("--rank", type=int, default=16)
    asked = wanted.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        run = make_run(asked.model, home, asked.rank)
        plain_s = copy_s(asked.model, home / "copy")
        worker = subprocess.Popen([sys.executable, "-P", "-m", "fitune.core.worker", str(run.path), "merge"])
        print(json.dumps({"copy_s": round(plain_s, 2), **written(run, worker)}), flush=True)
        worker.wait()
        end = run.state().end
        if not isinstance(end, Finished):
            sys.exit(f"the merge failed: {end}")
        assert end.bytes
        assert end.write_s
        print(json.dumps({
            "merged_bytes": end.bytes, "speed_of_copy": round(plain_s / end.write_s, 2),
            "peak_share": round((end.peak_host_bytes or 0) / end.bytes, 3), "all_s": round(end.elapsed_s or 0, 1),
            "proof": {key: value for key, value in (end.proof or {}).items() if key != "checks"},
        }))  # fmt: skip


def written(run: Run, worker: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Seconds from the first tensor to the last, and the worker's peak of host memory in bytes until then."""
    at: dict[str, float] = {}
    while "prove" not in at and worker.poll() is None:
        time.sleep(0.02)
        at.setdefault(run.state().phase.name, time.monotonic())
    if "prove" not in at:
        return {"failed": worker.returncode}
    peak = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{worker.pid}/status").read_text())
    assert peak
    return {"write_s": round(at["prove"] - at["write"], 2), "peak_host_bytes": int(peak[1]) * 1024}


if __name__ == "__main__":
    main()
