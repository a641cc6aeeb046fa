"""The check of a base model's files before they are loaded: damage is the file's, and is told with its name."""

from pathlib import Path

import orjson

from fitune.core.errors import BadInput, Problem
from fitune.core.files import read_file
from fitune.core.memory.shapes.known import refuse_impossible
from fitune.core.runs.checkpoints import flaw_of_header

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "*.tiktoken", "*.model")
INDEX = "model.safetensors.index.json"
FIX = "Fetch the model again, or put a whole copy of that file there."


def refuse_damaged(folder: Path) -> None:
    """Raise BadInput with each file of the model that is missing or damaged, as far as that is seen quickly."""
    problems = [*_of_config(folder), *_of_index(folder)]
    for path in sorted(folder.glob("*.safetensors")):
        try:
            flaw = flaw_of_header(path)
        except OSError as error:
            flaw = f"can't be read: {error.strerror}"
        problems += [Problem(str(path), f"{flaw}.", FIX)] if flaw else []
    if not any(list(folder.glob(pattern)) for pattern in TOKENIZERS):
        problems.append(Problem(str(folder), "holds no tokenizer.", "It needs tokenizer.json, or tokenizer.model."))
    if problems:
        raise BadInput(problems)


def _of_config(folder: Path) -> list[Problem]:
    path = folder / "config.json"
    try:
        config = orjson.loads(read_file(path))
    except OSError as error:
        return [Problem(str(path), f"can't be read: {error.strerror}.", FIX)]
    except orjson.JSONDecodeError as error:
        return [Problem(str(path), f"is no valid JSON: {error}.", FIX)]
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        return [Problem(str(path), "names no model_type.", FIX)]
    try:
        refuse_impossible(config, str(path))
    except BadInput as error:
        return list(error.problems)
    return []


def _of_index(folder: Path) -> list[Problem]:
    """Of the list of the files that hold the weights, where there are several."""
    path = folder / INDEX
    if not path.exists() or (folder / "model.safetensors").exists():
        return []
    try:
        names = set(orjson.loads(read_file(path))["weight_map"].values())
        missing = sorted(name for name in names if not (folder / name).is_file())
    except (OSError, AttributeError, KeyError, TypeError, ValueError):
        return [Problem(str(path), "does not say which file holds which weights.", FIX)]
    return [Problem(str(folder / name), "is missing.", FIX) for name in missing]
