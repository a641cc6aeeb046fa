"""The trainings of bench/cards.py: paces, memory, a resume, a killed process, and a 70B model with little memory."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
from bench import vram
from bench.fits import L70

TWO, SPLIT = {"run.gpus": 2}, {"run.gpus": 2, "run.shard": True}
FAST = {"train.checkpointing": "off", "train.optimizer": "adamw_torch_fused"}
SHORT, FULL = "short", "full"
Sets = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A training: its name, the model with the number of its layers (None: all), the kind of its rows, its recipe."""

    name: str
    model: str
    layers: int | None
    rows: str
    sets: Sets


def pace(name: str, rows: str, sets: Sets) -> Case:
    """A training of the whole 8B model that takes the same rows a step on each card."""
    ranks = sets.get("run.gpus", 1)
    batch = {"train.micro_batch": 8, **FAST} if rows == SHORT else {"train.micro_batch": 4}
    return Case(f"pace {name} {rows}", vram.L8, None, rows, {**batch, "train.grad_accum": ranks, **sets})


def held(model: str, layers: int, micro: int, length: int, sets: Sets) -> Case:
    """A training of few layers on full rows, for the memory that it takes of each card."""
    batch = {"train.micro_batch": micro, "train.grad_accum": 2, "model.max_seq_length": length, "train.max_steps": 4}
    kind = "split" if sets.get("run.shard") else "whole"
    return Case(f"memory {kind} {model.rpartition('/')[2]}", model, layers, FULL, {**batch, **sets})


PACES = (
    pace("one card", SHORT, {}),
    pace("two cards", SHORT, TWO),
    pace("one card", FULL, {}),
    pace("two cards", FULL, TWO),
    pace("split", SHORT, SPLIT),
    pace("split", FULL, SPLIT),
)
MEMORIES = (
    held(vram.L8, 8, 2, 2048, TWO),
    held(vram.L8, 8, 2, 2048, SPLIT),
    held(vram.L8, 8, 1, 2048, {**TWO, **FAST}),
    held(vram.L8, 8, 1, 2048, {**SPLIT, **FAST}),
    held(vram.L8, 8, 2, 1024, {**TWO, **vram.TRL}),
    held(vram.L8, 8, 4, 1024, SPLIT),
    held(vram.L3, 8, 4, 1024, {**TWO, "lora.r": 64}),
    held(vram.L3, 8, 4, 1024, {**SPLIT, "lora.r": 64}),
    held(vram.Q7, 6, 2, 2048, {**TWO, "train.grad_accum": 4}),
    held(vram.Q7, 6, 2, 2048, {**SPLIT, "train.grad_accum": 4}),
    held(vram.Q32, 6, 1, 2048, TWO),
    held(vram.Q32, 6, 1, 2048, SPLIT),
    held(vram.Q14, 8, 1, 4096, SPLIT),
    held(L70, 3, 1, 1024, SPLIT),
)
STORY = {"train.micro_batch": 2, "train.grad_accum": 2, "model.max_seq_length": 512, "train.save_every": 4}
RESUMED = Case("resume", vram.L8, 8, SHORT, {**STORY, **TWO, "train.max_steps": 12})
KILLED = Case("kill", vram.L8, 8, SHORT, {**STORY, **TWO, "train.max_steps": 500})
LARGE_SETS = {"train.micro_batch": 1, "train.grad_accum": 2, "model.max_seq_length": 1024, "lora.r": 8}
LARGE = Case("70B split", L70, None, FULL, {**LARGE_SETS, **SPLIT, "train.max_steps": 20})
LARGE_ALONE = Case(
    "70B one card",
    L70,
    None,
    FULL,
    {**LARGE_SETS, "train.offload_layers": "auto", "run.vram_limit_gib": 24, "train.max_steps": 20},
)
