"""The artifacts of a run and the state of this machine, which the delivery options depend on."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from fitune.core import hub
from fitune.core.deliver import UPLOAD_KINDS, Download, Upload, UploadKind, downloads, gguf_tools, uploads
from fitune.core.errors import ConverterMissing, UserError
from fitune.core.runs import Finished, Phase, Run, RunState, Tail
from fitune.tui.deliver.proof_text import ArtifactProof, proofs
from fitune.tui.text import size

MAX_MERGE_RAM_BYTES = 1_600_000_000
"""Upper bound of a merge's RAM if no embedding was trained: a few rows of each matrix are merged at a time."""


@dataclass(frozen=True, slots=True)
class RunArtifacts:
    """The artifacts of a run at one moment. None: not known."""

    run: Run
    params: int | None = None
    quantized: bool = False
    """True if the base model's own files are quantized, so that a merge needs another base."""
    full_model: str | None = None
    """The repository that a quantized base was made from, by its name."""
    base: Download | None = None
    """The download of the model that the adapter was trained on."""
    merge_base: Download | None = None
    """The download of the model that a merge needs; None if the user has to name it."""
    adapter_bytes: int = 0
    merged_bytes: int = 0
    gguf_bytes: int = 0
    """Bytes of all files that passed their proof."""
    pushable: Mapping[UploadKind, tuple[Upload, ...]] = field(default_factory=dict)
    """The possible uploads by kind."""
    disk_free_bytes: int = 0
    ram_free_bytes: int | None = None
    load_s: float | None = None
    """Seconds that this run took to load the model."""
    converter_missing: bool = False
    has_quantizer: bool = False
    pushed: Finished | None = None
    """The end of the newest push, if it went through."""
    merge_proofs: tuple[ArtifactProof, ...] = ()
    gguf_proofs: tuple[ArtifactProof, ...] = ()
    handed_off: tuple[str, ...] = ()
    """Folders of hand-offs."""
    fetch: str = ""
    """The command that fetches the zip, if there is one."""
    places: tuple[tuple[str, str], ...] = ()
    """Kind of each artifact, and its path with size and use."""

    @property
    def merged_wanted_bytes(self) -> int | None:
        """Bytes of the merged model at 16 bits a weight."""
        return 2 * self.params if self.params else None


def inspect_run(run: Run) -> RunArtifacts:
    """Inspect a run's folder and this machine. It reads the disk: call it in a thread."""
    from fitune.core.deliver.archive import fetch_command
    from fitune.core.machine import host

    model_id, _ = _model(run)
    state, load_s = _events(run)
    base = _base(run, ask=False)
    end = state.ends.get("push")
    gguf, all_proofs = sorted((run.path / "gguf").glob("*.gguf")), proofs(run)
    zipped = run.path / f"{run.name}-adapter.zip"
    full_model = hub.sixteen_bit_name(model_id)
    return RunArtifacts(
        run,
        quantized=full_model is not None,
        full_model=full_model,
        base=base,
        merge_base=downloads.on_disk(full_model) if full_model else base,
        adapter_bytes=_bytes(run.adapter),
        merged_bytes=_bytes(run.merged),
        gguf_bytes=sum(map(_bytes, gguf)),
        pushable={what: folders for what in UPLOAD_KINDS if (folders := _uploads(run, what))},
        disk_free_bytes=shutil.disk_usage(run.path).free,
        ram_free_bytes=host.detect().ram_available_bytes,
        load_s=load_s,
        converter_missing=_converter_missing(run),
        has_quantizer=gguf_tools.find_quantizer() is not None,
        pushed=end if isinstance(end, Finished) and not end.stopped else None,
        merge_proofs=tuple(proof for proof in all_proofs if proof.name == run.merged.name),
        gguf_proofs=tuple(proof for proof in all_proofs if proof.name != run.merged.name),
        handed_off=tuple(str(path) for path in sorted(run.path.glob("handoff-*")) if path.suffix != ".part"),
        fetch=fetch_command(zipped, os.environ) if zipped.is_file() else "",
        places=tuple(_places(run, gguf, zipped)),
    )


def with_sizes(artifacts: RunArtifacts) -> RunArtifacts:
    """The artifacts with sizes from the model's shape and the Hub. Without a network that can take half a minute."""
    from fitune.core.memory import shapes

    artifacts = replace(artifacts, base=_base(artifacts.run, ask=True))
    try:
        shape = shapes.load(*_model(artifacts.run))
        artifacts = replace(artifacts, params=shape.params, quantized=artifacts.quantized or bool(shape.stored_as))
    except UserError:
        pass
    full = downloads.download(artifacts.full_model) if artifacts.full_model else None
    return replace(artifacts, merge_base=full if artifacts.quantized else artifacts.base)


def _model(run: Run) -> tuple[str, str | None]:
    """Id and revision of the base model; empty where run.json does not tell."""
    try:
        model = run.info().model
    except UserError:
        return "", None
    return model.id, model.revision


def _base(run: Run, ask: bool) -> Download | None:
    try:
        return downloads.of_run(run, ask)
    except UserError:
        return None


def _uploads(run: Run, what: UploadKind) -> tuple[Upload, ...]:
    try:
        return tuple(uploads(run, what))
    except UserError:
        return ()


def _events(run: Run) -> tuple[RunState, float | None]:
    """The state of a run, and the seconds that the training's newest load of the model took."""
    state, began_s, load_s = RunState(), None, None
    for event in Tail(run.events).catch_up():
        state.apply(event)
        if isinstance(event.data, Phase) and event.job == "train":
            load_s = event.t - began_s if began_s is not None else load_s
            began_s = event.t if event.data.name == "load" else None
    return state, load_s


def _converter_missing(run: Run) -> bool:
    try:
        gguf_tools.find_converter(run.path.parent.parent)
    except ConverterMissing:
        return True
    return False


def _places(run: Run, gguf: list[Path], zipped: Path) -> list[tuple[str, str]]:
    """Kind of each artifact in the run's folder, and its path with size and use."""
    candidates = [("adapter", "for peft", run.adapter), ("merged", "for transformers", run.merged)]
    candidates += [("gguf", "for llama.cpp and Ollama", path) for path in gguf] + [("zip", "the adapter", zipped)]
    return [
        (name, f"{path.relative_to(run.path)}   {size(_bytes(path))}, {what}")
        for name, what, path in candidates
        if path.exists()
    ]


def _bytes(path: Path) -> int:
    """The size of a file, or of all files in a folder; 0 where there is nothing."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)
