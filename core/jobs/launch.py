"""The jobs of the worker: what each needs before it starts, and what it is told."""

import fcntl
import os
import platform
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson

from fitune.core.deliver.uploads import What, uploads
from fitune.core.errors import UserError
from fitune.core.files import write_atomically
from fitune.core.forecast import history
from fitune.core.forecast.candidates import ram_lack
from fitune.core.forecast.history import Experience
from fitune.core.forecast.remedies import remedies
from fitune.core.forecast.resolve import Resolved, card_of, resolve
from fitune.core.machine import host
from fitune.core.machine.host import GIB, Gpu
from fitune.core.memory import budget
from fitune.core.memory import shape as shapes
from fitune.core.memory.disk import GGUF_BYTES
from fitune.core.memory.plan import EXPERT_NAMES
from fitune.core.recipe.load import Recipe
from fitune.core.runs import run as runs
from fitune.core.runs import spawn
from fitune.core.runs.run import Run
from fitune.core.tokens import cache
from fitune.core.tokens.lengths import FILE, Prepared
from fitune.core.tokens.workload import Workload, as_decided


@dataclass(frozen=True, slots=True)
class Begun:
    """A run that has just been started, and what to tell the user about it."""

    run: Run
    how: str
    """"setsid" or "systemd": what keeps it alive when the terminal goes."""
    backend_reason: str
    notes: tuple[str, ...]
    budget: Mapping[str, Any] | None = None
    """As run.json has it; None where `budget_of` makes none."""
    work: Workload | None = None
    """By the true lengths of the rows, which the budget is made of; None: rows count as full length."""


TOLD_OF_GPU = ("uuid", "name", "total_bytes", "free_bytes", "compute_capability")


def begin(
    recipe: Recipe,
    preset: str | None = None,
    share_gpu: bool = False,
    anyway: bool = False,
    rows: Prepared | None = None,
) -> Begun:
    """Make a run of a recipe on this machine and start it.

    anyway: start although the budget says that it does not fit. rows: the recipe's rows in tokens, for the budget; None
    takes what the prepare job has found before, and where it has not, rows count as full length. Raises UserError; a
    run that was refused leaves nothing behind, and one whose worker died at once its log.
    """
    _refuse_absent_tracker(recipe.train.report_to)
    base = runs.home(recipe.run.home)
    found = host.detect(base / "runs")
    resolved = resolve(recipe, found)
    gpu = resolved.gpu
    taught = history.experience(base, gpu, found.cpu_name, found.versions, resolved.recipe.train.backend)
    rows = rows or cache.known(resolved.recipe, base)
    _, work = as_decided(resolved.recipe, rows)
    planned = budget_of(resolved, taught, rows, found.ram_available_bytes)
    if planned and planned["verdict"] == "over" and not anyway:
        refuse_too_large(planned, gpu)
    run = runs.create(
        resolved.recipe,
        base,
        {
            "preset": preset,
            "budget": planned,
            "workload": asdict(work) if work else None,
            "gpu": {key: getattr(gpu, key) for key in TOLD_OF_GPU} if gpu else None,
            "cpu": found.cpu_name,
            "backend_reason": resolved.backend_reason,
            "notes": resolved.notes,
            "versions": {"python": found.python_version, **found.versions},
            "host": platform.node(),
        },
    )
    try:
        how = start(run, "train", share_gpu)
    except UserError:
        if not run.log.exists():
            shutil.rmtree(run.path)
        raise
    lack = ram_lack(planned["host_bytes"], found.ram_available_bytes) if planned else ""
    notes = (*resolved.notes, *_elsewhere(base), *([lack] if lack else []))
    return Begun(run, how, resolved.backend_reason, notes, planned, work)


def _refuse_absent_tracker(name: str) -> None:
    """Raise UserError if the package of train.report_to is not installed: the trainer would find out after minutes."""
    if name != "none" and find_spec(name) is None:
        hint = f'Install it beside fitune (uv pip install {name}), or set report_to = "none".'
        raise UserError(f"train.report_to: the package {name} is not installed.", hint)


def _elsewhere(base: Path) -> list[str]:
    """How other commands find a run whose recipe names a home of its own."""
    if base == runs.home():
        return []
    return [f"run.home = {base}: other commands find this run with FITUNE_HOME={base}, or by its path."]


def budget_of(
    resolved: Resolved, taught: Experience, rows: Prepared | None = None, ram_bytes: int | None = None
) -> dict[str, Any] | None:
    """The budget of a resolved recipe as `fitune estimate --json` has it; None where the model is not understood, the
    card doesn't tell its size, or only experts are trained, whose adapters the budget doesn't know.

    taught: what earlier runs here taught; the budget is corrected by it. rows: as for `begin`. ram_bytes: the free RAM,
    which judges where there is no card. Raises UserError for a model that can't be trained as it is stored, or in which
    the recipe chooses no layer.
    """
    card = card_of(resolved.gpu)
    if resolved.gpu is not None and card is None:
        return None
    recipe, work = as_decided(resolved.recipe, rows)
    tokens = work.longest if work else None
    try:
        shape = shapes.load(recipe.model.id, recipe.model.revision)
    except UserError:
        return None
    chosen = recipe.lora.target_modules
    only_experts = shape.expert_params and isinstance(chosen, tuple) and EXPERT_NAMES.issuperset(chosen)
    if only_experts and recipe.train.backend == "unsloth":
        return None
    planned = taught.budget(budget.estimate(shape, recipe, card, tokens))
    planned = planned if card else budget.in_ram(planned, ram_bytes)
    ways = remedies(shape, recipe, card, tokens, taught, resolved.unsloth_works) if planned.verdict == "over" else []
    return budget.to_json(planned, ways)


def refuse_too_large(planned: dict[str, Any], gpu: Gpu | None) -> None:
    """Raise UserError if a card's memory will not do, with the changes that would help most gently."""
    if gpu is None:
        return
    ways = [" ".join(f"--set {key}={value}" for key, value in each["set"].items()) for each in planned["remedies"][:3]]
    wanted_gib, free_gib = planned["total_bytes"] / GIB, planned["free_bytes"] / GIB
    said = f"This needs about {wanted_gib:.1f} GiB, and {gpu.name} has {free_gib:.1f} GiB free."
    if planned["total_bytes"] <= planned["free_bytes"]:
        said = f'Unsloth would not load this: train.offload_layers = "auto" finds no room on {gpu.name}.'
    raise UserError(
        said,
        f"Try {' or '.join(ways)}; or start it anyway with --yes." if ways else "Start it anyway with --yes.",
    )


def start(run: Run, job: str, share_gpu: bool = False, wanted: Mapping[str, Any] | None = None) -> str:
    """Start the worker on a run and wait until it lives. Returns how: "setsid" or "systemd".

    share_gpu: allow another run on the same card. wanted: left for the worker in JOB.json. Raises UserError if the run
    is alive already, if another run holds its card, if its folder can't be written to, or if no worker came up.
    """
    try:
        with _one_start_at_a_time(run.path.parent):
            if run.holder_pid() is not None:
                hint = f"Watch it: fitune watch {run.name}"
                raise UserError(f"{run.name} is running already ({run.held_by()}).", hint)
            if not share_gpu:
                refuse_busy_gpu(run)
            run.stop.unlink(missing_ok=True)
            if wanted is not None:
                write_atomically(run.path / f"{job}.json", orjson.dumps(wanted, option=orjson.OPT_INDENT_2))
            return spawn.spawn(run, job)
    except OSError as error:
        raise _unwritable(run, error) from None


def _unwritable(run: Run, error: OSError) -> UserError:
    hint = "Free some disk space, or see who may write there."
    return UserError(f"{run.path} can't be written to: {error.strerror}.", hint)


def prepare(recipe: Recipe) -> Run:
    """The run-like folder of the job that renders every row; the job is started unless it is done or under way.

    Once it has finished, `core.tokens.lengths.Prepared.read(run.path)` is its answer. Raises UserError where the data can't
    be found or reached, and as `start`.
    """
    recipe, base = cache.located(recipe), runs.home(recipe.run.home)
    key = cache.key(recipe)
    run = Run(cache.folder(key, base))
    if _is_prepared(run):
        return run
    content = {"version": 1, "name": run.name, "created": time.time(), "key": key,
               "recipe": recipe.model_dump(mode="json")}  # fmt: skip
    try:
        for folder in (each for each in (base, run.path.parent, run.path) if not each.exists()):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(run.path / "run.json", orjson.dumps(content, option=orjson.OPT_INDENT_2))
    except OSError as error:
        hint = "Set FITUNE_HOME to a folder you can write to."
        raise UserError(f"{run.path} can't be made: {error.strerror}.", hint) from None
    cache.prune(base)
    try:
        start(run, "prepare", share_gpu=True)  # it computes on the CPU
    except UserError:
        if not _is_prepared(run):  # else somebody else asked at the same moment
            raise
    return run


def _is_prepared(run: Run) -> bool:
    """Whether the job that renders the rows is done, or under way."""
    return (run.path / FILE).is_file() or run.holder_pid() is not None


def merge(run: Run, base: str | None = None) -> str:
    """Start the job that writes adapter and model as one into merged/. Returns and raises as `start`.

    base: the model to merge into, if not the one it was trained on: the full one of a quantized copy.
    """
    _require(run.adapter)
    if base is not None and not (base and base.isprintable()):
        raise UserError(f"{base!r} can't be the name of a model.", "Give its id on the Hub, or its folder.")
    return start(run, "merge", share_gpu=True, wanted={"base": base})  # it leaves a card that trains alone


def export(run: Run, kinds: Sequence[str]) -> str:
    """Start the job that makes GGUF files of merged/, of kinds such as "q8_0". Returns and raises as `start`."""
    check_export(run, kinds)
    return start(run, "export", share_gpu=True, wanted={"gguf": list(kinds)})


def check_export(run: Run, kinds: Sequence[str]) -> None:
    """Raise UserError if there is nothing to make the files of, or a kind is none of fitune's."""
    if odd := [kind for kind in kinds if kind not in GGUF_BYTES]:
        raise UserError(f"{odd[0]!r} is no kind of GGUF file that fitune makes.", f"Known: {', '.join(GGUF_BYTES)}.")
    _require(run.merged)


def push(run: Run, repo: str, private: bool = True, what: What = "adapter") -> str:
    """Start the job that uploads a part of the run to a repository on the Hub. Returns and raises as `start`."""
    check_push(run, repo, what)
    return start(run, "push", share_gpu=True, wanted={"repo": repo, "private": private, "what": what})


def check_push(run: Run, repo: str, what: What) -> None:
    """Raise UserError if there is nothing to push, or its name won't do."""
    check_repo(repo)
    uploads(run, what)


def check_repo(repo: str) -> None:
    """Raise UserError if this can't be the name of a repository on the Hub."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError:
        raise UserError(
            f"{repo!r} can't be the name of a repository.",
            "It should read user/name, of letters, digits, '-', '_' and '.', without '--' or '..'.",
        ) from None


def _require(folder: Path) -> None:
    if not folder.is_dir():
        name = folder.parent.name
        job = "merge" if folder.name == "merged" else "resume"
        raise UserError(f"There is no {folder} yet.", f"First: fitune {job} {name}")


def refuse_busy_gpu(run: Run) -> None:
    """Raise UserError, naming the run, if a training holds the card this one wants."""
    uuid = (run.info().get("gpu") or {}).get("uuid")
    for other in runs.all_runs(run.path.parent.parent):
        if uuid and other.name != run.name and other.trains():
            held = other.info().get("gpu") or {}
            if held.get("uuid") == uuid:
                raise UserError(
                    f"{held.get('name', 'The GPU')} is held by the run {other.name}.",
                    f"Watch it (fitune watch {other.name}), stop it (fitune stop {other.name}), or add --share-gpu.",
                )


@contextmanager
def _one_start_at_a_time(folder: Path) -> Iterator[None]:
    fd = os.open(folder / ".start", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
