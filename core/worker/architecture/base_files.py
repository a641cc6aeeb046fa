"""The check of a base model's files before they are loaded: damage is the file's, and is told with its name."""

from pathlib import Path
from typing import Any

import orjson

from fitune.core.deliver import INDEX, indexed_files
from fitune.core.errors import BadInput, Problem, UserError
from fitune.core.files import read_file
from fitune.core.memory.shapes import ORIGINAL_HINT, quantization_of
from fitune.core.memory.shapes.known import refuse_impossible
from fitune.core.runs.checkpoints import flaw_of_header, narrow_weight

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "*.tiktoken", "*.model")
FIX = "Fetch the model again, or put a whole copy of that file there."


def refuse_damaged(folder: Path) -> None:
    """Raise BadInput with each file of the model that is missing or damaged, as far as that is seen quickly."""
    config, problems = _config(folder / "config.json")
    problems += _of_index(folder)
    is_quantized = config is None or quantization_of(config) is not None
    for path in sorted(folder.glob("*.safetensors")):
        problems += _of_weights(path, is_quantized)
    if not any(list(folder.glob(pattern)) for pattern in TOKENIZERS):
        problems.append(Problem(str(folder), "holds no tokenizer.", "It needs tokenizer.json, or tokenizer.model."))
    if problems:
        raise BadInput(problems)


def _of_weights(path: Path, is_quantized: bool) -> list[Problem]:
    """Of a file of weights. Where config.json names no quantization, transformers would load quantized weights as
    numbers in 16 bits, without the scale that they are to be multiplied with."""
    try:
        if flaw := flaw_of_header(path):
            return [Problem(str(path), f"{flaw}.", FIX)]
        if not is_quantized and (narrow := narrow_weight(path)):
            return [Problem(str(path), f"is quantized, which config.json does not say: {narrow}.", ORIGINAL_HINT)]
    except OSError as error:
        return [Problem(str(path), f"can't be read: {error.strerror}.", FIX)]
    return []


def _config(path: Path) -> tuple[dict[str, Any] | None, list[Problem]]:
    """The model's config.json, and what is wrong with it."""
    try:
        config = orjson.loads(read_file(path))
    except OSError as error:
        return None, [Problem(str(path), f"can't be read: {error.strerror}.", FIX)]
    except orjson.JSONDecodeError as error:
        return None, [Problem(str(path), f"is no valid JSON: {error}.", FIX)]
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        return None, [Problem(str(path), "names no model_type.", FIX)]
    try:
        refuse_impossible(config, str(path))
    except BadInput as error:
        return config, list(error.problems)
    return config, []


def _of_index(folder: Path) -> list[Problem]:
    """Of the list of the files that hold the weights, where there are several."""
    if (folder / "model.safetensors").exists():
        return []
    try:
        names = indexed_files(folder) or set()
    except UserError:
        return [Problem(str(folder / INDEX), "does not say which file holds which weights.", FIX)]
    missing = sorted(name for name in names if not (folder / name).is_file())
    return [Problem(str(folder / name), "is missing.", FIX) for name in missing]
