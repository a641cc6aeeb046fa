"""What can be done with a trained adapter, and what each way needs. A row of WAYS is a way.

A way whose `job` is set is done by the worker and watched like a training; the others are lines to run by hand.
"""

import os
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.errors import UserError
from core.events import Tail
from core.runs import Run
from tui.format import duration, size

Q8_0_SHARE = 34 / 64
"""llama.cpp's q8_0 takes 34 bytes for 32 weights (ggml's block_q8_0), 16-bit weights take 64."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the ways depend on."""

    run: Run
    base_model: str
    adapter_bytes: int
    disk_free_bytes: int
    merged_bytes: int | None
    """Of the whole model at 16 bits a weight; None if its shape is not known."""
    load_s: float | None
    """How long this run took to load the model."""
    host: str


@dataclass(frozen=True, slots=True)
class Way:
    """One thing to do with an adapter."""

    title: str
    what: str
    needs: Callable[[Facts], str]
    lines: Callable[[Facts], str]
    """The lines to run by hand; empty for a job."""
    job: Literal["chat", "merge", "push"] | None = None
    """The worker's job that does it, or a talk with the model; None where it is done by hand."""


WAYS = (
    Way(
        "Try it",
        "Ask it and its base the same, side by side.",
        lambda facts: f"the base model in memory{_as_in_training(facts)}; no token unless the model is gated",
        lambda facts: "",
        "chat",
    ),
    Way(
        "Merge",
        "Write adapter and model into one ordinary model folder.",
        lambda facts: f"{_disk(facts)}, about 2 GiB of RAM; no token",
        lambda facts: "",
        "merge",
    ),
    Way(
        "GGUF",
        "Make one file for llama.cpp and Ollama; merge first.",
        lambda facts: f"{_disk(facts, Q8_0_SHARE)}; the converter of llama.cpp; no token",
        lambda facts: (
            f"cd {_q(facts.run.path)}\npython convert_hf_to_gguf.py merged --outtype q8_0 --outfile tuned.gguf"
        ),
    ),
    Way(
        "Push",
        "Put the adapter on the Hugging Face Hub, in a private repository.",
        lambda facts: f"{size(facts.adapter_bytes)} to upload; a token that may write (hf auth login)",
        lambda facts: "",
        "push",
    ),
    Way(
        "Serve",
        "Answer requests of other programs, with vLLM.",
        lambda facts: "vLLM; the base model on a card; no token unless the model is gated",
        lambda facts: (
            f"vllm serve {_q(facts.base_model)} --enable-lora \\\n    --lora-modules tuned={_q(facts.run.adapter)}"
        ),
    ),
    Way(
        "Copy",
        "Fetch the adapter to your own computer; type this there.",
        lambda facts: f"{size(facts.adapter_bytes)} of disk there",
        lambda facts: f"scp -r {facts.host}:{_q(facts.run.adapter)} {facts.run.name}",
    ),
)


def facts(run: Run) -> Facts:
    """Look at a run's folder; what can't be known is None."""
    try:
        info = run.info()
    except UserError:
        info = {}
    model = (info.get("recipe") or {}).get("model") or {}
    return Facts(
        run,
        str(model.get("id", "")),
        sum(file.stat().st_size for file in run.adapter.rglob("*") if file.is_file()),
        shutil.disk_usage(run.path).free,
        _merged_bytes(str(model.get("id", "")), model.get("revision")),
        _load_s(run),
        str(info.get("host") or os.uname().nodename),
    )


def _merged_bytes(model_id: str, revision: str | None) -> int | None:
    from core import shapes

    try:
        return 2 * shapes.load(model_id, revision).params
    except UserError:
        return None


def _load_s(run: Run) -> float | None:
    """Seconds that the newest load of the model took, from its phase to the next."""
    began = took = None
    for event in Tail(run.events).catch_up():
        if event.type == "phase":
            if began is not None:
                took, began = event.t - began, None
            if event.data.get("name") == "load":
                began = event.t
    return took


def _as_in_training(facts: Facts) -> str:
    return f" (loading took {duration(facts.load_s)} in this run)" if facts.load_s is not None else ""


def _disk(facts: Facts, share: float = 1.0) -> str:
    """share: of the model at 16 bits a weight."""
    wanted = size(int(share * facts.merged_bytes)) if facts.merged_bytes else f"{2 * share:.2g} bytes a weight"
    return f"{wanted} of disk, {size(facts.disk_free_bytes)} are free"


def _q(text: str | Path) -> str:
    return shlex.quote(str(text))
