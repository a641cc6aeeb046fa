"""The push job: upload adapter, merged model, GGUF files or checkpoints to the Hugging Face Hub."""

import hashlib
import re
import shlex
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from fitune.core import hub
from fitune.core.deliver import MAIN, UPLOAD_KINDS, PushRequest, Upload, UploadKind, requests, uploads
from fitune.core.deliver.handoff.spec import from_run
from fitune.core.diagnose import redact
from fitune.core.errors import UserError
from fitune.core.hub import account, call_hub
from fitune.core.runs import EventLog, Finished, Phase, Run, Started, Warned
from fitune.core.worker.hub.card_checksum import is_replaceable, with_checksum
from fitune.core.worker.hub.card_names import public_name
from fitune.core.worker.hub.model_card import base_of, model_card
from fitune.core.worker.memory_use import MemoryMeter

CARD = "README.md"
LOGGED_BYTES = 1 << 20
"""The upload of a file of this size or more has its own event."""


MODEL_WEIGHTS = re.compile(r"(pytorch_)?model(-.+)?\.(safetensors|bin)(\.index\.json)?")
CONFLICTING_FILES = re.compile(rf"{MODEL_WEIGHTS.pattern}|adapter_(config\.json|model\.(safetensors|bin))")
"""Files that transformers or llama.cpp's converter would read with a merged model, or instead of it."""
MAX_NAMES = 8


@dataclass(frozen=True, slots=True)
class Target:
    """The repository to push to, with the API and the event log."""

    api: Any
    repo: str
    """The repository's name with its owner."""
    log: EventLog


@dataclass(frozen=True, slots=True)
class PushedBranch:
    """A branch on the Hub after its upload."""

    branch: str
    files: int
    bytes: int
    new_files: int
    """Number of files that were not there before."""


def run(run: Run, log: EventLog, memory: MemoryMeter) -> None:
    """Upload the files that push.json names: {repo, private, what}. huggingface_hub finds the token."""
    from huggingface_hub import HfApi

    started_s = time.monotonic()
    log.write(Started(backend="huggingface_hub", device="the Hub"))

    # 1. The request, the files, and the account
    (request, what), api = read_request(run), HfApi()
    folders = uploads(run, what)
    log.write(Phase(name="ask"))
    who = account()
    target = Target(api, request.repo if "/" in request.repo else f"{who.name}/{request.repo}", log)
    who.require_write(target.repo)

    # 2. The repository, never more visible than requested
    url = call_hub(lambda: api.create_repo(target.repo, private=request.private, exist_ok=True))
    private = check_visibility(target, request.private)

    # 3. The files of each branch with a model card, then a check of the uploaded files
    licence, branches = hub.licence(base_of(run, what)), []
    for folder in folders:
        card = with_checksum(model_card(run, target.repo, what, licence, folder.step)).encode()
        if (pushed := push_branch(run, target, folder, card)) is None:
            break
        branches.append(pushed)
    log.write(
        Finished(
            stopped=len(branches) < len(folders),
            what=what,
            repo=target.repo,
            url=str(url),
            private=private,
            files=sum(branch.files for branch in branches),
            bytes=sum(branch.bytes for branch in branches),
            new_files=sum(branch.new_files for branch in branches),
            branches=tuple(branch.branch for branch in branches if branch.branch != MAIN),
            elapsed_s=time.monotonic() - started_s,
        )
    )


def check_visibility(target: Target, private: bool) -> bool:
    """Return True if the repository is private. Raises UserError if it is public and should not be."""
    found_private = bool(call_hub(lambda: target.api.model_info(target.repo)).private)
    if private and not found_private:
        raise UserError(
            f"{target.repo} exists already and is public; nothing was uploaded.",
            "Choose another name, or make it private on its page, or push with --public.",
        )
    if found_private and not private:
        message = f"{target.repo} exists already and is private; it stays so. Its page on the Hub can make it public."
        target.log.write(Warned(kind="visibility", message=message))
    return found_private


def push_branch(run: Run, target: Target, upload: Upload, card: bytes) -> PushedBranch | None:
    """Upload the files that a branch lacks, as one commit, and compare all of them. Returns None if it was stopped.

    Raises UserError where the Hub refuses, or has another file than the uploaded one.
    """
    if upload.branch != MAIN:
        make_branch(target, upload.branch)
    remote = list_files(target, upload.branch)
    check_other_files(target, upload, remote)
    contents = {name: content_of(run, upload.folder / name) for name in upload.sizes}
    if CARD not in contents and may_write_card(target, upload, remote):
        contents[CARD] = card
    additions = upload_files(run, target, upload, contents, remote)
    if additions is None:
        return None
    missing = [addition for addition in additions if not is_uploaded(addition, remote)]
    if missing:
        commit(run, target, upload, missing)
        target.log.write(Phase(name="verify", branch=on_branch(upload)))
        remote = list_files(target, upload.branch)
    if wrong := [addition.path_in_repo for addition in additions if not is_uploaded(addition, remote)]:
        raise UserError(
            f"{len(wrong)} of {len(additions)} files did not arrive whole, such as {wrong[0]}.", "Push once more."
        )
    return PushedBranch(
        upload.branch, len(additions), sum(addition.upload_info.size for addition in additions), len(missing)
    )


def on_branch(upload: Upload) -> str | None:
    """The `branch` of an event: None for main."""
    return None if upload.branch == MAIN else upload.branch


def make_branch(target: Target, branch: str) -> None:
    """Create a branch from the first commit, without the files on main: these are no part of a checkpoint."""
    first_commit = call_hub(lambda: target.api.list_repo_commits(target.repo))[-1].commit_id
    call_hub(lambda: target.api.create_branch(target.repo, branch=branch, revision=first_commit, exist_ok=True))


def list_files(target: Target, branch: str) -> dict[str, Any]:
    """The files of a branch by their paths."""
    tree = call_hub(lambda: list(target.api.list_repo_tree(target.repo, recursive=True, revision=branch)))
    return {entry.path: entry for entry in tree if hasattr(entry, "size")}


def check_other_files(target: Target, upload: Upload, remote: dict[str, Any]) -> None:
    """Log a warning on other files on a branch; nothing is deleted there.

    Raises UserError if one would be read with a merged model, or instead of it: shards of an earlier push.
    """
    others = sorted(remote.keys() - upload.sizes.keys() - {CARD, ".gitattributes"})
    conflicting = [name for name in others if CONFLICTING_FILES.fullmatch(name)]
    if conflicting and any(MODEL_WEIGHTS.fullmatch(name) for name in upload.sizes):
        patterns = dict.fromkeys(re.sub(r"-\d+-of-", "-*-of-", name) for name in conflicting)
        command = shlex.join(["hf", "repos", "delete-files", target.repo, *patterns])
        raise UserError(
            f"{target.repo} holds {_names(conflicting)}, which programs would read with this model or instead of it; "
            "nothing was uploaded.",
            f"Choose another name, or delete that: {command}",
        )
    if others:
        message = f"{target.repo} also holds {_names(others)}: that stays there as it is."
        target.log.write(Warned(kind="left", message=message))


def _names(files: list[str]) -> str:
    more = len(files) - MAX_NAMES
    return ", ".join(files[:MAX_NAMES]) + (f" and {more} more" if more > 0 else "")


def may_write_card(target: Target, upload: Upload, remote: dict[str, Any]) -> bool:
    """True if a branch has no model card, or a replaceable one; else log a warning."""
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.utils._headers import build_hf_headers
    from huggingface_hub.utils._http import hf_raise_for_status

    if CARD not in remote:
        return True
    url = hf_hub_url(target.repo, CARD, revision=upload.branch)
    response = call_hub(lambda: get_session().get(url, headers=build_hf_headers(), follow_redirects=True))
    call_hub(lambda: hf_raise_for_status(response))
    if is_replaceable(response.text):
        return True
    message = f"The model card of {target.repo} was written or changed by somebody else: it stays as it is."
    target.log.write(Warned(kind="card", message=message))
    return False


def upload_files(
    run: Run, target: Target, upload: Upload, contents: dict[str, Path | bytes], remote: dict[str, Any]
) -> list[Any] | None:
    """Upload the large files, and return all files as parts of a commit; None if it was stopped.

    Uploaded files become visible only with the commit. Files that an interrupted push has uploaded are not sent again.
    """
    from huggingface_hub import CommitOperationAdd

    sizes = upload.sizes
    phase = Phase(
        name="upload",
        files=len(contents),
        bytes=sum(sizes.values()),
        done_bytes=0,
        repo=target.repo,
        branch=on_branch(upload),
    )
    target.log.write(phase)
    additions, done_bytes = [], 0
    for name, content in contents.items():
        if run.stop.exists():
            return None
        addition = CommitOperationAdd(path_in_repo=name, path_or_fileobj=content)
        if not is_uploaded(addition, remote):
            if sizes.get(name, 0) >= LOGGED_BYTES:
                target.log.write(replace(phase, done_bytes=done_bytes, file=name))
            preupload = partial(target.api.preupload_lfs_files, target.repo, [addition], free_memory=False)
            call_hub(partial(preupload, revision=upload.branch))
        additions.append(addition)
        done_bytes += sizes.get(name, 0)
    return None if run.stop.exists() else additions


def commit(run: Run, target: Target, upload: Upload, additions: list[Any]) -> None:
    """Commit the files. Raises UserError where the Hub refuses, also for a card with invalid metadata."""
    what = upload.folder.name.capitalize() if upload.step is None else f"Step {upload.step}"
    message = f"{what} of the fitune run {run.name}"
    send_all = partial(target.api.create_commit, target.repo, additions, commit_message=message)
    try:
        call_hub(lambda: send_all(revision=upload.branch))
    except ValueError as error:  # from huggingface_hub, which lets the Hub validate README.md
        raise UserError(
            f"The Hub refuses the model card: {redact(' '.join(str(error).split()))}",
            f"Correct the head of {upload.folder / CARD}, or delete that file: then fitune writes one.",
        ) from None


def content_of(run: Run, path: Path) -> Path | bytes:
    """The content to upload: the file itself, but adapter_config.json without paths of this machine.

    A checkpoint's settings name the folder in the Hub's cache that the base model was loaded from.
    """
    if path.name != "adapter_config.json":
        return path
    config = orjson.loads(path.read_bytes())
    if not Path(str(config.get("base_model_name_or_path") or "")).is_absolute():
        return path
    job = from_run(run)
    public_names = {"base_model_name_or_path": public_name(job.recipe.model.id), "revision": job.revision}
    return orjson.dumps(config | public_names, option=orjson.OPT_INDENT_2)


def is_uploaded(addition: Any, remote: dict[str, Any]) -> bool:
    """True if a branch has the file with the same size and hash: git's for small files, else sha256."""
    info, entry = addition.upload_info, remote.get(addition.path_in_repo)
    if entry is None or entry.size != info.size:
        return False
    if entry.lfs:
        return bool(entry.lfs.sha256 == info.sha256.hex())
    with addition.as_file() as file:
        content = file.read()
    return bool(entry.blob_id == hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest())


def read_request(run: Run) -> tuple[PushRequest, UploadKind]:
    """Read push.json, and which part of the run it names. Raises UserError if it is not valid."""
    path = run.path / "push.json"
    try:
        request = requests.read(PushRequest, path)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} can't be read ({error}).", f"Start it with: fitune push {run.name} --repo ID"
        ) from None
    for kind in UPLOAD_KINDS:
        if request.what == kind:
            return request, kind
    raise UserError(f"{path} names no part of a run: {request.what!r}.", f"Known: {', '.join(UPLOAD_KINDS)}.")
