"""What can be done with a trained adapter: what each way needs, told before it begins, and what is done already.

A row of WAYS is a way; the screen and the plain prompts show the same. What a run folder holds is foreign text, which
whoever shows it cleans.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from fitune.core.deliver import Download, Upload, UploadKind, gguf_tools
from fitune.core.memory import GGUF_BYTES
from fitune.tui.deliver.artifacts import MERGE_RAM_BYTES, Facts
from fitune.tui.deliver.proof_text import NamedProof
from fitune.tui.text import UNKNOWN, duration, size

Key = Literal["chat", "merge", "gguf", "push", "handoff", "zip", "files"]
Pairs = list[tuple[str, str]]
"""Labels of one word, and a sentence each; an empty label goes on with the one before."""
TARGETS = (
    ("script", "a Python script that trains without fitune"),
    ("axolotl", "Axolotl's YAML"),
    ("accelerate", "accelerate's settings, for several cards"),
    ("slurm", "a Slurm job"),
    ("skypilot", "a SkyPilot task, for cloud machines"),
    ("vllm", "the command that serves it with vLLM"),
    ("ollama", "the Modelfile that runs it in Ollama"),
)
PUSHED: tuple[tuple[UploadKind, str, str], ...] = (
    ("adapter", "adapter", "goes onto its base model"),
    ("merged", "merged model", "runs by itself"),
    ("gguf", "GGUF files", "for llama.cpp and Ollama"),
    ("checkpoints", "checkpoints", "of earlier steps, a branch each"),
)
"""What can be uploaded, what to call it, and what it is for."""
KINDS = {
    "q8_0": "nearly as good, half the size",
    "f16": "as good, for older programs",
    "bf16": "the merged model's own numbers",
    "q6_k": "a little worse",
    "q5_k_m": "somewhat worse",
    "q4_k_m": "worse; the usual one on a laptop",
}


@dataclass(frozen=True, slots=True)
class Way:
    """One thing to do with an adapter."""

    key: Key
    title: str
    what: str
    told: Callable[[Facts], Pairs]
    """What it needs and leaves."""
    state: Callable[[Facts], str] = lambda facts: ""
    """What is done of it, beginning with OK or FAILED; empty if nothing is."""
    proofs: Callable[[Facts], tuple[NamedProof, ...]] = lambda facts: ()


def _chat(facts: Facts) -> Pairs:
    took = f"; loading took {duration(facts.load_s)} in this run" if facts.load_s is not None else ""
    return [("needs", f"the base model in memory, as in training{took}"), *_download(facts.base)]


def _merge(facts: Facts) -> Pairs:
    wanted = facts.merged_wanted_bytes
    pairs = [("needs", f"{_or(wanted, '2 bytes a weight')} of disk, {size(facts.disk_free_bytes)} are free")]
    free = f", {size(facts.ram_free_bytes)} are free" if facts.ram_free_bytes else ""
    pairs.append(("", f"up to {size(MERGE_RAM_BYTES)} of RAM{free}"))
    pairs += _download(facts.merge_base)
    if facts.quantized:
        named = "It is merged into its full model" if facts.full_model else "Its full model, which you name, is fetched"
        pairs.append(("", f"This run's base has quantized weights. {named}."))
    took = f" (loading took {duration(facts.load_s)} in this run)" if facts.load_s is not None else ""
    pairs.append(("time", f"that of writing {_or(wanted, 'it')}, and of loading it twice to compare answers{took}"))
    return pairs


def _gguf(facts: Facts) -> Pairs:
    smallest, largest = min(GGUF_BYTES, key=GGUF_BYTES.__getitem__), max(GGUF_BYTES, key=GGUF_BYTES.__getitem__)
    sizes = f"{kind_size(facts, smallest)} ({smallest}) to {kind_size(facts, largest)} ({largest})"
    pairs = [] if facts.merged_bytes else [("first", "merge: these files are made of the merged model")]
    pairs.append(("needs", f"{sizes} of disk a file, {size(facts.disk_free_bytes)} are free"))
    missing = f"not on this machine; you are asked before it is fetched ({gguf_tools.PACKAGE_SIZE})"
    pairs.append(("converter", missing if facts.converter_missing else "on this machine"))
    if not facts.has_quantizer:
        pairs.append(("", "q6_k, q5_k_m and q4_k_m also need llama-quantize, which is not here: you get the bf16 file "
                      "and the command"))  # fmt: skip
    return pairs


def _push(facts: Facts) -> Pairs:
    parts = [f"{title} {amount(facts.pushable[what])}" for what, title, _ in PUSHED if what in facts.pushable]
    return [
        ("uploads", ", or ".join(parts) + "; each with a model card made of the run"),
        ("needs", "a token that may write: the one of hf auth login or HF_TOKEN, else you are asked for one"),
        ("seen by", "only you, unless you say public; name and visibility are asked first"),
        *([("pushed", f"{facts.pushed.repo}: {facts.pushed.url or ''}")] if facts.pushed else []),
    ]


def _handoff(facts: Facts) -> Pairs:
    return [
        ("for", ", ".join(target for target, _ in TARGETS)),
        ("leaves", "a folder with all that it takes, the rows too, and says what to do with it"),
        *[("made", path) for path in facts.handed_off],
    ]


def _zip(facts: Facts) -> Pairs:
    return [
        ("needs", f"{size(facts.adapter_bytes)} of disk, {size(facts.disk_free_bytes)} are free"),
        ("leaves", "one file beside the run, and the scp command that fetches it"),
        *([("fetch", facts.fetch), ("", "(to be typed on your own computer)")] if facts.fetch else []),
    ]


def _files(facts: Facts) -> Pairs:
    return [("folder", str(facts.run.path)), *facts.places]


def _proven(proofs: tuple[NamedProof, ...], done: bool) -> str:
    """Passed, failed or only there."""
    if failed := [proof.name for proof in proofs if not proof.passed]:
        return f"FAILED {failed[0]}" if len(proofs) > 1 else "FAILED its proof"
    return "OK, proven" if proofs else "OK, there" if done else ""


def _pushed(facts: Facts) -> str:
    if not facts.pushed:
        return ""
    return f"OK, {'private' if facts.pushed.private else 'PUBLIC'}"


WAYS = (
    Way("chat", "Try it", "Ask it and its base the same, side by side", _chat),
    Way(
        "merge",
        "Merge",
        "Adapter and model as one ordinary model folder",
        _merge,
        lambda facts: _proven(facts.merge_proofs, bool(facts.merged_bytes)),
        lambda facts: facts.merge_proofs,
    ),
    Way(
        "gguf",
        "GGUF",
        "One file each for llama.cpp and Ollama",
        _gguf,
        lambda facts: _proven(facts.gguf_proofs, bool(facts.gguf_bytes)),
        lambda facts: facts.gguf_proofs,
    ),
    Way("push", "Push", "Upload it to the Hugging Face Hub", _push, _pushed),
    Way(
        "handoff",
        "Hand off",
        "Files that train or serve it elsewhere",
        _handoff,
        lambda facts: f"OK, {len(facts.handed_off)} made" if facts.handed_off else "",
    ),
    Way(
        "zip",
        "Zip",
        "One file to fetch to your own computer",
        _zip,
        lambda facts: "OK, there" if facts.fetch else "",
    ),
    Way("files", "Files", "Where everything lies", _files),
)


def kind_size(facts: Facts, kind: str) -> str:
    """How large a GGUF file of a kind gets."""
    return size(facts.params * GGUF_BYTES[kind]) if facts.params else UNKNOWN


def advice(proof: NamedProof) -> str:
    """What to do after a proof that failed."""
    if proof.name == "merged":
        return "Use the adapter as it is, or merge once more. The failed one is in merged.failed; delete it when seen."
    return "Use the merged model, or make another kind. The failed file is kept as NAME.gguf.failed."


def amount(uploads: Sequence[Upload]) -> str:
    """How much, in how many files; and how many branches if it goes to several."""
    files, bytes_ = sum(len(each.sizes) for each in uploads), sum(each.bytes for each in uploads)
    branches = f" on {len(uploads)} branches" if len(uploads) > 1 else ""
    return f"{size(bytes_)} in {files} file{'' if files == 1 else 's'}{branches}"


def fetched(download: Download) -> str:
    """What must be downloaded of a model before it can be read, in words."""
    if download.bytes == 0:
        return f"nothing, {download.model_id} is on this machine"
    if download.bytes:
        return f"{size(download.bytes)} first: {download.model_id}, kept in the Hub's cache"
    if download.why_unknown:
        return f"{download.model_id}; how much that is can't be told. {download.why_unknown}"
    return f"{download.model_id}; asking the Hub how much that is ..."


def _download(download: Download | None) -> Pairs:
    return [("download", fetched(download))] if download else []


def _or(size_bytes: float | None, unknown: str) -> str:
    return unknown if size_bytes is None else size(size_bytes)
