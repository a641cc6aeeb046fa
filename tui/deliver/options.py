"""The delivery options for a trained adapter: their needs, shown before they begin, and their state.

The screen and the plain prompts show the same OPTIONS. Text from a run's folder is foreign; the caller cleans it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from fitune.core.deliver import Download, Upload, UploadKind, gguf_tools
from fitune.core.memory import GGUF_BYTES
from fitune.tui.deliver.artifacts import MAX_MERGE_RAM_BYTES, RunArtifacts
from fitune.tui.deliver.proof_text import ArtifactProof
from fitune.tui.text import UNKNOWN, duration, size

Key = Literal["chat", "merge", "gguf", "push", "handoff", "zip", "files"]
Pairs = list[tuple[str, str]]
"""Labels of one word, each with a sentence; an empty label continues the previous one."""
HANDOFF_TARGETS = (
    ("script", "a Python script that trains without fitune"),
    ("axolotl", "Axolotl's YAML"),
    ("accelerate", "accelerate's settings, for several cards"),
    ("slurm", "a Slurm job"),
    ("skypilot", "a SkyPilot task, for cloud machines"),
    ("vllm", "the command that serves it with vLLM"),
    ("ollama", "the Modelfile that runs it in Ollama"),
)
PUSH_OPTIONS: tuple[tuple[UploadKind, str, str], ...] = (
    ("adapter", "adapter", "goes onto its base model"),
    ("merged", "merged model", "runs by itself"),
    ("gguf", "GGUF files", "for llama.cpp and Ollama"),
    ("checkpoints", "checkpoints", "of earlier steps, a branch each"),
)
"""Each kind of upload with its name and its use."""
GGUF_KINDS = {
    "q8_0": "nearly as good, half the size",
    "f16": "as good, for older programs",
    "bf16": "the merged model's own numbers",
    "q6_k": "a little worse",
    "q5_k_m": "somewhat worse",
    "q4_k_m": "worse; the usual one on a laptop",
}


@dataclass(frozen=True, slots=True)
class DeliveryOption:
    """One option to deliver an adapter."""

    key: Key
    title: str
    what: str
    describe: Callable[[RunArtifacts], Pairs]
    """Its needs and its results."""
    state: Callable[[RunArtifacts], str] = lambda artifacts: ""
    """Its state, beginning with OK or FAILED; empty if it was not done yet."""
    proofs: Callable[[RunArtifacts], tuple[ArtifactProof, ...]] = lambda artifacts: ()


def _chat(artifacts: RunArtifacts) -> Pairs:
    loading = f"; loading took {duration(artifacts.load_s)} in this run" if artifacts.load_s is not None else ""
    return [("needs", f"the base model in memory, as in training{loading}"), *_download(artifacts.base)]


def _merge(artifacts: RunArtifacts) -> Pairs:
    merged_bytes = artifacts.merged_wanted_bytes
    pairs = [("needs", f"{_or(merged_bytes, '2 bytes a weight')} of disk, {size(artifacts.disk_free_bytes)} are free")]
    free = f", {size(artifacts.ram_free_bytes)} are free" if artifacts.ram_free_bytes else ""
    pairs.append(("", f"up to {size(MAX_MERGE_RAM_BYTES)} of RAM{free}"))
    pairs += _download(artifacts.merge_base)
    if artifacts.quantized:
        source = (
            "It is merged into its full model" if artifacts.full_model else "Its full model, which you name, is fetched"
        )
        pairs.append(("", f"This run's base has quantized weights. {source}."))
    loading = f" (loading took {duration(artifacts.load_s)} in this run)" if artifacts.load_s is not None else ""
    pairs.append(
        ("time", f"that of writing {_or(merged_bytes, 'it')}, and of loading it twice to compare answers{loading}")
    )
    return pairs


def _gguf(artifacts: RunArtifacts) -> Pairs:
    smallest, largest = min(GGUF_BYTES, key=GGUF_BYTES.__getitem__), max(GGUF_BYTES, key=GGUF_BYTES.__getitem__)
    sizes = f"{kind_size(artifacts, smallest)} ({smallest}) to {kind_size(artifacts, largest)} ({largest})"
    pairs = [] if artifacts.merged_bytes else [("first", "merge: these files are made from the merged model")]
    pairs.append(("needs", f"{sizes} of disk a file, {size(artifacts.disk_free_bytes)} are free"))
    missing = f"not on this machine; you are asked before it is fetched ({gguf_tools.PACKAGE_SIZE})"
    pairs.append(("converter", missing if artifacts.converter_missing else "on this machine"))
    if not artifacts.has_quantizer:
        pairs.append(("", "q6_k, q5_k_m and q4_k_m also need llama-quantize, which is not here: you get the bf16 file "
                      "and the command"))  # fmt: skip
    return pairs


def _push(artifacts: RunArtifacts) -> Pairs:
    choices = [
        f"{title} {amount(artifacts.pushable[what])}" for what, title, _ in PUSH_OPTIONS if what in artifacts.pushable
    ]
    return [
        ("uploads", ", or ".join(choices) + "; each with a model card made from the run"),
        ("needs", "a token that may write: the one of hf auth login or HF_TOKEN, else you are asked for one"),
        ("seen by", "only you, unless you say public; name and visibility are asked first"),
        *([("pushed", f"{artifacts.pushed.repo}: {artifacts.pushed.url or ''}")] if artifacts.pushed else []),
    ]


def _handoff(artifacts: RunArtifacts) -> Pairs:
    return [
        ("for", ", ".join(target for target, _ in HANDOFF_TARGETS)),
        ("leaves", "a folder with all that it takes, the rows too, and says what to do with it"),
        *[("made", path) for path in artifacts.handed_off],
    ]


def _zip(artifacts: RunArtifacts) -> Pairs:
    return [
        ("needs", f"{size(artifacts.adapter_bytes)} of disk, {size(artifacts.disk_free_bytes)} are free"),
        ("leaves", "one file beside the run, and the scp command that fetches it"),
        *([("fetch", artifacts.fetch), ("", "(to be typed on your own computer)")] if artifacts.fetch else []),
    ]


def _files(artifacts: RunArtifacts) -> Pairs:
    return [("folder", str(artifacts.run.path)), *artifacts.places]


def _proven(proofs: tuple[ArtifactProof, ...], done: bool) -> str:
    """The state of an artifact: passed, failed or only there."""
    if failed := [proof.name for proof in proofs if not proof.passed]:
        return f"FAILED {failed[0]}" if len(proofs) > 1 else "FAILED its proof"
    return "OK, proven" if proofs else "OK, there" if done else ""


def _pushed(artifacts: RunArtifacts) -> str:
    if not artifacts.pushed:
        return ""
    return f"OK, {'private' if artifacts.pushed.private else 'PUBLIC'}"


OPTIONS = (
    DeliveryOption("chat", "Chat", "Ask it and its base the same, side by side", _chat),
    DeliveryOption(
        "merge",
        "Merge",
        "Adapter and model as one ordinary model folder",
        _merge,
        lambda artifacts: _proven(artifacts.merge_proofs, bool(artifacts.merged_bytes)),
        lambda artifacts: artifacts.merge_proofs,
    ),
    DeliveryOption(
        "gguf",
        "GGUF",
        "One file each for llama.cpp and Ollama",
        _gguf,
        lambda artifacts: _proven(artifacts.gguf_proofs, bool(artifacts.gguf_bytes)),
        lambda artifacts: artifacts.gguf_proofs,
    ),
    DeliveryOption("push", "Push", "Upload it to the Hugging Face Hub", _push, _pushed),
    DeliveryOption(
        "handoff",
        "Hand off",
        "Files that train or serve it elsewhere",
        _handoff,
        lambda artifacts: f"OK, {len(artifacts.handed_off)} made" if artifacts.handed_off else "",
    ),
    DeliveryOption(
        "zip",
        "Zip",
        "One file to fetch to your own computer",
        _zip,
        lambda artifacts: "OK, there" if artifacts.fetch else "",
    ),
    DeliveryOption("files", "Files", "Where everything lies", _files),
)


def kind_size(artifacts: RunArtifacts, kind: str) -> str:
    """The size of a GGUF file of a kind."""
    return size(artifacts.params * GGUF_BYTES[kind]) if artifacts.params else UNKNOWN


def advice(proof: ArtifactProof) -> str:
    """The advice after a failed proof."""
    if proof.name == "merged":
        return "Use the adapter as it is, or merge once more. The failed one is in merged.failed; delete it when seen."
    return "Use the merged model, or make another kind. The failed file is kept as NAME.gguf.failed."


def amount(uploads: Sequence[Upload]) -> str:
    """Size and number of files of an upload, and of branches if there are several."""
    files, bytes_ = sum(len(upload.sizes) for upload in uploads), sum(upload.bytes for upload in uploads)
    branches = f" on {len(uploads)} branches" if len(uploads) > 1 else ""
    return f"{size(bytes_)} in {files} file{'' if files == 1 else 's'}{branches}"


def download_text(download: Download) -> str:
    """The download that a model needs before it can be used, in words."""
    if download.bytes == 0:
        return f"nothing, {download.model_id} is on this machine"
    if download.bytes:
        return f"{size(download.bytes)} first: {download.model_id}, kept in the Hub's cache"
    if download.why_unknown:
        return f"{download.model_id}; its size is not known. {download.why_unknown}"
    return f"{download.model_id}; asking the Hub for its size ..."


def _download(download: Download | None) -> Pairs:
    return [("download", download_text(download))] if download else []


def _or(size_bytes: float | None, unknown: str) -> str:
    return unknown if size_bytes is None else size(size_bytes)
