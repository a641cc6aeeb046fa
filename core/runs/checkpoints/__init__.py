"""Checkpoints of a training: which are whole, which one a resume continues from, and which are removed."""

from fitune.core.runs.checkpoints.choose import Choice, choose, numbered, set_aside
from fitune.core.runs.checkpoints.tensors import flaw_of_header, narrow_weight
from fitune.core.runs.checkpoints.verify import flaw_of, lost_state, write_manifest

__all__ = [
    "Choice", "choose", "flaw_of", "flaw_of_header", "lost_state", "narrow_weight", "numbered", "set_aside",
    "write_manifest",
]  # fmt: skip
