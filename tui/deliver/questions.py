"""The questions before a way begins. Each returns what was answered, or None if it was left."""

import asyncio
from dataclasses import dataclass

from textual.app import App

from fitune.core import hub, jobs
from fitune.core.deliver import UploadKind, downloads
from fitune.core.errors import TokenNeeded, UserError
from fitune.tui.deliver.artifacts import Facts
from fitune.tui.deliver.local import proposed
from fitune.tui.deliver.options import KINDS, PUSHED, TARGETS, amount, fetched, kind_size
from fitune.tui.text import size
from fitune.tui.widgets.dialogs import AskDialog, ConfirmDialog, PickDialog, PickSomeDialog


@dataclass(frozen=True, slots=True)
class Wish:
    """A push as it was confirmed."""

    what: UploadKind
    repo: str
    private: bool


async def base(app: App[int], facts: Facts) -> str | None:
    """The full model to merge into, where the run's own base is quantized."""
    question = (
        "This run's base model has quantized weights.\nMerged into them, the adapter would be rounded as they are.\n"
        "The full model to merge into instead:"
    )
    named = await app.push_screen_wait(AskDialog(question, facts.full_model or "", jobs.check_repo))
    if named is None or (facts.merge_base and named.strip() == facts.merge_base.model_id):
        return named
    found = await asyncio.to_thread(downloads.download, named.strip())  # of the one proposed it was told before
    question = f"Merge into {found.model_id}?\ndownload: {fetched(found)}"
    return found.model_id if await app.push_screen_wait(ConfirmDialog(question, "Don't merge", "Merge")) else None


async def kinds(app: App[int], facts: Facts) -> list[str] | None:
    """Kinds of GGUF files."""
    options = [(kind, f"{kind_size(facts, kind):>9}   {what}") for kind, what in KINDS.items()]
    return await app.push_screen_wait(PickSomeDialog("Which files? Smaller ones answer a little worse.", options))


async def target(app: App[int], facts: Facts) -> tuple[str, str] | None:
    """What to hand off to, and the folder."""
    chosen = await app.push_screen_wait(PickDialog("For what?", TARGETS))
    if chosen is None:
        return None
    folder = await app.push_screen_wait(AskDialog("The folder to make", proposed(facts.run, chosen), check_folder))
    return (chosen, folder.strip()) if folder else None


async def account(app: App[int]) -> hub.Account | None:
    """Whose token it is; where there is none that the Hub knows, one is asked for. Raises UserError."""
    question = "{}\nPaste a token that may write. It is not shown, and kept only until fitune is left."
    while True:
        try:
            return await asyncio.to_thread(hub.account)
        except TokenNeeded as error:
            asked = AskDialog(question.format(error.message), "", hub.use_token, masked=True)
            if await app.push_screen_wait(asked) is None:
                return None


async def push(app: App[int], facts: Facts, who: hub.Account) -> Wish | None:
    """What, name, visibility, and all of it once more before anything leaves this machine."""
    what = await what_to_push(app, facts)
    if what is None:
        return None
    proposal = f"{who.name}/{facts.run.name}{'-GGUF' if what == 'gguf' else '-model'}"

    def check(repo: str) -> None:
        jobs.check_repo(repo.strip())
        who.require_write(full_name(repo, who))

    named = await app.push_screen_wait(AskDialog("Name of the repository on the Hub", proposal, check))
    if named is None:
        return None
    repo = full_name(named, who)
    asked = f"Who may see {repo}?\nprivate: only you   public: everyone"
    seen_by = await app.push_screen_wait(AskDialog(asked, "private", check_visibility))
    if seen_by is None:
        return None
    private = seen_by.strip() == "private"
    visible = "private: only you can see it" if private else "PUBLIC: everyone can see it"
    title = next(title for each, title, _ in PUSHED if each == what)
    question = f"Upload the {title} to the Hub?\n{amount(facts.pushable[what])}\n{repo}\n{visible}"
    sure = await app.push_screen_wait(ConfirmDialog(question, "Don't upload", "Upload"))
    return Wish(what, repo, private) if sure else None


async def what_to_push(app: App[int], facts: Facts) -> UploadKind | None:
    """The adapter, or what else there is."""
    options = [
        (what, f"{size(sum(each.bytes for each in facts.pushable[what])):>9}   {use}")
        for what, _, use in PUSHED
        if what in facts.pushable
    ]
    chosen = (
        options[0][0]
        if len(options) == 1
        else await app.push_screen_wait(PickDialog("What shall be uploaded?", options))
    )
    return next((what for what in facts.pushable if what == chosen), None)


def full_name(repo: str, who: hub.Account) -> str:
    """With its owner, who is the user where none is named."""
    repo = repo.strip()
    return repo if "/" in repo else f"{who.name}/{repo}"


def check_visibility(answer: str) -> None:
    """Raise UserError unless it is one of the two words."""
    if answer.strip() not in ("private", "public"):
        raise UserError("Type private or public.")


def check_folder(answer: str) -> None:
    """Raise UserError for an empty answer; the rest is seen when it is written."""
    if not answer.strip():
        raise UserError("Type the name of a folder.")
