"""The questions before a delivery option begins. Each returns the answer, or None if the user left it."""

import asyncio
from dataclasses import dataclass

from textual.app import App

from fitune.core import hub, jobs
from fitune.core.deliver import UploadKind, downloads
from fitune.core.errors import UserError
from fitune.tui.deliver.artifacts import RunArtifacts
from fitune.tui.deliver.handoff import default_folder
from fitune.tui.deliver.options import GGUF_KINDS, HANDOFF_TARGETS, PUSH_OPTIONS, amount, download_text, kind_size
from fitune.tui.text import size
from fitune.tui.widgets.dialogs import AskDialog, ConfirmDialog, PickDialog, PickSomeDialog


@dataclass(frozen=True, slots=True)
class PushChoice:
    """A confirmed push."""

    what: UploadKind
    repo: str
    private: bool


async def base(app: App[int], artifacts: RunArtifacts) -> str | None:
    """Ask for the full model to merge into, if the run's own base is quantized."""
    question = (
        "This run's base model has quantized weights.\nMerged into them, the adapter would be rounded as they are.\n"
        "The full model to merge into instead:"
    )
    model_id = await app.push_screen_wait(AskDialog(question, artifacts.full_model or "", jobs.check_repo))
    if model_id is None or (artifacts.merge_base and model_id.strip() == artifacts.merge_base.model_id):
        return model_id
    download = await asyncio.to_thread(downloads.download, model_id.strip())  # the proposed one's size is already shown
    question = f"Merge into {download.model_id}?\ndownload: {download_text(download)}"
    return download.model_id if await app.push_screen_wait(ConfirmDialog(question, "Don't merge", "Merge")) else None


async def kinds(app: App[int], artifacts: RunArtifacts) -> list[str] | None:
    """Ask for the kinds of GGUF files."""
    options = [(kind, f"{kind_size(artifacts, kind):>9}   {what}") for kind, what in GGUF_KINDS.items()]
    return await app.push_screen_wait(PickSomeDialog("Which files? Smaller ones answer a little worse.", options))


async def target(app: App[int], artifacts: RunArtifacts) -> tuple[str, str] | None:
    """Ask for the hand-off's target and folder."""
    name = await app.push_screen_wait(PickDialog("For what?", HANDOFF_TARGETS))
    if name is None:
        return None
    folder = await app.push_screen_wait(
        AskDialog("The folder to make", default_folder(artifacts.run, name), check_folder)
    )
    return (name, folder.strip()) if folder else None


async def token(app: App[int], why: str) -> bool:
    """Ask for a token of the Hub, and use it from now on; False if the user left the question."""
    question = (
        f"{why}\nMake one with the role write at https://huggingface.co/settings/tokens, and paste it here. "
        "It is not shown, and kept only until fitune is left."
    )
    return await app.push_screen_wait(AskDialog(question, "", hub.use_token, masked=True)) is not None


async def push(app: App[int], artifacts: RunArtifacts, who: hub.Account) -> PushChoice | None:
    """Ask for kind, name and visibility of a push, then for a confirmation of all."""
    what = await what_to_push(app, artifacts)
    if what is None:
        return None
    proposal = f"{who.name}/{artifacts.run.name}{'-GGUF' if what == 'gguf' else '-model'}"

    def check(repo: str) -> None:
        jobs.check_repo(repo.strip())
        who.require_write(full_name(repo, who))

    typed = await app.push_screen_wait(AskDialog("Name of the repository on the Hub", proposal, check))
    if typed is None:
        return None
    repo = full_name(typed, who)
    visibility_question = f"Who may see {repo}?\nprivate: only you   public: everyone"
    seen_by = await app.push_screen_wait(AskDialog(visibility_question, "private", check_visibility))
    if seen_by is None:
        return None
    private = seen_by.strip() == "private"
    visible = "private: only you can see it" if private else "PUBLIC: everyone can see it"
    title = next(title for kind, title, _ in PUSH_OPTIONS if kind == what)
    question = f"Upload the {title} to the Hub?\n{amount(artifacts.pushable[what])}\n{repo}\n{visible}"
    confirmed = await app.push_screen_wait(ConfirmDialog(question, "Don't upload", "Upload"))
    return PushChoice(what, repo, private) if confirmed else None


async def what_to_push(app: App[int], artifacts: RunArtifacts) -> UploadKind | None:
    """Ask for the kind of upload, if there are several."""
    options = [
        (what, f"{size(sum(upload.bytes for upload in artifacts.pushable[what])):>9}   {use}")
        for what, _, use in PUSH_OPTIONS
        if what in artifacts.pushable
    ]
    chosen = (
        options[0][0]
        if len(options) == 1
        else await app.push_screen_wait(PickDialog("What shall be uploaded?", options))
    )
    return next((what for what in artifacts.pushable if what == chosen), None)


def full_name(repo: str, who: hub.Account) -> str:
    """The repository's name with its owner, by default the user."""
    repo = repo.strip()
    return repo if "/" in repo else f"{who.name}/{repo}"


def check_visibility(answer: str) -> None:
    """Raise UserError unless the answer is private or public."""
    if answer.strip() not in ("private", "public"):
        raise UserError("Type private or public.")


def check_folder(answer: str) -> None:
    """Raise UserError for an empty answer; other errors show when it is written."""
    if not answer.strip():
        raise UserError("Type the name of a folder.")
