"""The check that a base model in a folder still has the weights of the training: their digest in the run's base.json.

A model of the Hub needs no digest: its commit is in the run's events.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import orjson

from fitune.core.errors import UserError
from fitune.core.files import read_file, write_atomically
from fitune.core.records import from_json
from fitune.core.runs import Run

FILE = "base.json"
SAMPLES, SAMPLE_BYTES = 512, 4096


@dataclass(frozen=True, slots=True)
class WeightsDigest:
    """The content of base.json: the weights that the run was trained on."""

    sampled: str
    """BLAKE2b of 512 samples of each file of weights, 4,096 bytes each."""


def keep_digest(run: Run) -> None:
    """Write base.json if the base model is a folder, and nothing was trained yet."""
    folder = Path(os.path.expanduser(run.recipe().model.id))
    if folder.is_dir() and not _has_trained(run):
        write_atomically(run.path / FILE, orjson.dumps(WeightsDigest(weights_digest(folder))))


def refuse_changed_base(run: Run, folder: Path) -> None:
    """Raise UserError if the weights in the folder are not those that the run was trained on."""
    path = run.path / FILE
    if not (_has_trained(run) and path.is_file()):
        return
    try:
        trained_on = from_json(WeightsDigest, orjson.loads(read_file(path)))
    except (OSError, orjson.JSONDecodeError):
        raise UserError(
            f"{path} can't be read, so nobody knows if the weights in {folder} are those that were trained on.",
            "If they are, remove that file, and try again.",
        ) from None
    if trained_on != WeightsDigest(weights_digest(folder)):
        raise UserError(
            f"The weights in {folder} are not those that {run.name} was trained on: they were changed since.",
            "Put the old ones back, or train again on these.",
        )


def weights_digest(folder: Path) -> str:
    """A digest of SAMPLES samples of each file of weights: quick for any size, and another training changes it."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.glob("*.safetensors")):
        size = path.stat().st_size
        digest.update(f"{path.name} {size} ".encode())
        with path.open("rb", buffering=0) as file:
            for sample in range(SAMPLES):
                file.seek(size * sample // SAMPLES)
                digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()


def _has_trained(run: Run) -> bool:
    return run.adapter.is_dir() or run.newest_checkpoint() is not None
