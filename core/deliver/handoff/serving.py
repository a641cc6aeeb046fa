"""The trained model behind an interface: vLLM for many requests, Ollama on a desk."""

import re
from collections.abc import Sequence

from fitune.core.deliver.handoff.job import Files, Job, is_folder, trained
from fitune.core.deliver.handoff.quoting import commented, plain_name, quoted
from fitune.core.errors import UserError
from fitune.core.recipe import MOVES_THE_BASE
from fitune.core.runs import Run

VLLM = "0.33.0"
VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What --max-lora-rank takes (vllm.config.lora.MaxLoRARanks)."""
TEMPLATE = "No TEMPLATE stands here: Ollama then takes the chat template inside the GGUF file, the one of the training."


def vllm(jobs: Sequence[Job]) -> Files:
    """serve.sh: the adapters of some runs of one base model, or the merged model of one run if it has one.

    Raises UserError for runs that can't be served together, or without an adapter.
    """
    runs = [trained(job, "vllm") for job in jobs]
    if len(jobs) == 1 and runs[0].merged.is_dir():
        return {"serve.sh": _merged(jobs[0], runs[0])}
    _refuse_strangers(jobs)
    return {"serve.sh": _adapters(jobs, runs)}


def ollama(job: Job) -> Files:
    """Modelfile of the run's GGUF model, or else of its adapter on the base model. Raises UserError without either."""
    run = trained(job, "ollama")
    found = sorted(run.path.glob("gguf/*.gguf"))
    name = plain_name(job.name).lower()
    written = run.path / "gguf" / "Modelfile"
    lines = [
        f"{job.name} in Ollama. Needs ollama, and the files named here on the same machine:",
        f"  ollama create {name} -f Modelfile && ollama run {name}",
        *job.notes,
    ]
    if written.is_file():
        text = re.sub(r"(?m)^FROM \./", lambda _: f"FROM {written.parent}/", written.read_text(encoding="utf-8"))
        return {"Modelfile": commented(lines) + "\n" + text}
    if found:
        return {"Modelfile": commented([*lines, TEMPLATE]) + f"\nFROM {found[0]}\n"}
    merged = quoted(str(run.merged))
    lines += [
        "The GGUF file is not there yet. Make it first:",
        f"  fitune export {quoted(job.name)} --gguf q8_0",
        "or with the converter of llama.cpp, of the merged model:",
        f"  fitune merge {quoted(job.name)}",
        f"  python convert_hf_to_gguf.py {merged} --outtype q8_0 --outfile {name}-q8_0.gguf",
        "An adapter alone goes on a base model that Ollama has, of the same weights:",
        f"  python convert_lora_to_gguf.py {quoted(str(run.adapter))} --outfile {name}-lora.gguf",
        f"  and below: FROM the base model, then ADAPTER ./{name}-lora.gguf",
        TEMPLATE,
    ]
    return {"Modelfile": commented(lines) + f"\nFROM ./{name}-q8_0.gguf\n"}


def _merged(job: Job, run: Run) -> str:
    lines = [
        f"{job.name}, merged, behind an OpenAI-like interface on port 8000. Needs vllm {VLLM}.",
        'Asked as: {"model": "' + plain_name(job.name) + '", "messages": [...]}',
        "Its adapter on the base model instead, perhaps with others: move merged/ away, then hand off once more.",
    ]
    options = [f"--served-model-name {quoted(plain_name(job.name))}", *_trust(job)]
    return _command(lines, str(run.merged), options)


def _adapters(jobs: Sequence[Job], runs: Sequence[Run]) -> str:
    first = jobs[0]
    recipe = first.recipe
    names = [plain_name(job.name) for job in jobs]
    rank = max(map(_rank, jobs))
    lines = [
        f"{', '.join(names)} on {recipe.model.id}, behind an OpenAI-like interface on port 8000. Needs vllm {VLLM}.",
        "The model of a request chooses the adapter: " + ", ".join(names),
        "Further adapters of this base model: fitune handoff RUN RUN ... --to vllm",
        *first.environment()[: 0 if is_folder(recipe.model.id) else 1],
        *first.notes,
    ]
    if recipe.model.quant != "bf16":
        lines.append(
            f"Not carried over: model.quant = {recipe.model.quant}. vLLM reads the base at 16 bits; for 4 bits as in "
            "training add --quantization bitsandbytes."
        )
    modules = [f"{quoted(f'{name}={run.adapter}')}" for name, run in zip(names, runs, strict=True)]
    options = [
        "--enable-lora",
        f"--max-lora-rank {min(allowed for allowed in VLLM_RANKS if allowed >= rank)}",
        f"--max-loras {len(jobs)}",
        "--lora-modules " + " ".join(modules),
        *([] if is_folder(recipe.model.id) or not first.revision else [f"--revision {quoted(first.revision)}"]),
        *_trust(first),
    ]
    if (template := runs[0].adapter / "chat_template.jinja").is_file():
        options.append(f"--chat-template {quoted(str(template))}")
    return _command(lines, recipe.model.id, options)


def _command(lines: Sequence[str], model: str, options: Sequence[str]) -> str:
    command = " \\\n  ".join([f"exec vllm serve {quoted(model)}", *options])
    return f"#!/bin/sh\n{commented(lines)}\n{command}\n"


def _trust(job: Job) -> list[str]:
    """What lets vLLM run a model's own code, which a merged one has beside its weights, too."""
    return ["--trust-remote-code"] if job.recipe.model.trust_remote_code else []


def _rank(job: Job) -> int:
    """Of the adapter as it was saved: one that moved its base has twice the rank (core.worker.training.adapter)."""
    lora = job.recipe.lora
    return 2 * lora.r if lora.init in MOVES_THE_BASE else lora.r


def _refuse_strangers(jobs: Sequence[Job]) -> None:
    """Raise UserError for adapters that one server can't hold."""
    bases = {(job.recipe.model.id, job.revision) for job in jobs}
    if len(bases) > 1:
        raise UserError(
            f"These runs have {len(bases)} base models: {', '.join(sorted({model for model, _ in bases}))}.",
            "One vLLM serves adapters of one base model; hand them off one by one.",
        )
    if len({plain_name(job.name) for job in jobs}) < len(jobs):
        raise UserError("One run is named twice.", "Name each run once.")
    for job in jobs:
        if job.recipe.lora.dora or job.recipe.lora.bias != "none":
            what = "DoRA" if job.recipe.lora.dora else "trained biases"
            raise UserError(f"vLLM can't serve an adapter with {what}.", f"Merge it first: fitune merge {job.name}")
        if _rank(job) > VLLM_RANKS[-1]:
            raise UserError(
                f"vLLM serves adapters up to rank {VLLM_RANKS[-1]}.", f"Merge it first: fitune merge {job.name}"
            )
