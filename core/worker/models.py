"""The files of a base model: in a folder, downloaded from the Hub, or of the bundled model."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fitune.core.deliver import MODEL_FILES, SKIPPED_FILES, bundled, download
from fitune.core.errors import UserError
from fitune.core.runs import EventLog, Phase, Run, Tail, Warned
from fitune.core.worker import bundled_model
from fitune.core.worker.changed_base import refuse_changed_base


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model's files on this disk, and its name."""

    path: Path
    name: str
    """The Hub id, or the folder as the recipe names it: the name in the adapter's config."""
    revision: str | None
    """The Hub commit of these files; None for a folder."""


def of_run(run: Run, log: EventLog) -> ModelFiles:
    """The files of the base model that a run was trained on, also if its branch on the Hub has changed since.

    Before the first training: the files that the recipe names. Raises as `fetch`, and UserError if the commit of the
    training is neither on this disk nor on the Hub, or the weights in a folder have changed since the training.
    """
    model, models_dir = run.recipe().model, run.path.parent.parent / "models"
    loaded = _loaded_in_training(run)
    if loaded and loaded.revision:
        _log_download(log, model.id, loaded.revision, loaded.revision)
        return _commit(model.id, loaded.revision, model.trust_remote_code)
    if loaded and model.id == bundled.MODEL_ID:  # no Hub was in reach then
        return ModelFiles(bundled_model.model_folder(models_dir), model.id, None)
    files = fetch(model.id, model.revision, model.trust_remote_code, models_dir, log)
    refuse_changed_base(run, files.path)
    return files


def fetch(model_id: str, revision: str | None, remote_code: bool, models_dir: Path, log: EventLog) -> ModelFiles:
    """The files of a model on this disk, downloaded from the Hub if they are missing.

    models_dir: the folder for the bundled model. remote_code: also download Python files.
    Raises UserError if the folder holds no model, or the Hub's own errors, which `core.diagnose` explains.
    """
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    if (folder := Path(os.path.expanduser(model_id))).is_absolute() or folder.is_dir():
        if not (folder / "config.json").is_file() or not list(folder.glob("*.safetensors")):
            raise UserError(f"{folder} holds no model.", "It needs config.json and *.safetensors files.")
        return ModelFiles(folder, model_id, None)
    _log_download(log, model_id, revision)
    try:
        return _snapshot(model_id, revision, remote_code)
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        if not bundled.stands_in(model_id):
            raise _not_here(f"The model {model_id}") from error
        log.write(Warned(kind="bundled", message=f"The Hub is out of reach: using {bundled.COPY}."))
        return ModelFiles(bundled_model.model_folder(models_dir), model_id, None)


def _log_download(log: EventLog, model_id: str, commit: str | None, loaded: str | None = None) -> None:
    """Write the phase of a download, with the bytes that are not on this disk yet if they are known.

    loaded: the commit that the training loaded.
    """
    missing_bytes = download(model_id, commit).bytes or None
    log.write(Phase(name="download", model=model_id, revision=loaded, bytes=missing_bytes))


def _loaded_in_training(run: Run) -> Phase | None:
    """The phase in which the run's training loaded its base; None if it never did."""
    events = (event.data for event in Tail(run.events).catch_up() if event.job == "train")
    return next((event for event in events if isinstance(event, Phase) and event.name == "load"), None)


def _snapshot(model_id: str, revision: str | None, remote_code: bool, cached: bool = False) -> ModelFiles:
    """A model's files from the Hub. cached: only those on this disk. Raises UserError if there are no weights."""
    from huggingface_hub import snapshot_download

    patterns = [*MODEL_FILES, "*.py"] if remote_code else MODEL_FILES
    path = Path(
        snapshot_download(
            model_id, revision=revision, allow_patterns=patterns, ignore_patterns=SKIPPED_FILES, local_files_only=cached
        )
    )
    if not list(path.glob("*.safetensors")):
        raise UserError(f"{model_id} has no safetensors weights.", "fitune loads no pickled weights; choose another.")
    return ModelFiles(path, model_id, path.name)


def _commit(model_id: str, commit: str, remote_code: bool) -> ModelFiles:
    """The files of one commit. Raises UserError if they are neither on this disk nor on the Hub."""
    import httpx
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return _snapshot(model_id, commit, remote_code)
    except (httpx.HTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        with suppress(LocalEntryNotFoundError, UserError):  # perhaps only the Hub's list of files is not on this disk
            return _snapshot(model_id, commit, remote_code, cached=True)
        raise UserError(
            f"This run was trained on commit {commit} of {model_id}, which is not on this disk as a whole, and "
            f"{_why_not(error)}. What the repository holds by now may be another model, so it is not used instead.",
            "Try again where the Hub is in reach, or copy that commit's folder into this machine's Hub cache.",
        ) from error


def _not_here(what: str) -> UserError:
    from huggingface_hub import constants

    offline = constants.HF_HUB_OFFLINE
    why = "HF_HUB_OFFLINE forbids asking the Hub" if offline else "the Hub is out of reach"
    first = "Unset HF_HUB_OFFLINE" if offline else "Check the network"
    return UserError(
        f"{what} is not on this disk, and {why}.",
        f"{first}, or download the model elsewhere and give its folder as model.id.",
    )


def _why_not(error: Exception) -> str:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    match error:
        case GatedRepoError():
            return "its repository wants its licence accepted, and a login (hf auth login)"
        case RepositoryNotFoundError():
            return "the Hub shows no such repository: it is gone, renamed or private (hf auth login)"
        case RevisionNotFoundError():
            return "its repository has no such commit any more"
    return "the Hub is out of reach"


def fetch_tokenizer(model_id: str, revision: str | None, remote_code: bool, models_dir: Path, log: EventLog) -> Path:
    """A folder with the model's tokenizer; from the Hub it downloads small files only.

    Parameters and errors as those of `fetch`.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    if (folder := Path(os.path.expanduser(model_id))).is_dir():
        if not list(folder.glob("tokenizer*")):
            raise UserError(f"{folder} holds no tokenizer.", "It needs tokenizer.json, or tokenizer.model.")
        return folder
    log.write(Phase(name="download", model=model_id))
    patterns = [name for name in MODEL_FILES if "safetensors" not in name] + (["*.py"] if remote_code else [])
    try:
        path = snapshot_download(model_id, revision=revision, allow_patterns=patterns, ignore_patterns=SKIPPED_FILES)
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        if not bundled.stands_in(model_id):
            raise _not_here(f"The tokenizer of {model_id}") from error
        return bundled_model.model_folder(models_dir)
    return Path(path)
