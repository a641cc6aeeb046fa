"""Adapter or merged model to the Hugging Face Hub, private unless asked otherwise, and compared with what arrived."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from core.errors import UserError
from core.events import EventLog
from core.runs import Run, write_atomically
from core.worker.card import has_card, model_card
from core.worker.memory import Memory

TOKEN_HELP = "Make a token with the role write (https://huggingface.co/settings/tokens), then: hf auth login"


def run(run: Run, log: EventLog, memory: Memory) -> None:
    """Upload what push.json names: {repo, private, what}. The token is huggingface_hub's own business."""
    from huggingface_hub import HfApi

    began = time.monotonic()
    log.write("started", backend="huggingface_hub", device="the Hub")

    # 1. What, where to, and as whom
    repo, private, folder = wanted(run)
    api = HfApi()
    log.write("phase", name="ask")
    user = asked(api.whoami)["name"]
    full_name = repo if "/" in repo else f"{user}/{repo}"

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

    # 3. The files, with a card that says what this is
    if not has_card(folder):
        write_atomically(folder / "README.md", model_card(run, folder.name).encode())
    sizes = sizes_in(folder)
    if run.stop.exists():
        log.write("finished", stopped=True, elapsed_s=time.monotonic() - began)
        return
    log.write(
        "phase", name="upload", files=len(sizes), bytes=sum(sizes.values()), repo=full_name, private=found_private
    )
    message = f"{folder.name.capitalize()} of the fitune run {run.name}"
    commit = asked(lambda: api.upload_folder(repo_id=full_name, folder_path=folder, commit_message=message))

    # 4. What arrived
    log.write("phase", name="verify")
    tree = asked(lambda: list(api.list_repo_tree(full_name, recursive=True)))
    arrived = {entry.path: entry.size for entry in tree if hasattr(entry, "size")}
    if wrong := [name for name, size in sizes.items() if arrived.get(name) != size]:
        raise UserError(
            f"{len(wrong)} of {len(sizes)} files did not arrive whole, such as {wrong[0]}.", "Push once more."
        )
    log.write(
        "finished",
        repo=full_name,
        url=str(url),
        private=found_private,
        commit=commit.oid,
        files=len(sizes),
        bytes=sum(sizes.values()),
        elapsed_s=time.monotonic() - began,
    )


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
    if not isinstance(repo, str) or not isinstance(private, bool) or what not in ("adapter", "merged"):
        raise UserError(f'{path} should hold "repo", "private" (true or false) and "what" (adapter or merged).')
    if not (folder := run.path / what).is_dir():
        raise UserError(f"There is no {folder} yet.")
    return repo, private, folder


def asked(question: Callable[[], Any]) -> Any:
    """The Hub's answer. Raises UserError where it refuses, or can't be reached."""
    import httpx
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

    try:
        return question()
    except LocalTokenNotFoundError as error:
        raise UserError("There is no token for the Hub.", TOKEN_HELP) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status == 401:
            raise UserError("The Hub does not know this token.", TOKEN_HELP) from error
        if status == 403:
            raise UserError(
                "The token may not write there.", f"Check the name of the repository. {TOKEN_HELP}"
            ) from error
        message = error.server_message or str(error).partition("\n")[0]
        raise UserError(f"The Hub answered with status {status}: {message}", "Push once more, or later.") from error
    except (httpx.HTTPError, OfflineModeIsEnabled) as error:
        raise UserError(
            f"The Hub can't be reached: {error}", "Check the network (fitune doctor), push again."
        ) from error


def sizes_in(folder: Path) -> dict[str, int]:
    """The size in bytes of each file of a folder, by its path inside it; not huggingface_hub's own notes there."""
    files = [path for path in folder.rglob("*") if path.is_file() and ".cache" not in path.parts[len(folder.parts) :]]
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
