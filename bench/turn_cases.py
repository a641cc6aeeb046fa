"""The trainings of bench/turns.py: by fitune as it proposes and as an expert would set it, and by scripts."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).parent.parent))
from bench import vram


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A training, and what is measured of it."""

    name: str
    model: str
    rows: Literal["gsm8k", "mix"] = "gsm8k"
    script: str | None = None
    """A kind of bench/peers/by_hand.py; None: fitune."""
    sets: Mapping[str, Any] = field(default_factory=dict)
    proposed: bool = True
    """fitune chooses the plan, as Enter in its wizard does."""
    steady_s: float | None = None
    """Seconds of the pace after the first steps; None: the whole training, from the command to the adapter."""
    env: Mapping[str, str] = field(default_factory=dict)
    alone: bool = False
    """Nothing else is started meanwhile: the first step counts, too."""


PACKED = {
    "data.packing": True, "data.eval_fraction": 0, "train.micro_batch": 4, "train.grad_accum": 2, "train.epochs": 3,
    "train.checkpointing": "off", "train.optimizer": "adamw_torch_fused",
}  # fmt: skip
EIGHT = {
    "data.packing": False, "data.eval_fraction": 0, "train.micro_batch": 8, "train.grad_accum": 1,
    "train.optimizer": "adamw_torch_fused",
}  # fmt: skip
MIX = {"model.max_seq_length": 8192, "data.eval_fraction": 0}
LOSS_GIB = "UNSLOTH_CE_LOSS_TARGET_GB"
"""What Unsloth plans a chunk of the loss with; by itself half of the free memory, at most 4 GiB."""


def packed(gib: int) -> Case:
    """Packed rows with smaller chunks of the loss."""
    env = {LOSS_GIB: str(gib)}
    return Case(f"packed loss {gib}", vram.L8, sets=PACKED, proposed=False, steady_s=15, env=env)


def eight(gib: int) -> Case:
    """Eight rows at once, none of whose layers is recomputed, with smaller chunks of the loss."""
    sets = {**EIGHT, "train.checkpointing": "off"}
    return Case(f"eight loss {gib}", vram.L8, sets=sets, proposed=False, steady_s=10, env={LOSS_GIB: str(gib)})


def skipped(layers: int) -> Case:
    """Eight rows at once, of whose layers so many are not recomputed."""
    sets = {**EIGHT, "train.checkpoint_skip_layers": layers, "train.max_steps": 150}
    return Case(f"skip {layers}", vram.L8, sets=sets, proposed=False, steady_s=10)


CASES = (
    packed(4),
    packed(2),
    Case("packed expert", vram.L8, script="unsloth-expert", steady_s=15),
    Case("epoch default", vram.TINY),
    Case("epoch expert", vram.TINY, script="unsloth-expert"),
    Case("epoch packed", vram.TINY, sets={"data.packing": True}),
    Case("epoch trl", vram.TINY, script="trl-expert"),
    Case("8B default", vram.L8, sets={"run.vram_limit_gib": 24}, alone=True),
    skipped(8),
    skipped(24),
    Case("mix 24 steps", vram.L8, "mix", sets={**MIX, "train.max_steps": 24}),
    eight(2),
    eight(4),
    Case("mix 120 steps", vram.L8, "mix", sets={**MIX, "train.max_steps": 120}, steady_s=25),
    packed(1),
    Case("epoch guide", vram.TINY, script="unsloth-guide"),
)
