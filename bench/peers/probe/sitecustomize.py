"""Python imports this file at the start of every contender, whose PYTHONPATH names its folder: it times the steps of
whatever transformers.Trainer runs, counts the tokens that are no padding, and ends the process when it has measured.

Environment: PEER_OUT is the result file (without it nothing is counted); PEER_BEGAN when the command was given
(time.time()); PEER_PAD the padding token's id; PEER_STEADY_S how long the steady state is measured ("inf": to the end).
PEER_GATE: the training says by a file PEER_GATE.ready that it is about to begin, and waits for a file PEER_GATE.go.
"""

import importlib.abc
import importlib.metadata
import importlib.util
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

OUT, GATE = os.environ.get("PEER_OUT"), os.environ.get("PEER_GATE")
WARM_STEPS, WARM_S = 5, 10.0
"""What comes after the first step before the steady state counts."""


def wait_for_turn() -> None:
    """Say that the training could begin, and wait until it may."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    Path(f"{GATE}.ready").touch()
    while not Path(f"{GATE}.go").exists():
        time.sleep(0.01)


def booked_bytes() -> int:
    """What the driver books on this process: torch's memory and the CUDA context; 0 where it does not say."""
    import pynvml
    import torch

    try:
        pynvml.nvmlInit()
        card = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(0).uuid}")
        processes = pynvml.nvmlDeviceGetComputeRunningProcesses(card)
    except pynvml.NVMLError:
        return 0
    return next((int(each.usedGpuMemory or 0) for each in processes if each.pid == os.getpid()), 0)


def install(module: Any) -> None:
    """Give every CallbackHandler of transformers.trainer_callback the gate and the probe, before all others."""
    first = [gate_of(module)] if GATE else []
    first += [probe_of(module)] if OUT else []
    original = module.CallbackHandler.__init__

    def with_probe(self: Any, *args: Any, **named: Any) -> None:
        original(self, *args, **named)
        self.callbacks[:0] = [each for each in first if each not in self.callbacks]

    module.CallbackHandler.__init__ = with_probe


def gate_of(module: Any) -> Any:
    """A callback that waits for its turn before the first step."""

    class AtGate(module.TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            wait_for_turn()

    return AtGate()


def probe_of(module: Any) -> Any:
    """A callback that times steps and counts tokens."""
    import torch

    began, pad = float(os.environ["PEER_BEGAN"]), int(os.environ["PEER_PAD"])
    steady_s = float(os.environ["PEER_STEADY_S"])

    class Probe(module.TrainerCallback):
        """Times steps and counts tokens."""

        def __init__(self) -> None:
            self.hook: Any = None
            self.counts: Any = None
            self.first_s = 0.0
            self.steady: tuple[float, int, int, int] | None = None
            """When the steady state began: seconds, tokens, tokens with padding, step."""
            self.result: dict[str, Any] = {}
            self.peak_booked = 0

        def count(self, embedding: Any, args: Any, named: Any) -> None:
            """Count the tokens of a forward pass; the card is not waited for."""
            ids = args[0] if args else named["input"]
            if embedding.training:
                found = torch.stack([(ids != pad).sum(), torch.full_like(ids.sum(), ids.numel())])
                self.counts = found if self.counts is None else self.counts + found

        def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            if self.hook is None:
                self.hook = model.get_input_embeddings().register_forward_pre_hook(self.count, with_kwargs=True)
            split = f"{args.per_device_train_batch_size} x {args.gradient_accumulation_steps}"
            names = ("torch", "transformers", "trl", "unsloth", "axolotl", "llamafactory", "liger_kernel")
            versions = {name: importlib.metadata.version(name) for name in names if name in sys.modules}
            self.result |= {"split": split, "versions": versions, "optimizer": str(args.optim)}

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            torch.cuda.synchronize()
            now, (tokens, padded) = time.time(), map(int, self.counts.tolist())
            self.peak_booked = max(self.peak_booked, booked_bytes())
            if not self.first_s:
                self.first_s = now
                self.write(first_step_s=round(now - began, 1))
            if self.steady is None:
                if state.global_step >= WARM_STEPS and now - self.first_s >= WARM_S:
                    self.steady = (now, tokens, padded, state.global_step)
                return
            since, tokens_before, padded_before, step_before = self.steady
            spent_s, useful, steps = now - since, tokens - tokens_before, state.global_step - step_before
            self.write(
                useful_tokens_per_s=round(useful / spent_s),
                padding=round(1 - useful / (padded - padded_before), 3),
                step_s=round(spent_s / steps, 3),
                steps=steps,
            )
            if spent_s >= steady_s:
                os._exit(0)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if "loss" in (logs or {}):
                self.result["last_loss"] = round(float(logs["loss"]), 3)

        def write(self, **found: Any) -> None:
            """Add to the result file, whole at any time."""
            peaks = {"peak_device": self.peak_booked, "peak_reserved": torch.cuda.max_memory_reserved()}
            self.result |= {**found, **peaks}
            with open(f"{OUT}.part", "w") as file:
                json.dump(self.result, file)
            os.replace(f"{OUT}.part", str(OUT))

    return Probe()


class Finder(importlib.abc.MetaPathFinder):
    """Installs the probe as soon as transformers' callbacks are imported."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != "transformers.trainer_callback":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec
        loader: Any = spec.loader
        execute = loader.exec_module

        def exec_module(module: Any) -> None:
            execute(module)
            install(module)

        loader.exec_module = exec_module
        return spec


if OUT or GATE:
    sys.meta_path.insert(0, Finder())
