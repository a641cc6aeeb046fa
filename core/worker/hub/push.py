"""Adapter, merged model, GGUF files or checkpoints to the Hugging Face Hub, private unless asked otherwise."""

import hashlib
import re
import shlex
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from fitune.core import hub
from fitune.core.deliver import MAIN, WHAT, Upload, What, uploads
from fitune.core.deliver.handoff.job import of_run
from fitune.core.diagnose import redact
from fitune.core.errors import UserError
from fitune.core.hub import account, call_hub
from fitune.core.runs import EventLog, Run
from fitune.core.worker.hub.card_seal import may_be_replaced, sealed
from fitune.core.worker.hub.model_card import base_of, model_card, public_name
from fitune.core.worker.memory_use import Memory

CARD = "README.md"
TOLD_BYTES = 1 << 20
"""A file of this size or more has its own event when its upload begins."""


A_MODELS_WEIGHTS = re.compile(r"(pytorch_)?model(-.+)?\.(safetensors|bin)(\.index\.json)?")
READ_INSTEAD = re.compile(rf"{A_MODELS_WEIGHTS.pattern}|adapter_(config\.json|model\.(safetensors|bin))")
"""What transformers, or llama.cpp's converter, reads of a repository with a merged model in it, or instead of it."""
TOLD_NAMES = 8


@dataclass(frozen=True, slots=True)
class Wish:
    """What push.json asks for."""

    repo: str
    private: bool
    what: What


@dataclass(frozen=True, slots=True)
class Target:
    """The repository, and what is told of it."""

    api: Any
    repo: str
    """With its owner."""
    log: EventLog


@dataclass(frozen=True, slots=True)
class Sent:
    """A branch as it is on the Hub now."""

    branch: str
    files: int
    bytes: int
    new_files: int
    """Those that were not there already."""


def run(run: Run, log: EventLog, memory: Memory) -> None:
    """Upload what push.json names: {repo, private, what}. The token is huggingface_hub's own business."""
    from huggingface_hub import HfApi

    began = time.monotonic()
    log.write("started", backend="huggingface_hub", device="the Hub")

    # 1. What, where to, and as whom
    wish, api = wanted(run), HfApi()
    parts = uploads(run, wish.what)
    log.write("phase", name="ask")
    who = account()
    target = Target(api, wish.repo if "/" in wish.repo else f"{who.name}/{wish.repo}", log)
    who.require_write(target.repo)

    # 2. The repository, no more visible than asked
    url = call_hub(lambda: api.create_repo(target.repo, private=wish.private, exist_ok=True))
    private = agreed_visibility(target, wish.private)

    # 3. The files of each branch, with a card that says what they are, and a look at what arrived
    licence, sent = hub.licence(base_of(run, wish.what)), []
    for part in parts:
        card = sealed(model_card(run, target.repo, wish.what, licence, part.step)).encode()
        if (done := send(run, target, part, card)) is None:
            break
        sent.append(done)
    log.write(
        "finished",
        stopped=len(sent) < len(parts),
        what=wish.what,
        repo=target.repo,
        url=str(url),
        private=private,
        files=sum(each.files for each in sent),
        bytes=sum(each.bytes for each in sent),
        new_files=sum(each.new_files for each in sent),
        branches=[each.branch for each in sent if each.branch != MAIN],
        elapsed_s=time.monotonic() - began,
    )


def agreed_visibility(target: Target, private: bool) -> bool:
    """Whether the repository is private. Raises UserError if it is public and should not be."""
    found_private = bool(call_hub(lambda: target.api.model_info(target.repo)).private)
    if private and not found_private:
        raise UserError(
            f"{target.repo} exists already and is public; nothing was uploaded.",
            "Choose another name, or make it private on its page, or push with --public.",
        )
    if found_private and not private:
        message = f"{target.repo} exists already and is private; it stays so. Its page on the Hub can make it public."
        target.log.write("warning", kind="visibility", message=message)
    return found_private


def send(run: Run, target: Target, upload: Upload, card: bytes) -> Sent | None:
    """Send what a branch lacks, as one commit, and compare all of it there. Returns None if it was stopped.

    Raises UserError where the Hub refuses, or has another file than was sent.
    """
    if upload.branch != MAIN:
        make_branch(target, upload.branch)
    there = listed(target, upload.branch)
    refuse_mixture(target, upload, there)
    contents = {name: content_of(run, upload.folder / name) for name in upload.sizes}
    if CARD not in contents and is_free(target, upload, there):
        contents[CARD] = card
    additions = sent_ahead(run, target, upload, contents, there)
    if additions is None:
        return None
    missing = [each for each in additions if not arrived(each, there)]
    if missing:
        commit(run, target, upload, missing)
        target.log.write("phase", name="verify", **on_branch(upload))
        there = listed(target, upload.branch)
    if wrong := [each.path_in_repo for each in additions if not arrived(each, there)]:
        raise UserError(
            f"{len(wrong)} of {len(additions)} files did not arrive whole, such as {wrong[0]}.", "Push once more."
        )
    return Sent(upload.branch, len(additions), sum(each.upload_info.size for each in additions), len(missing))


def on_branch(upload: Upload) -> dict[str, str]:
    """What an event says of where files go, if that is not main."""
    return {} if upload.branch == MAIN else {"branch": upload.branch}


def make_branch(target: Target, branch: str) -> None:
    """A branch that holds nothing yet but git's own settings: what lies on main is no part of a checkpoint."""
    first = call_hub(lambda: target.api.list_repo_commits(target.repo))[-1].commit_id
    call_hub(lambda: target.api.create_branch(target.repo, branch=branch, revision=first, exist_ok=True))


def listed(target: Target, branch: str) -> dict[str, Any]:
    """The files of a branch by their paths."""
    tree = call_hub(lambda: list(target.api.list_repo_tree(target.repo, recursive=True, revision=branch)))
    return {entry.path: entry for entry in tree if hasattr(entry, "size")}


def refuse_mixture(target: Target, upload: Upload, there: dict[str, Any]) -> None:
    """Say which files of a branch stay beside those of this push; nothing is deleted there.

    Raises UserError if one would be read with a merged model, or instead of it: shards of an earlier push.
    """
    left = sorted(there.keys() - upload.sizes.keys() - {CARD, ".gitattributes"})
    odd = [name for name in left if READ_INSTEAD.fullmatch(name)]
    if odd and any(A_MODELS_WEIGHTS.fullmatch(name) for name in upload.sizes):
        patterns = dict.fromkeys(re.sub(r"-\d+-of-", "-*-of-", name) for name in odd)
        command = shlex.join(["hf", "repos", "delete-files", target.repo, *patterns])
        raise UserError(
            f"{target.repo} holds {_names(odd)}, which programs would read with this model or instead of it; nothing "
            "was uploaded.",
            f"Choose another name, or delete that: {command}",
        )
    if left:
        message = f"{target.repo} also holds {_names(left)}: that stays there as it is."
        target.log.write("warning", kind="left", message=message)


def _names(files: list[str]) -> str:
    more = len(files) - TOLD_NAMES
    return ", ".join(files[:TOLD_NAMES]) + (f" and {more} more" if more > 0 else "")


def is_free(target: Target, upload: Upload, there: dict[str, Any]) -> bool:
    """Whether a branch has no model card yet, or one that nobody would miss; if not, a warning says so."""
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.utils._headers import build_hf_headers
    from huggingface_hub.utils._http import hf_raise_for_status

    if CARD not in there:
        return True
    url = hf_hub_url(target.repo, CARD, revision=upload.branch)
    answer = call_hub(lambda: get_session().get(url, headers=build_hf_headers(), follow_redirects=True))
    call_hub(lambda: hf_raise_for_status(answer))
    if may_be_replaced(answer.text):
        return True
    message = f"The model card of {target.repo} was written or changed by somebody else: it stays as it is."
    target.log.write("warning", kind="card", message=message)
    return False


def sent_ahead(
    run: Run, target: Target, upload: Upload, contents: dict[str, Path | bytes], there: dict[str, Any]
) -> list[Any] | None:
    """All files as parts of a commit, or None if it was stopped.

    The large ones that are not there have been sent: they become visible with the commit only, and what arrived before
    an earlier push broke off is not sent again.
    """
    from huggingface_hub import CommitOperationAdd

    sizes = upload.sizes
    told = {"name": "upload", "files": len(contents), "bytes": sum(sizes.values()), "repo": target.repo}
    told |= on_branch(upload)
    target.log.write("phase", **told, done_bytes=0)
    additions, done_bytes = [], 0
    for name, content in contents.items():
        if run.stop.exists():
            return None
        addition = CommitOperationAdd(path_in_repo=name, path_or_fileobj=content)
        if not arrived(addition, there):
            if sizes.get(name, 0) >= TOLD_BYTES:
                target.log.write("phase", **told, done_bytes=done_bytes, file=name)
            ahead = partial(target.api.preupload_lfs_files, target.repo, [addition], free_memory=False)
            call_hub(partial(ahead, revision=upload.branch))
        additions.append(addition)
        done_bytes += sizes.get(name, 0)
    return None if run.stop.exists() else additions


def commit(run: Run, target: Target, upload: Upload, additions: list[Any]) -> None:
    """Make files visible. Raises UserError where the Hub refuses, also for a card whose head is no valid metadata."""
    what = upload.folder.name.capitalize() if upload.step is None else f"Step {upload.step}"
    message = f"{what} of the fitune run {run.name}"
    send_all = partial(target.api.create_commit, target.repo, additions, commit_message=message)
    try:
        call_hub(lambda: send_all(revision=upload.branch))
    except ValueError as error:  # of huggingface_hub, after it has asked the Hub about README.md
        raise UserError(
            f"The Hub refuses the model card: {redact(' '.join(str(error).split()))}",
            f"Correct the head of {upload.folder / CARD}, or delete that file: then fitune writes one.",
        ) from None


def content_of(run: Run, path: Path) -> Path | bytes:
    """What to send of a file: itself, but an adapter's settings without a path of this machine.

    A checkpoint's name the place in the Hub's cache that the base model was loaded from; nobody else has that.
    """
    if path.name != "adapter_config.json":
        return path
    config = orjson.loads(path.read_bytes())
    if not Path(str(config.get("base_model_name_or_path") or "")).is_absolute():
        return path
    job = of_run(run)
    named = {"base_model_name_or_path": public_name(job.recipe.model.id), "revision": job.revision}
    return orjson.dumps(config | named, option=orjson.OPT_INDENT_2)


def arrived(addition: Any, there: dict[str, Any]) -> bool:
    """Whether a branch has the file with the size and the hash of what is sent: of small files git's, else sha256."""
    sent, found = addition.upload_info, there.get(addition.path_in_repo)
    if found is None or found.size != sent.size:
        return False
    if found.lfs:
        return bool(found.lfs.sha256 == sent.sha256.hex())
    with addition.as_file() as file:
        content = file.read()
    return bool(found.blob_id == hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest())


def wanted(run: Run) -> Wish:
    """What push.json says. Raises UserError if it won't do."""
    path = run.path / "push.json"
    try:
        told = orjson.loads(path.read_bytes())
        wish = Wish(told["repo"], told["private"], told["what"])
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} can't be read ({error}).", f"Start it with: fitune push {run.name} --repo ID"
        ) from None
    if not isinstance(wish.repo, str) or not isinstance(wish.private, bool) or wish.what not in WHAT:
        known = ", ".join(WHAT)
        raise UserError(f'{path} should hold "repo", "private" (true or false) and "what" (one of {known}).')
    return wish
