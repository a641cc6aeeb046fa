"""Where the answers of the prepare job lie, and how one is found again: by all that it depends on."""

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from fitune.core.data.files import find as sources
from fitune.core.errors import UserError
from fitune.core.recipe import Recipe
from fitune.core.runs import Run
from fitune.core.tokens.lengths import FILE, VERSION, Prepared

FOLDER = "prepare"
KEPT = 32
"""So many answers are kept, the newest: some 100 kB each."""
ASK_HUB_S = 10.0
TOKENIZER_FILES = ("tokenizer", "special_tokens", "added_tokens", "chat_template", "vocab", "merges", "config.json")
"""How the names of files begin on which token ids depend."""
Key = dict[str, Any]
"""asked: names and settings; rows: the files as they were found; tokenizer: its files, or the commit they are of."""


def located(recipe: Recipe) -> Recipe:
    """The recipe with its local paths made absolute: a job may work elsewhere, and its answer is kept by them."""

    def absolute(name: str) -> str:
        path = Path(os.path.expanduser(name))
        return str(path.absolute()) if os.path.exists(path) else name

    return recipe.model_copy(
        update={
            "model": recipe.model.model_copy(update={"id": absolute(recipe.model.id)}),
            "data": recipe.data.model_copy(update={"source": absolute(recipe.data.source)}),
        }
    )


def key(recipe: Recipe) -> Key:
    """All that the answer for a located recipe depends on; for names on the Hub it is asked what they mean now.

    Raises UserError where the data can't be found or reached, or a local model can't be looked into.
    """
    model = recipe.model
    tokenizer = _tokenizer_files(model.id) or _commit(model.id, model.revision)
    return {"asked": _asked(recipe), "rows": _row_files(recipe), "tokenizer": tokenizer}


def folder(key: Key, home: Path) -> Path:
    """Where the job of this key works."""
    import hashlib  # `known` does without, in commands that must be quick

    return home / FOLDER / hashlib.sha256(orjson.dumps(key)).hexdigest()[:16]


def known(recipe: Recipe, home: Path) -> Prepared | None:
    """The answer for a recipe if the job gave it before. Fast, and without the network: of what lies on the Hub the
    newest answer is taken, and None where there is none or the data are out of reach."""
    try:
        recipe = located(recipe)
        rows = None if sources.is_on_hub(recipe.data.source) else _row_files(recipe)
        wanted = {"asked": _asked(recipe), "rows": rows, "tokenizer": _tokenizer_files(recipe.model.id) or None}
    except (UserError, OSError):
        return None
    wanted = {name: value for name, value in wanted.items() if value is not None}
    for run in _newest_first(home):
        if (run.path / FILE).is_file() and wanted.items() <= _stored(run).items():
            try:
                return Prepared.read(run.path)
            except UserError:  # damaged, and so as good as none
                continue
    return None


def prune(home: Path) -> None:
    """Remove the oldest answers beyond KEPT; those whose job lives stay."""
    for run in list(_newest_first(home))[KEPT:]:
        if run.holder_pid() is None:
            shutil.rmtree(run.path, ignore_errors=True)


def _newest_first(home: Path) -> Iterator[Run]:
    dated = []
    for info in (home / FOLDER).glob("*/run.json"):
        with suppress(FileNotFoundError):  # pruned by another fitune between the two looks
            dated.append((info.parent.stat().st_mtime_ns, info.parent))
    yield from (Run(path) for _, path in sorted(dated, reverse=True))


def _stored(run: Run) -> Key:
    """The key that an answer is kept by; empty if its run.json can't be read."""
    try:
        return dict(run.info().get("key") or {})
    except UserError:
        return {}


def _asked(recipe: Recipe) -> dict[str, Any]:
    data, model = recipe.data, recipe.model
    return {
        "version": VERSION,
        "data": [data.source, data.format, data.split, dict(sorted(data.columns.items())), data.loss_on],
        "model": [model.id, model.revision, model.trust_remote_code],
    }


def _row_files(recipe: Recipe) -> list[list[Any]]:
    files = sources.find(recipe.data.source, recipe.data.split).files
    return [[file.name, file.size_bytes, file.stamp] for file in files]


def _tokenizer_files(model_id: str) -> list[list[Any]]:
    """Name, size and time of a local model's tokenizer files. Raises UserError where they can't be looked at."""
    model = Path(os.path.expanduser(model_id))
    if not os.path.isdir(model):
        return []
    try:
        files = sorted(path for path in model.iterdir() if path.is_file() and path.name.startswith(TOKENIZER_FILES))
        return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]
    except OSError as error:
        raise UserError(f"{model} can't be read: {error.strerror}.", "Check its permissions.") from None


def _commit(model_id: str, revision: str | None) -> str:
    """The commit that a model's revision stands for, by the Hub, or by its cache where the Hub is out of reach; empty
    if neither knows, and then the job tells why."""
    import httpx
    from huggingface_hub import HfApi, snapshot_download

    def told() -> str:
        return HfApi().model_info(model_id, revision=revision, timeout=ASK_HUB_S).sha or ""

    def cached() -> str:
        wanted = "config.json"  # each model has one
        return Path(snapshot_download(model_id, revision=revision, allow_patterns=wanted, local_files_only=True)).name

    for find in (told, cached):
        with suppress(httpx.HTTPError, OSError, ValueError):  # no name of a repository, or a network's login page
            return find()
    return ""
