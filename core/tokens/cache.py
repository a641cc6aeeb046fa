"""The cache of the prepare job's results: one folder for each set of data, model and settings."""

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from fitune.core.data.files import find as sources
from fitune.core.errors import UserError
from fitune.core.recipe import Data, Recipe
from fitune.core.runs import Run
from fitune.core.tokens.lengths import STATS_FILE, VERSION, TokenStats

FOLDER = "prepare"
KEPT = 32
"""Number of results that are kept, the newest: some 100 kB each."""
ASK_HUB_S = 10.0
TOKENIZER_FILES = ("tokenizer", "special_tokens", "added_tokens", "chat_template", "vocab", "merges", "config.json")
"""Beginnings of the names of the files that determine token ids."""
Key = dict[str, Any]
"""asked: names and settings; rows: name, size and stamp of the data files; tokenizer: the same of its files, or the
commit of the model on the Hub."""


def with_absolute_paths(recipe: Recipe) -> Recipe:
    """The recipe with absolute local paths: a job may run in another folder, and its result is cached by them."""

    def absolute(name: str) -> str:
        path = Path(os.path.expanduser(name))
        return str(path.absolute()) if os.path.exists(path) else name

    return recipe.model_copy(
        update={
            "model": recipe.model.model_copy(update={"id": absolute(recipe.model.id)}),
            "data": recipe.data.with_sources(absolute),
        }
    )


def key(recipe: Recipe) -> Key:
    """The cache key of a recipe with absolute paths; the Hub is asked for the current commit of a model there.

    Raises UserError where the data can't be found or reached, or a local model can't be read.
    """
    model = recipe.model
    tokenizer = _tokenizer_files(model.id) or _commit(model.id, model.revision)
    return {"asked": _asked(recipe), "rows": _row_files(recipe), "tokenizer": tokenizer}


def folder(key: Key, home: Path) -> Path:
    """The run folder of the prepare job with this key."""
    import hashlib  # `lookup` does not need it, in commands that must be quick

    return home / FOLDER / hashlib.sha256(orjson.dumps(key)).hexdigest()[:16]


def lookup(recipe: Recipe, home: Path) -> TokenStats | None:
    """The cached result for a recipe; None if there is none or the data can't be reached. Fast, and without the
    network: for data or models on the Hub it is the newest result."""
    try:
        recipe = with_absolute_paths(recipe)
        on_hub = any(sources.is_on_hub(each.source) for each in recipe.data.all_sources())
        rows = None if on_hub else _row_files(recipe)
        required = {"asked": _asked(recipe), "rows": rows, "tokenizer": _tokenizer_files(recipe.model.id) or None}
    except (UserError, OSError):
        return None
    required = {name: value for name, value in required.items() if value is not None}
    for run in _newest_first(home):
        if (run.path / STATS_FILE).is_file() and required.items() <= _stored(run).items():
            try:
                return TokenStats.read(run.path)
            except UserError:  # damaged, and so as good as none
                continue
    return None


def prune(home: Path) -> None:
    """Remove the oldest results beyond KEPT; those of a running job stay."""
    for entry in list(_newest_first(home))[KEPT:]:
        if entry.holder_pid() is None:
            shutil.rmtree(entry.path, ignore_errors=True)


def _newest_first(home: Path) -> Iterator[Run]:
    dated = []
    for info_file in (home / FOLDER).glob("*/run.json"):
        with suppress(FileNotFoundError):  # removed by another fitune between glob and stat
            dated.append((info_file.parent.stat().st_mtime_ns, info_file.parent))
    yield from (Run(path) for _, path in sorted(dated, reverse=True))


def _stored(run: Run) -> Key:
    """The key of a cached result; empty if its run.json can't be read."""
    try:
        return run.info().key or {}
    except UserError:
        return {}


def _asked(recipe: Recipe) -> dict[str, Any]:
    data, model = recipe.rows, recipe.model
    texts = {} if data.text_overlap is None else {"texts": [model.max_seq_length, data.text_overlap]}
    return {
        **texts,
        "version": VERSION,
        "data": [
            data.source,
            data.format,
            data.split,
            dict(sorted(data.columns.items())),
            data.loss_on,
            *_mixed(data),
        ],
        "images": [data.image_folder, data.image_pixels],
        "prompts": [data.thinking.replace("auto", "keep"), dict(sorted(data.template_options.items()))],
        "model": [model.id, model.revision, model.trust_remote_code],
    }


def _mixed(data: Data) -> list[Any]:
    """The settings of several sources, and of general rows; none where there is one source and nothing is replayed."""
    parts = [part.model_dump(mode="json") for part in data.sources]
    general = [data.replay, data.replay_source] if data.general() else []
    return [parts, general] if parts or general else []


def _row_files(recipe: Recipe) -> list[list[Any]]:
    found = [sources.find(each.source, each.split) for each in recipe.data.all_sources()]
    return [[file.name, file.size_bytes, file.stamp] for source in found for file in source.files]


def _tokenizer_files(model_id: str) -> list[list[Any]]:
    """Name, size and time of a local model's tokenizer files. Raises UserError where they can't be read."""
    model = Path(os.path.expanduser(model_id))
    if not os.path.isdir(model):
        return []
    try:
        files = sorted(path for path in model.iterdir() if path.is_file() and path.name.startswith(TOKENIZER_FILES))
        return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]
    except OSError as error:
        raise UserError(f"{model} can't be read: {error.strerror}.", "Check its permissions.") from None


def _commit(model_id: str, revision: str | None) -> str:
    """The commit of a model's revision, from the Hub, or from its cache where the Hub can't be reached; empty if
    neither knows it (the prepare job then reports why)."""
    import httpx
    from huggingface_hub import HfApi, snapshot_download

    def from_hub() -> str:
        return HfApi().model_info(model_id, revision=revision, timeout=ASK_HUB_S).sha or ""

    def from_cache() -> str:
        file = "config.json"  # each model has one
        return Path(snapshot_download(model_id, revision=revision, allow_patterns=file, local_files_only=True)).name

    for commit_of in (from_hub, from_cache):
        with suppress(httpx.HTTPError, OSError, ValueError):  # no name of a repository, or a network's login page
            return commit_of()
    return ""
