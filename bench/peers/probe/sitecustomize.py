"""Python imports this file at the start of every contender, whose PYTHONPATH names its folder: it times the steps of
whatever transformers.Trainer runs, counts the tokens that are no padding, and ends the process when it has measured.

Environment: PEER_OUT is the result file (without it nothing is done); PEER_BEGAN when the command was given
(time.time()); PEER_PAD the padding token's id; PEER_STEADY_S how long the steady state is measured.
"""

import importlib.abc
import importlib.util
import json
import os
import sys
import time
from typing import Any

OUT = os.environ.get("PEER_OUT")
WARM_STEPS, WARM_S = 5, 10.0
"""What comes after the first step before the steady state counts."""


def install(module: Any) -> None:
    """Give every CallbackHandler of transformers.trainer_callback the probe."""
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
            versions = {name: str(sys.modules[name].__version__) for name in names if name in sys.modules}
            self.result |= {"split": split, "versions": versions, "optimizer": str(args.optim)}

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            torch.cuda.synchronize()
            now, (tokens, padded) = time.time(), map(int, self.counts.tolist())
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
            self.result |= found
            with open(f"{OUT}.part", "w") as file:
                json.dump(self.result, file)
            os.replace(f"{OUT}.part", str(OUT))

    probe, original = Probe(), module.CallbackHandler.__init__

    def with_probe(self: Any, *args: Any, **named: Any) -> None:
        original(self, *args, **named)
        if probe not in self.callbacks:
            self.callbacks.append(probe)

    module.CallbackHandler.__init__ = with_probe


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


if OUT:
    sys.meta_path.insert(0, Finder())
