"""A merged model as GGUF files for llama.cpp and Ollama; each is proven before it lies in gguf/."""

import shlex
import shutil
import time
from pathlib import Path
from typing import Any

import orjson

from fitune.core.deliver import ExportRequest, Proof, gguf_tools, requests, staging_folder
from fitune.core.errors import UserError
from fitune.core.files import write_atomically
from fitune.core.memory import GGUF_BYTES
from fitune.core.runs import EventLog, Finished, Phase, Run, Started, Warned
from fitune.core.units import GIB
from fitune.core.worker.gguf import convert, llama_cpp, modelfile
from fitune.core.worker.gguf import proof as gguf_proof
from fitune.core.worker.memory_use import MemoryMeter
from fitune.core.worker.merging import compare_answers
from fitune.core.worker.merging import proof as merged_proof
from fitune.core.worker.merging.tensors import slots_in
from fitune.core.worker.stops import eos_ids


def run(run: Run, log: EventLog, memory: MemoryMeter) -> None:
    """Make the kinds of file that export.json names, {"gguf": ["q8_0", ...]}, of merged/."""
    from transformers import AutoTokenizer

    began = time.monotonic()
    log.write(Started(backend="llama.cpp", device="cpu"))

    # 1. What to make of what, with what
    kinds = wanted(run)
    if not run.merged.is_dir():
        raise UserError(f"{run.name} is not merged yet.", f"First: fitune merge {run.name}")
    script, quantizer = gguf_tools.find_converter(run.path.parent.parent), gguf_tools.find_quantizer()
    made, later = plan(kinds, has_quantizer=quantizer is not None)
    weights = sum(slot.weights for slot in slots_in(run.merged).values())

    # 2. The files, written aside; each compared with the merged model, then put in its place
    folder = run.path / "gguf"
    with staging_folder(folder) as aside:
        require_room(run, made, weights)  # what a killed export left is gone by now
        for kind in made:
            if run.stop.exists():
                return log.write(Finished(stopped=True, elapsed_s=time.monotonic() - began))
            log.write(Phase(name="convert", kind=kind, bytes=round(weights * GGUF_BYTES[kind])))
            if kind in gguf_tools.CONVERTER_KINDS:
                convert.convert(script, run.merged, aside / file_name(run, kind), kind)
            else:
                assert quantizer
                convert.quantize(quantizer, aside / file_name(run, source_of(made)), aside / file_name(run, kind), kind)
        log.write(Phase(name="prove"))
        tokenizer = AutoTokenizer.from_pretrained(run.merged, trust_remote_code=run.recipe().model.trust_remote_code)
        proofs = prove(run, aside, [kind for kind in made if kind in kinds or later], tokenizer)
        folder.mkdir(exist_ok=True)
        for name, proof in proofs.items():
            settle(proof, aside / name, folder)
    refuse_failed(proofs, folder)

    # 3. What goes with them, and what is left to do
    names = list(proofs)
    first = file_name(run, kinds[0])
    write_modelfile(run, first if first in names else names[0], tokenizer, log)
    commands = [shlex.join(next_command(run, source_of(made), kind)) for kind in later]
    if commands:
        message = f"llama-quantize is not on this machine. Where it is: {'; '.join(commands)}"
        log.write(Warned(kind="quantizer", message=message))
    log.write(
        Finished(
            gguf="gguf",
            files=len(names),
            names=tuple(names),
            bytes=sum((folder / name).stat().st_size for name in names),
            next=tuple(commands),
            elapsed_s=time.monotonic() - began,
            proofs=tuple(proof.to_json() for proof in proofs.values()),
        )
    )
    return None


def wanted(run: Run) -> list[str]:
    """The kinds of export.json. Raises UserError if it won't do."""
    path = run.path / "export.json"
    try:
        kinds = list(dict.fromkeys(requests.read(ExportRequest, path).gguf))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} can't be read ({error}).", f"Start it: fitune export {run.name} --gguf q8_0") from None
    if not kinds or not set(kinds) <= GGUF_BYTES.keys():
        raise UserError(f"{path} should name some of {', '.join(GGUF_BYTES)}.")
    return kinds


def plan(kinds: list[str], has_quantizer: bool) -> tuple[list[str], list[str]]:
    """(what is made here, in order, a 16-bit file first where others are made of it; what is left to do by hand)."""
    converted = [kind for kind in kinds if kind in gguf_tools.CONVERTER_KINDS]
    mixed = [kind for kind in kinds if kind not in gguf_tools.CONVERTER_KINDS]
    if mixed and not {"f16", "bf16"} & set(converted):
        converted.insert(0, "bf16")
    return (converted + mixed, []) if has_quantizer else (converted, mixed)


def source_of(made: list[str]) -> str:
    """The 16-bit kind that smaller files are made of."""
    return "bf16" if "bf16" in made else "f16"


def file_name(run: Run, kind: str) -> str:
    """As people name such files: RUN-Q8_0.gguf."""
    return f"{run.name}-{kind.upper()}.gguf"


def next_command(run: Run, source: str, kind: str) -> list[str]:
    """What makes a kind of file by hand."""
    folder = run.path / "gguf"
    return convert.quantize_command(folder / file_name(run, source), folder / file_name(run, kind), kind)


def require_room(run: Run, made: list[str], weights: int) -> None:
    """Raise UserError if the disk can't hold all files at once."""
    needed_bytes = round(sum(weights * GGUF_BYTES[kind] for kind in made))
    free_bytes = shutil.disk_usage(run.path).free
    if free_bytes < needed_bytes:
        raise UserError(
            f"These files need {needed_bytes / GIB:.1f} GiB of disk, and {run.path} has "
            f"{free_bytes / GIB:.1f} GiB free.",
            "Free some, for instance older runs' checkpoints.",
        )


def prove(run: Run, aside: Path, kinds: list[str], tokenizer: Any) -> dict[str, Proof]:
    """The proof of each file by its name. The merged model is let go before llama.cpp loads one."""
    probes, told = compare_answers.probes(run.recipe(), tokenizer)
    stops = sorted(eos_ids(run.merged))
    expected = merged_proof.answers_of_merged(run, probes) if llama_cpp.installed() else None
    proofs = {}
    for kind in kinds:
        file = aside / file_name(run, kind)
        proofs[file.name] = gguf_proof.prove(file, kind, run.merged, tokenizer, stops, probes, expected)
        proofs[file.name].numbers["prompts_are"] = told
    return proofs


def settle(proof: Proof, file: Path, folder: Path) -> None:
    """Move a file into its folder, with NAME.proof.json beside it; one that failed is NAME.failed from now on."""
    name = f"{file.name}.failed" if proof.failed else file.name
    write_atomically(folder / f"{name}.proof.json", orjson.dumps(proof.to_json(), option=orjson.OPT_INDENT_2))
    file.replace(folder / name)


def refuse_failed(proofs: dict[str, Proof], folder: Path) -> None:
    """Raise UserError if a file did not pass; it lies in its folder as NAME.failed."""
    for name, proof in proofs.items():
        if proof.failed:
            worst = proof.failed[0]
            raise UserError(
                f"{name} failed its proof. {worst.check}: expected {worst.expected}; got {worst.got}.",
                f"It is kept as {folder / name}.failed. The merged model is proven: use that, or another kind of file.",
            )


def write_modelfile(run: Run, name: str, tokenizer: Any, log: EventLog) -> None:
    """What `ollama create` reads, beside the file of that name; a warning where it can't hold the chat template."""
    text, said = modelfile.modelfile(name, tokenizer, sorted(eos_ids(run.merged)))
    write_atomically(run.path / "gguf" / "Modelfile", text.encode())
    if not said:
        message = (
            "The chat template can't be said in Ollama's language: it will go by the one in the file, which it knows "
            "for common models only. Compare an answer before you rely on it."
        )
        log.write(Warned(kind="modelfile", message=message))
