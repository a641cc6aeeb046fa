"""Adapter, merged model or GGUF files to the Hugging Face Hub, private unless asked otherwise, and compared there."""

import hashlib
import time
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from core.errors import UserError
from core.events import EventLog
from core.hub import account, asked
from core.runs import Run, write_atomically
from core.worker.card import has_card, model_card
from core.worker.memory import Memory

WHAT = ("adapter", "merged", "gguf")
TOLD_BYTES = 1 << 20
"""A file of this size or more has its own event when its upload begins."""


def run(run: Run, log: EventLog, memory: Memory) -> None:
    """Upload what push.json names: {repo, private, what}. The token is huggingface_hub's own business."""
    from huggingface_hub import HfApi

    began = time.monotonic()
    log.write("started", backend="huggingface_hub", device="the Hub")

    # 1. What, where to, and as whom
    repo, private, folder = wanted(run)
    api = HfApi()
    log.write("phase", name="ask")
    who = account()
    full_name = repo if "/" in repo else f"{who.name}/{repo}"
    who.require_write(full_name)

    # 2. The repository, no more visible than asked
    url = asked(lambda: api.create_repo(full_name, private=private, exist_ok=True))
    found_private = bool(asked(lambda: api.model_info(full_name)).private)
    if private and not found_private:
        raise UserError(
            f"{full_name} exists already and is public; nothing was uploaded.",
            "Choose another name, or make it private on its page, or push with --public.",
        )
    if found_private and not private:
        message = f"{full_name} exists already and is private; it stays so. Its page on the Hub can make it public."
        log.write("warning", kind="visibility", message=message)

    # 3. The files, with a card that says what this is; what arrived before an earlier push broke off is not sent again
    if not has_card(folder):
        write_atomically(folder / "README.md", model_card(run, folder.name).encode())
    sizes = sizes_in(folder)
    additions = upload(run, api, full_name, folder, sizes, log)
    if additions is None:
        return log.write("finished", stopped=True, elapsed_s=time.monotonic() - began)
    message = f"{folder.name.capitalize()} of the fitune run {run.name}"
    commit = asked(lambda: api.create_commit(full_name, additions, commit_message=message))

    # 4. What arrived
    log.write("phase", name="verify")
    tree = asked(lambda: list(api.list_repo_tree(full_name, recursive=True)))
    found = {entry.path: entry for entry in tree if hasattr(entry, "size")}
    if wrong := [each.path_in_repo for each in additions if not arrived(each, found.get(each.path_in_repo))]:
        raise UserError(
            f"{len(wrong)} of {len(additions)} files did not arrive whole, such as {wrong[0]}.", "Push once more."
        )
    log.write(
        "finished",
        what=folder.name,
        repo=full_name,
        url=str(url),
        private=found_private,
        commit=commit.oid,
        files=len(sizes),
        bytes=sum(sizes.values()),
        elapsed_s=time.monotonic() - began,
    )
    return None


def upload(run: Run, api: Any, repo: str, folder: Path, sizes: dict[str, int], log: EventLog) -> list[Any] | None:
    """Send the large files, which become visible with the commit only. Returns its parts, or None if it was stopped."""
    from huggingface_hub import CommitOperationAdd

    told = {"name": "upload", "files": len(sizes), "bytes": sum(sizes.values()), "repo": repo}
    log.write("phase", **told, done_bytes=0)
    additions, done_bytes = [], 0
    for name, size in sizes.items():
        if run.stop.exists():
            return None
        if size >= TOLD_BYTES:
            log.write("phase", **told, done_bytes=done_bytes, file=name)
        addition = CommitOperationAdd(path_in_repo=name, path_or_fileobj=folder / name)
        asked(partial(api.preupload_lfs_files, repo, [addition], free_memory=False))
        additions.append(addition)
        done_bytes += size
    return None if run.stop.exists() else additions


def arrived(addition: Any, found: Any) -> bool:
    """Whether the Hub's file has the size and the hash of the one that was sent: of small files git's, else sha256."""
    sent = addition.upload_info
    if found is None or found.size != sent.size:
        return False
    if found.lfs:
        return bool(found.lfs.sha256 == sent.sha256.hex())
    content = Path(addition.path_or_fileobj).read_bytes()
    return bool(found.blob_id == hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest())


def wanted(run: Run) -> tuple[str, bool, Path]:
    """(repository, private or not, folder to upload) of push.json. Raises UserError if it won't do."""
    path = run.path / "push.json"
    try:
        asked_for = orjson.loads(path.read_bytes())
        repo, private, what = asked_for["repo"], asked_for["private"], asked_for["what"]
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} can't be read ({error}).", f"Start it with: fitune push {run.name} --repo ID"
        ) from None
    if not isinstance(repo, str) or not isinstance(private, bool) or what not in WHAT:
        raise UserError(f'{path} should hold "repo", "private" (true or false) and "what" (adapter, merged or gguf).')
    if not (folder := run.path / what).is_dir():
        raise UserError(f"There is no {folder} yet.")
    return repo, private, folder


def sizes_in(folder: Path) -> dict[str, int]:
    """The size in bytes of each file to upload, by its path in the folder: no files that failed their proof."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and _is_wanted(path.relative_to(folder))]
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


def _is_wanted(path: Path) -> bool:
    return ".cache" not in path.parts and ".failed" not in path.suffixes
