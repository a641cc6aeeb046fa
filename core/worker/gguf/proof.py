"""The proof of a GGUF file: its header, its weights, and its answers in llama.cpp compared with the merged model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fitune.core.deliver import Proof, ProofLimits
from fitune.core.errors import UserError
from fitune.core.worker.gguf import run_in_llama_cpp
from fitune.core.worker.gguf.weights import check_weights
from fitune.core.worker.merging.compare_answers import Answers, Probe, compare

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
LIMITS = {
    "f16": ProofLimits(kl=0.002, drift_share=0, top1=0.97),
    "bf16": ProofLimits(kl=0.002, drift_share=0, top1=0.97),
    "q8_0": ProofLimits(kl=0.01, drift_share=0, top1=0.93),
    "q6_k": ProofLimits(kl=0.02, drift_share=0, top1=0.90),
    "q5_k_m": ProofLimits(kl=0.25, drift_share=0, top1=0.75),
    "q4_k_m": ProofLimits(kl=0.25, drift_share=0, top1=0.75),
}
"""About three times the loss of SmolLM2-135M, tuned for 16 steps, on 253 tokens of held-out answers: 8e-6, 6e-5, 0.003,
0.006, 0.085 and 0.046 nats; 100, 99.6, 97.2, 96.0, 87.4 and 92.1 % of the likeliest tokens. So small a model loses more
than larger ones; a wrong file is off by whole nats."""
SPELT_OTHERWISE = 0.01
"""Share of plain tokens that may differ: llama.cpp's converter writes a few differently (InternLM's "\\x00")."""


def prove(
    file: Path,
    kind: str,
    merged: Path,
    tokenizer: Any,
    stops: list[int],
    probes: list[Probe],
    expected: Answers | None,
    served: Mapping[str, Any] | None = None,
) -> Proof:
    """Compare a GGUF file with the merged model it was made from.

    merged: its folder. expected: its answers to the probes; None if it was too large to load. served: the options for
    the chat template with which the model is to be asked.
    """
    proof = Proof(numbers={"file": file.name, "bytes": file.stat().st_size, "prompts": len(probes)})
    reader = opened(proof, file)
    if reader is None:
        return proof
    check_header(proof, reader, kind, tokenizer, stops)
    check_vocabulary(proof, reader, tokenizer)
    check_weights(proof, reader, merged)
    if proof.failed:
        return proof
    if not run_in_llama_cpp.installed():
        package = f"{run_in_llama_cpp.PACKAGE}=={run_in_llama_cpp.VERSION}"
        why = f"not checked: llama.cpp is not installed here (uv pip install {package})"
        proof.add("loads in llama.cpp", "yes", why, None)
        return proof
    try:
        server = run_in_llama_cpp.load(file)
        proof.add("loads in llama.cpp", "yes", "yes", True)
        check_text(proof, server, tokenizer, probes, served or {})
        if expected:
            compare(proof, expected, run_in_llama_cpp.answers_of(server, probes, expected), 0.0, LIMITS[kind])
            # llama.cpp returns only the likeliest tokens' logits, and the drift was measured by the merge's proof.
            proof.numbers = {
                key: number for key, number in proof.numbers.items() if key not in ("logit_max", "drift_nats")
            }
        else:
            proof.add("its answers", "as the merged model's", "not checked: that is too large for this machine", None)
    except UserError as error:
        proof.add("works in llama.cpp", "yes", error.message, False)
    return proof


def opened(proof: Proof, file: Path) -> Any | None:
    """Open the file as a gguf.GGUFReader, which maps it into memory; None, and a failed check, if it is not whole."""
    from gguf import GGUFReader

    try:
        reader = GGUFReader(file)
    except (ValueError, OSError, LookupError) as error:
        proof.add("file", "whole", f"can't be read: {error}", False)
        return None
    proof.add("file", "whole", f"{len(reader.tensors)} tensors", bool(reader.tensors))
    return reader


def check_header(proof: Proof, reader: Any, kind: str, tokenizer: Any, stops: list[int]) -> None:
    """Check the header: type of weights, and the training's chat template and end-of-answer token."""
    from gguf import LlamaFileType

    types = {member.value: member.name.removeprefix("MOSTLY_").lower() for member in LlamaFileType}
    stored = types.get(_field(reader, "general.file_type"), "no type")
    proof.add("type of weights", kind, stored, stored == kind)
    template = tokenizer.get_chat_template() if tokenizer.chat_template else None  # the default one of several
    same = _field(reader, "tokenizer.chat_template") == template
    proof.add("chat template", "the one of the training", "the same" if same else "another", same)
    expected = ", ".join(tokenizer.decode([token]) for token in stops)
    end = _field(reader, "tokenizer.ggml.eos_token_id")
    got = "none" if end is None else tokenizer.decode([end])
    proof.add("marks that end an answer", f"one of {expected}", got, end in stops)


def check_vocabulary(proof: Proof, reader: Any, tokenizer: Any) -> None:
    """Check that each plain token has its id: shifted ids would give as many tokens of a text, but others."""
    from gguf import TokenType

    entries = zip(*(_field(reader, f"tokenizer.ggml.{name}") or () for name in ("tokens", "token_type")), strict=False)
    plain = {number: token for number, (token, kind) in enumerate(entries) if kind == TokenType.NORMAL}
    numbers = tokenizer.get_vocab()
    wrong = [token for number, token in plain.items() if numbers.get(token) != number]
    got = f"{len(wrong)} of {len(plain)} are others, such as {wrong[0]!a}" if wrong else str(len(plain))
    is_right = bool(plain) and len(wrong) <= SPELT_OTHERWISE * len(plain)
    proof.add("vocabulary", "the tokenizer's plain tokens in their places", got, is_right)


def check_text(proof: Proof, server: Any, tokenizer: Any, probes: list[Probe], served: Mapping[str, Any]) -> None:
    """Check that llama.cpp makes as many tokens as the tokenizer, of texts and of a chat by the file's template."""
    bos = tokenizer.bos_token or ""
    texts = [tokenizer.decode(probe.ids).removeprefix(bos) for probe in probes]
    expected = [len(tokenizer(text)["input_ids"]) for text in texts]
    got = [run_in_llama_cpp.count_tokens(server, text) for text in texts]
    proof.add("tokenizer", f"{sum(expected)} tokens of {len(texts)} rows", str(sum(got)), got == expected)
    chat = tokenizer.apply_chat_template(QUESTION, add_generation_prompt=True, return_dict=True, **served)["input_ids"]
    chat_got = run_in_llama_cpp.count_chat_tokens(server, QUESTION, served)
    proof.add("chat in llama.cpp", f"{len(chat)} tokens of a question", str(chat_got), chat_got == len(chat))


def _field(reader: Any, name: str) -> Any:
    """The value of a header field; None if the file lacks it."""
    field = reader.get_field(name)
    return field.contents() if field else None
