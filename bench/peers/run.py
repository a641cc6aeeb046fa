"""The same QLoRA fine-tune by fitune and by what people would use instead: useful tokens/s, first step, peak memory.

usage: python bench/peers/run.py MODELDIR ROWS.jsonl WORKDIR [--only NAME ...] [--axolotl PYTHON]
       [--llamafactory PYTHON] [--steady-s SECONDS] [--out FILE.jsonl]
Each contender runs in a process of its own under the probe, which counts in the same manner for all. README.md says how
to make the model and install the others.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pynvml

HERE = Path(__file__).resolve().parent
FITUNE = [sys.executable, "-P", "-m", "fitune", "train"]
PLANS = {
    "fitune": (),
    "fitune-8x1": ("train.micro_batch=8", "train.grad_accum=1"),
    "fitune-8x1-off": ("train.micro_batch=8", "train.grad_accum=1", "train.checkpointing=off"),
    "fitune-packed": ("train.micro_batch=4", "train.grad_accum=2", "train.checkpointing=off", "data.packing=true"),
}
BY_HAND = ("unsloth-guide", "unsloth-expert", "trl-expert")
OTHERS = {"axolotl": "axolotl.cli.train", "llamafactory": "llamafactory.cli"}
LIMIT_S = 300.0
PAD = 3
"""The padding token's id in models of bench/make_model.py."""


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("model", type=Path)
    options.add_argument("rows", type=Path, help='JSONL with "question" and "answer"')
    options.add_argument("work", type=Path)
    options.add_argument("--only", nargs="*", default=[*PLANS, *BY_HAND])
    options.add_argument("--axolotl", default="python", help="the Python that has Axolotl")
    options.add_argument("--llamafactory", default="python", help="the Python that has LLaMA-Factory")
    options.add_argument("--steady-s", type=float, default=25.0, help="seconds of steady state that are measured")
    options.add_argument("--out", type=Path, default=Path("/dev/null"))
    args = options.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    write_rows(args.rows, args.work)
    pythons = {"axolotl": args.axolotl, "llamafactory": args.llamafactory}
    for name in args.only:
        line = json.dumps({"name": name, **measured(name, command(name, args, pythons), args.work, args.steady_s)})
        print(line, flush=True)
        with args.out.open("a") as out:
            out.write(line + "\n")


def write_rows(source: Path, work: Path) -> None:
    """The rows in the shape that each contender reads."""
    rows = [json.loads(line) for line in source.read_text().splitlines()]
    chats = [
        {"messages": [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["answer"]}]}
        for row in rows
    ]
    pairs = [{"instruction": row["question"], "input": "", "output": row["answer"]} for row in rows]
    for name, written in (("chats", chats), ("pairs", pairs)):
        (work / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in written))
    (work / "dataset_info.json").write_text(json.dumps({"pairs": {"file_name": "pairs.jsonl"}}))


def command(name: str, args: argparse.Namespace, pythons: Mapping[str, str]) -> list[str]:
    """The contender's command line; writes the files it reads."""
    if name in BY_HAND:
        return [sys.executable, str(HERE / "by_hand.py"), name, str(args.model), str(args.work / "chats.jsonl")]
    if name in OTHERS:
        text = (HERE / f"{name}.yaml").read_text()
        config = args.work / f"{name}.yaml"
        config.write_text(text.replace("@MODEL@", str(args.model)).replace("@WORK@", str(args.work)))
        train = ["train"] if name == "llamafactory" else []
        return [pythons[name], "-m", OTHERS[name], *train, str(config)]
    recipe = args.work / "recipe.toml"
    recipe.write_text(f'[model]\nid = "{args.model}"\n[data]\nsource = "{args.rows}"\neval_fraction = 0\n')
    sets = [text for change in PLANS[name] for text in ("--set", change)]
    return [*FITUNE, str(recipe), "--yes", "--share-gpu", "--set", f"run.name={name}", *sets]


def measured(name: str, words: list[str], work: Path, steady_s: float) -> dict[str, Any]:
    """Run a contender until the probe has measured it, or LIMIT_S; the result, with the card's peak in bytes."""
    out, home = work / f"{name}.json", work / f"home-{name}"
    out.unlink(missing_ok=True)
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(HERE / "probe"), os.environ.get("PYTHONPATH", "")]),
        "PEER_OUT": str(out),
        "PEER_BEGAN": str(time.time()),
        "PEER_PAD": str(PAD),
        "PEER_STEADY_S": str(steady_s),
        "FITUNE_HOME": str(home),
    }
    pynvml.nvmlInit()
    card = pynvml.nvmlDeviceGetHandleByIndex(0)
    before_bytes, peak_bytes, deadline = pynvml.nvmlDeviceGetMemoryInfo(card).used, 0, time.monotonic() + LIMIT_S
    with (work / f"{name}.log").open("w") as log:
        process = subprocess.Popen(words, env=env, cwd=work, stdout=log, stderr=log, start_new_session=True)
        while process.poll() is None and time.monotonic() < deadline:
            peak_bytes = max(peak_bytes, pynvml.nvmlDeviceGetMemoryInfo(card).used - before_bytes)
            time.sleep(0.05)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            if name in PLANS:  # its worker outlives the command
                subprocess.run([*FITUNE[:-1], "stop", name, "--now"], env=env, check=False)
    found: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
    if "useful_tokens_per_s" not in found:
        found["failed"] = (work / f"{name}.log").read_text(errors="replace")[-400:]
    return {**found, "peak_bytes": peak_bytes}


if __name__ == "__main__":
    main()
