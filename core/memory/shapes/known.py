"""Shapes by the content of config.json: those that fitune ships, those in the user's cache, and the job that finds one.

A shape depends on the sizes in a config.json and on the version of transformers, so the fine-tunes of a known model are
known as well.
"""

import hashlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson

from fitune.core.errors import BadInput, Problem, UserError
from fitune.core.files import write_atomically
from fitune.core.memory.shapes.shape import Shape
from fitune.core.memory.shapes.storage import KEYS
from fitune.core.records import from_json, to_json
from fitune.core.units import GIB

CPU_LIMIT_S, TIME_LIMIT_S = 60, 300
"""Seconds of a processor that the job may take, and seconds in all: on a busy machine torch alone takes a minute."""
MEMORY_LIMIT_BYTES = 8 * GIB
LAYERS = frozenset({"num_hidden_layers", "n_layer", "num_layers", "n_layers", "depth", "encoder_layers"})
SIZES = LAYERS | {
    "d_model", "head_dim", "hidden_size", "intermediate_size", "n_embd", "n_head", "num_attention_heads",
    "num_key_value_heads", "vocab_size",
}  # fmt: skip
"""Keys of sizes that are checked before a model is built."""
MOST_LAYERS, LARGEST = 1024, 2**27
"""Upper bounds of the number of layers, and of widths and vocabularies: no real model comes near them."""
NO_SIZE = frozenset({
    *KEYS, "_name_or_path", "architectures", "auto_map", "bos_token_id", "chunk_size_feed_forward", "dtype",
    "eos_token_id", "id2label", "initializer_range", "label2id", "max_position_embeddings", "name_or_path",
    "pad_token_id", "partial_rotary_factor", "rms_norm_eps", "rope_parameters", "rope_scaling", "rope_theta",
    "torch_dtype", "transformers_version", "unsloth_fixed", "unsloth_version", "use_cache",
})  # fmt: skip
"""Keys of a config.json that change no size."""


def key_of(config: Mapping[str, Any]) -> str:
    """The name of a config's shape: a hash of all that may change a size."""
    return hashlib.blake2b(orjson.dumps(_sizes(config), option=orjson.OPT_SORT_KEYS), digest_size=12).hexdigest()


def _sizes(tree: object) -> object:
    if isinstance(tree, Mapping):
        return {str(key): _sizes(value) for key, value in tree.items() if key not in NO_SIZE}
    return tree


def shape_of(config: Mapping[str, Any], source: str, code_of: str | None = None) -> Shape:
    """The shape that a config.json describes: shipped, or cached, or found by a job of some ten seconds.

    source: its name in errors. code_of: the model whose own code the job may run; None runs none. Raises UserError
    where the training stack is not installed, and as the job.
    """
    refuse_impossible(config, source)
    key = key_of(config)
    if code_of is None and (found := _shipped(key) or _cached(key)) and _has_places_of(found, config):
        return found
    if any(find_spec(name) is None for name in ("torch", "transformers", "peft")):
        from fitune.core.machine import add_training_stack

        hint = f"To count the sizes of another, fitune needs the training stack: {add_training_stack()}"
        raise UserError(f"{source} is none of the models whose sizes fitune ships.", hint)
    answer = _ask_job(config, source, code_of)
    _keep(key, answer)
    return from_json(Shape, answer)


def _has_places_of(shape: Shape, config: Mapping[str, Any]) -> bool:
    """False for a shape of another number of places than a config says: where they have a table, it is no other
    model's."""
    said = config.get("max_position_embeddings")
    return shape.positions is None or said is None or shape.positions == said


@cache
def shipped() -> dict[str, object]:
    """The shapes that fitune ships, by key, in JSON; made by bench/shipped_shapes.py."""
    table: dict[str, object] = orjson.loads(Path(__file__).with_name("shapes.json").read_bytes())
    return table


@cache
def _shipped(key: str) -> Shape | None:
    return from_json(Shape, shipped()[key]) if key in shipped() else None


def refuse_impossible(config: Mapping[str, Any], source: str) -> None:
    """Raise BadInput for sizes that no model has: to build one would fill the memory, or tell nothing of the file."""
    problems = []
    for tree in (config, *(value for value in config.values() if isinstance(value, Mapping))):
        for name, value in tree.items():
            most = MOST_LAYERS if name in LAYERS else LARGEST
            if name not in SIZES or value is None or isinstance(value, list):
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                problems.append(Problem(f"{source}: {name}", f"must be a whole number, but is {_short(value)}."))
            elif not 1 <= value <= most:
                said = f"must be between 1 and {most:,}, but is {_short(value)}."
                problems.append(Problem(f"{source}: {name}", said))
    if problems:
        raise BadInput(problems)


def _short(value: object) -> str:
    if isinstance(value, int) and abs(value) > 10**20:
        return "a number of more than 20 digits"
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _cached(key: str) -> Shape | None:
    """A shape that was kept. One of another fitune, or damaged, would be written differently, and is not taken."""
    with suppress(OSError, ValueError):
        kept = orjson.loads(_cache_file(key).read_bytes())
        shape = from_json(Shape, kept)
        return shape if to_json(shape) == kept else None
    return None


def _keep(key: str, answer: object) -> None:
    """Keep a shape for later. A disk that takes it not costs ten seconds next time, no more."""
    with suppress(OSError):
        path = _cache_file(key)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(path, orjson.dumps(answer))


def _cache_file(key: str) -> Path:
    import platformdirs  # a tenth of what a quick command may take

    version = metadata.version("transformers") if find_spec("transformers") else "none"
    return Path(platformdirs.user_cache_dir("fitune")) / "shapes" / version / f"{key}.json"


def _ask_job(config: Mapping[str, Any], source: str, code_of: str | None) -> object:
    """The answer of `python -m fitune.core.worker.architecture`, in JSON. Raises UserError with the job's sentence."""
    print(f"Counting the sizes of {source} (some ten seconds, once) ...", file=sys.stderr, flush=True)
    command = [sys.executable, "-P", "-m", "fitune.core.worker.architecture", *([code_of] if code_of else [])]
    offline = os.environ.get("HF_HUB_OFFLINE", "0" if code_of else "1")  # the code may have to be fetched
    try:
        done = subprocess.run(
            command,
            input=json.dumps(config).encode(),
            capture_output=True,
            timeout=TIME_LIMIT_S,
            preexec_fn=_limit,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": offline},
        )
    except subprocess.TimeoutExpired:
        hint = "Its config.json may be broken: look at its numbers."
        raise UserError(f"The sizes of {source} were not counted within {TIME_LIMIT_S} s.", hint) from None
    try:
        answer = orjson.loads(done.stdout.splitlines()[-1])
    except (IndexError, orjson.JSONDecodeError):
        hint = "Its config.json may be broken: look at its numbers."
        limits = f"{CPU_LIMIT_S} s and {MEMORY_LIMIT_BYTES / GIB:.0f} GiB"
        raise UserError(f"The sizes of {source} could not be counted within {limits}.", hint) from None
    if "problem" in answer:
        raise UserError(f"{source}: {answer['problem']}", answer.get("hint", ""))
    return answer


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_LIMIT_S, CPU_LIMIT_S))
