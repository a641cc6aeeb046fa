"""The check of a checkpoint: all files there, as they were written, whole and finite.

The manifest in it has the size and digest of each file. A checkpoint of an older fitune has none: its files are then
checked by their formats alone.
"""

import hashlib
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from zlib import error as ZlibError

import orjson

from fitune.core.files import open_file, read_file, write_atomically
from fitune.core.records import from_json
from fitune.core.runs.checkpoints.tensors import flaw_of_tensors

MANIFEST = "manifest.json"
WEIGHTS, CONFIG, TRAINER_STATE = "adapter_model.safetensors", "adapter_config.json", "trainer_state.json"
STATES = {
    "optimizer.pt": "the optimizer's state",
    "scheduler.pt": "the course of the learning rate",
    "rng_state.pth": "the state of the random numbers",
}
"""Files without which a resume still has its weights, but takes other steps."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of manifest.json in a checkpoint."""

    sizes: dict[str, int] = field(default_factory=dict)
    """Bytes of each file, by its path in the checkpoint."""
    digests: dict[str, str] = field(default_factory=dict)
    """BLAKE2b of each file."""


def write_manifest(folder: Path) -> None:
    """Write the manifest of a checkpoint that is complete. Raises OSError."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    manifest = Manifest(
        {name: (folder / name).stat().st_size for name in names}, {name: _digest(folder / name) for name in names}
    )
    write_atomically(folder / MANIFEST, orjson.dumps(manifest))


def flaw_of(folder: Path) -> str | None:
    """The reason why no training can continue from a checkpoint, as a sentence; None if there is none.

    A lost state beside the weights is no such reason: see `lost_state`.
    """
    if not folder.is_dir():
        return "It is no folder."
    try:
        if (flaw := flaw_of_tensors(folder / WEIGHTS)) is not None:
            return f"{WEIGHTS} {flaw}."
        orjson.loads(read_file(folder / CONFIG))
        step = json.loads(read_file(folder / TRAINER_STATE))["global_step"]  # it may hold NaN, the loss of a step
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing."
    except OSError as error:
        return f"{Path(error.filename or WEIGHTS).name} can't be read: {error.strerror}."
    except (ValueError, KeyError, TypeError):
        return f"{CONFIG} or {TRAINER_STATE} is damaged."
    if f"checkpoint-{step}" != folder.name:
        return f"It is of step {step}, by its {TRAINER_STATE}."
    changed = _changed_files(folder, (WEIGHTS, CONFIG, TRAINER_STATE))
    return f"{changed[0]} is not as it was written." if changed else None


def lost_state(folder: Path) -> list[str]:
    """What a checkpoint has lost beside its weights, in words: files that are missing or damaged."""
    changed = _changed_files(folder, tuple(STATES))
    names = {each.name for each in folder.glob("rng_state*.pth")}  # training on several cards has one for each
    return [
        what
        for name, what in STATES.items()
        if name in changed or not (_is_whole_archive(folder / name) or (name == "rng_state.pth" and names - {name}))
    ]


def _changed_files(folder: Path, names: Sequence[str]) -> list[str]:
    """Those of the files that differ from the manifest; none if there is no manifest."""
    try:
        manifest = from_json(Manifest, orjson.loads(read_file(folder / MANIFEST)))
    except (OSError, orjson.JSONDecodeError):
        return []
    return [name for name in names if name in manifest.sizes and not _is_same(folder / name, name, manifest)]


def _is_same(path: Path, name: str, manifest: Manifest) -> bool:
    is_long = path.is_file() and path.stat().st_size == manifest.sizes[name]
    return is_long and _digest(path) == manifest.digests.get(name)


def _is_whole_archive(path: Path) -> bool:
    """True for a file of torch.save, a zip archive, whose checksums are right."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile, ZlibError, EOFError, NotImplementedError, RuntimeError):
        return False


def _digest(path: Path) -> str:
    with open(open_file(path), "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
