"""The check that a base model in a folder is still the one of the training: its digest and config in base.json.

A model of the Hub needs no digest: its commit is in the run's events.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from fitune.core.errors import UserError
from fitune.core.files import read_file, write_atomically
from fitune.core.records import from_json
from fitune.core.runs import Run

FILE = "base.json"
SAMPLES, SAMPLE_BYTES = 512, 4096
WRITERS_KEYS = ("_name_or_path", "name_or_path", "transformers_version", "unsloth_version", "unsloth_fixed")


@dataclass(frozen=True, slots=True)
class WeightsDigest:
    """The content of base.json: the model that the run was trained on."""

    sampled: str
    """BLAKE2b of 512 samples of each file of weights, 4,096 bytes each."""
    config: dict[str, Any] | None = None
    """The model's config.json, which says how to compute with them; null in a run of an older version."""


def keep_digest(run: Run) -> None:
    """Write base.json if the base model is a folder, and nothing was trained yet."""
    folder = Path(os.path.expanduser(run.recipe().model.id))
    if folder.is_dir() and not _has_trained(run):
        write_atomically(run.path / FILE, orjson.dumps(WeightsDigest(weights_digest(folder), _config(folder))))


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
    if trained_on.sampled != weights_digest(folder):
        raise UserError(
            f"The weights in {folder} are not those that {run.name} was trained on: they were changed since.",
            "Put the old ones back, or train again on these.",
        )
    before, now = trained_on.config, _config(folder)
    if before is not None and (changed := sorted(key for key in {*before, *now} if before.get(key) != now.get(key))):
        texts = [f"{key} was {before.get(key)}, is {now.get(key)}" for key in changed[:3]]
        raise UserError(
            f"{folder / 'config.json'} is not the one that {run.name} was trained with: {'; '.join(texts)}.",
            "Put the old one back, or train again with this one.",
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


def _config(folder: Path) -> dict[str, Any]:
    """The config.json, without the keys that only tell who wrote it. Raises UserError."""
    path = folder / "config.json"
    try:
        config = orjson.loads(read_file(path))
    except (OSError, orjson.JSONDecodeError) as error:
        raise UserError(f"{path} can't be read: {error}.", "Fetch the model again, or put the file back.") from None
    if not isinstance(config, dict):
        raise UserError(f"{path} is not an object.", "Fetch the model again, or put the file back.")
    return {key: value for key, value in config.items() if key not in WRITERS_KEYS}


def _has_trained(run: Run) -> bool:
    return run.adapter.is_dir() or run.newest_checkpoint() is not None
