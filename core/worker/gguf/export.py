"""The export job: GGUF files from the merged model for llama.cpp and Ollama, each proven before it goes to gguf/."""

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
from fitune.core.worker.chats.stop_tokens import eos_ids
from fitune.core.worker.chats.template import ChatTemplate, PromptOptions, read
from fitune.core.worker.gguf import convert, modelfile, run_in_llama_cpp
from fitune.core.worker.gguf import proof as gguf_proof
from fitune.core.worker.memory_use import MemoryMeter
from fitune.core.worker.merging import compare_answers
from fitune.core.worker.merging import proof as merged_proof
from fitune.core.worker.merging.tensors import locate_tensors


def run(run: Run, log: EventLog, memory: MemoryMeter) -> None:
    """Make the kinds of file that export.json names, {"gguf": ["q8_0", ...]}, from merged/."""
    from transformers import AutoTokenizer

    started_s = time.monotonic()
    log.write(Started(backend="llama.cpp", device="cpu"))

    # 1. The kinds to make, and the tools for it
    kinds = read_request(run)
    if not run.merged.is_dir():
        raise UserError(f"{run.name} is not merged yet.", f"First: fitune merge {run.name}")
    script, quantizer = gguf_tools.find_converter(run.path.parent.parent), gguf_tools.find_quantizer()
    made_kinds, manual_kinds = plan_export(kinds, has_quantizer=quantizer is not None)
    weights = sum(location.weights for location in locate_tensors(run.merged).values())

    warn_of_what_is_left_out(run, log)

    # 2. The files: made in a staging folder, compared with the merged model, then moved to gguf/
    folder = run.path / "gguf"
    with staging_folder(folder) as staging:
        require_room(run, made_kinds, weights)  # after the leftovers of a killed export are removed
        for kind in made_kinds:
            if run.stop.exists():
                return log.write(Finished(stopped=True, elapsed_s=time.monotonic() - started_s))
            log.write(Phase(name="convert", kind=kind, bytes=round(weights * GGUF_BYTES[kind])))
            if kind in gguf_tools.CONVERTER_KINDS:
                convert.convert(script, run.merged, staging / file_name(run, kind), kind)
            else:
                assert quantizer
                convert.quantize(
                    quantizer, staging / file_name(run, source_of(made_kinds)), staging / file_name(run, kind), kind
                )
        log.write(Phase(name="prove"))
        tokenizer = AutoTokenizer.from_pretrained(run.merged, trust_remote_code=run.recipe().model.trust_remote_code)
        proofs = prove(run, staging, [kind for kind in made_kinds if kind in kinds or manual_kinds], tokenizer)
        folder.mkdir(exist_ok=True)
        for name, proof in proofs.items():
            keep(proof, staging / name, folder)
    refuse_failed(proofs, folder)

    # 3. The Modelfile, and the commands for kinds that were not made
    names = list(proofs)
    wanted_file = file_name(run, kinds[0])
    write_modelfile(run, wanted_file if wanted_file in names else names[0], tokenizer, log)
    commands = [shlex.join(manual_command(run, source_of(made_kinds), kind)) for kind in manual_kinds]
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
            elapsed_s=time.monotonic() - started_s,
            proofs=tuple(proof.to_json() for proof in proofs.values()),
        )
    )
    return None


def warn_of_what_is_left_out(run: Run, log: EventLog) -> None:
    """Warn if the model also sees or hears: the converter writes its text part alone."""
    config = orjson.loads((run.merged / "config.json").read_bytes())
    if config.get("vision_config") or config.get("audio_config"):
        message = (
            "The files hold the part of the model that reads and writes text. To see or hear, llama.cpp wants a second "
            "file, which its converter makes of the merged model: convert_hf_to_gguf.py --mmproj"
        )
        log.write(Warned(kind="text_part", message=message))


def read_request(run: Run) -> list[str]:
    """The kinds in export.json. Raises UserError if it is not valid."""
    path = run.path / "export.json"
    try:
        kinds = list(dict.fromkeys(requests.read(ExportRequest, path).gguf))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} can't be read ({error}).", f"Start it: fitune export {run.name} --gguf q8_0") from None
    if not kinds or not set(kinds) <= GGUF_BYTES.keys():
        raise UserError(f"{path} should name some of {', '.join(GGUF_BYTES)}.")
    return kinds


def plan_export(kinds: list[str], has_quantizer: bool) -> tuple[list[str], list[str]]:
    """(kinds that are made here, in order, a 16-bit file first if others are made from it; kinds to make by hand)."""
    converted = [kind for kind in kinds if kind in gguf_tools.CONVERTER_KINDS]
    quantized = [kind for kind in kinds if kind not in gguf_tools.CONVERTER_KINDS]
    if quantized and not {"f16", "bf16"} & set(converted):
        converted.insert(0, "bf16")
    return (converted + quantized, []) if has_quantizer else (converted, quantized)


def source_of(kinds: list[str]) -> str:
    """The 16-bit kind that smaller files are made from."""
    return "bf16" if "bf16" in kinds else "f16"


def file_name(run: Run, kind: str) -> str:
    """The usual name of such a file: RUN-Q8_0.gguf."""
    return f"{run.name}-{kind.upper()}.gguf"


def manual_command(run: Run, source: str, kind: str) -> list[str]:
    """The command that makes a kind of file by hand."""
    folder = run.path / "gguf"
    return convert.quantize_command(folder / file_name(run, source), folder / file_name(run, kind), kind)


def require_room(run: Run, kinds: list[str], weights: int) -> None:
    """Raise UserError if the disk can't hold all files at once."""
    needed_bytes = round(sum(weights * GGUF_BYTES[kind] for kind in kinds))
    free_bytes = shutil.disk_usage(run.path).free
    if free_bytes < needed_bytes:
        raise UserError(
            f"These files need {needed_bytes / GIB:.1f} GiB of disk, and {run.path} has "
            f"{free_bytes / GIB:.1f} GiB free.",
            "Free some, for example older runs' checkpoints.",
        )


def prove(run: Run, staging: Path, kinds: list[str], tokenizer: Any) -> dict[str, Proof]:
    """The proof of each file by its name. The merged model is freed before llama.cpp loads a file."""
    probes, probe_source = compare_answers.probes(run.recipe(), tokenizer)
    stops, served = sorted(eos_ids(run.merged)), _template(run, tokenizer).served_options
    expected = merged_proof.answers_of_merged(run, probes) if run_in_llama_cpp.installed() else None
    proofs = {}
    for kind in kinds:
        file = staging / file_name(run, kind)
        proofs[file.name] = gguf_proof.prove(file, kind, run.merged, tokenizer, stops, probes, expected, served)
        proofs[file.name].numbers["prompts_are"] = probe_source
    return proofs


def _template(run: Run, tokenizer: Any) -> ChatTemplate:
    data = run.recipe().data
    return read(tokenizer, PromptOptions(data.thinking, data.template_options))


def keep(proof: Proof, file: Path, folder: Path) -> None:
    """Move a file into its folder, with NAME.proof.json beside it; one that failed is renamed to NAME.failed."""
    name = f"{file.name}.failed" if proof.failed else file.name
    write_atomically(folder / f"{name}.proof.json", orjson.dumps(proof.to_json(), option=orjson.OPT_INDENT_2))
    file.replace(folder / name)


def refuse_failed(proofs: dict[str, Proof], folder: Path) -> None:
    """Raise UserError if a file did not pass; it is in its folder as NAME.failed."""
    for name, proof in proofs.items():
        if proof.failed:
            failed = proof.failed[0]
            raise UserError(
                f"{name} failed its proof. {failed.check}: expected {failed.expected}; got {failed.got}.",
                f"It is kept as {folder / name}.failed. The merged model is proven: use that, or another kind of file.",
            )


def write_modelfile(run: Run, name: str, tokenizer: Any, log: EventLog) -> None:
    """Write the Modelfile for `ollama create`, beside the file of that name; log a warning if it lacks the template."""
    options = _template(run, tokenizer).options
    text, has_template = modelfile.modelfile(name, tokenizer, sorted(eos_ids(run.merged)), options)
    write_atomically(run.path / "gguf" / "Modelfile", text.encode())
    for message in modelfile.warnings(tokenizer, has_template, options):
        log.write(Warned(kind="modelfile", message=message))
