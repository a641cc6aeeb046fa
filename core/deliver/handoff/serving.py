"""Serve the trained model: vLLM on a server, Ollama on a desktop."""

import json
import re
from collections.abc import Sequence

from fitune.core.deliver.handoff.quoting import commented, plain_name, quoted
from fitune.core.deliver.handoff.spec import Files, TrainingSpec, is_folder, trained_run
from fitune.core.errors import UserError
from fitune.core.recipe import BEGINS_FILLED
from fitune.core.runs import Run

VLLM = "0.33.0"
VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Values of --max-lora-rank (vllm.config.lora.MaxLoRARanks)."""
TEMPLATE = "There is no TEMPLATE here: Ollama then uses the chat template of the GGUF file, the one of the training."


def vllm(specs: Sequence[TrainingSpec]) -> Files:
    """serve.sh for vLLM: the adapters of runs with one base model, or the merged model of one run if it has one.

    Raises UserError for runs that can't be served together, or without an adapter.
    """
    runs = [trained_run(spec, "vllm") for spec in specs]
    if len(specs) == 1 and runs[0].merged.is_dir():
        return {"serve.sh": _merged(specs[0], runs[0])}
    _require_compatible(specs)
    return {"serve.sh": _adapters(specs, runs)}


def ollama(spec: TrainingSpec) -> Files:
    """Modelfile of the run's GGUF file, or with the steps to make one. Raises UserError without an adapter."""
    run = trained_run(spec, "ollama")
    files = sorted(run.path.glob("gguf/*.gguf"))
    name = plain_name(spec.name).lower()
    modelfile = run.path / "gguf" / "Modelfile"
    lines = [
        f"{spec.name} in Ollama. Needs ollama, and the files named here on the same machine:",
        f"  ollama create {name} -f Modelfile && ollama run {name}",
        *([f'Answers without thinking: ask with "think": false ({spec.switch} = false).'] if spec.switch else []),
        *spec.notes,
    ]
    if modelfile.is_file():
        text = re.sub(r"(?m)^FROM \./", lambda _: f"FROM {modelfile.parent}/", modelfile.read_text(encoding="utf-8"))
        return {"Modelfile": commented(lines) + "\n" + text}
    if files:
        return {"Modelfile": commented([*lines, TEMPLATE]) + f"\nFROM {files[0]}\n"}
    merged = quoted(str(run.merged))
    lines += [
        "The GGUF file is not there yet. Make it first:",
        f"  fitune export {quoted(spec.name)} --gguf q8_0",
        "or with the converter of llama.cpp, of the merged model:",
        f"  fitune merge {quoted(spec.name)}",
        f"  python convert_hf_to_gguf.py {merged} --outtype q8_0 --outfile {name}-q8_0.gguf",
    ]
    if not _beyond_lora(spec):
        lines += [
            "An adapter alone works on a base model in Ollama with the same weights:",
            f"  python convert_lora_to_gguf.py {quoted(str(run.adapter))} --outfile {name}-lora.gguf",
            f"  and below: FROM the base model, then ADAPTER ./{name}-lora.gguf",
        ]
    lines.append(TEMPLATE)
    return {"Modelfile": commented(lines) + f"\nFROM ./{name}-q8_0.gguf\n"}


def _merged(spec: TrainingSpec, run: Run) -> str:
    lines = [
        f"{spec.name}, merged, behind an OpenAI-like interface on port 8000. Needs vllm {VLLM}.",
        'A request is: {"model": "' + plain_name(spec.name) + '", "messages": [...]}',
        "Its adapter on the base model instead, perhaps with others: move merged/ away, then hand off once more.",
    ]
    options = [f"--served-model-name {quoted(plain_name(spec.name))}", *_trust(spec), *_template_options(spec)]
    return _command(lines, str(run.merged), options)


def _adapters(specs: Sequence[TrainingSpec], runs: Sequence[Run]) -> str:
    first = specs[0]
    recipe = first.recipe
    names = [plain_name(spec.name) for spec in specs]
    rank = max(map(_rank, specs))
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
        f"--max-loras {len(specs)}",
        "--lora-modules " + " ".join(modules),
        *([] if is_folder(recipe.model.id) or not first.revision else [f"--revision {quoted(first.revision)}"]),
        *_trust(first),
        *_template_options(first),
    ]
    if (template := runs[0].adapter / "chat_template.jinja").is_file():
        options.append(f"--chat-template {quoted(str(template))}")
    return _command(lines, recipe.model.id, options)


def _command(lines: Sequence[str], model: str, options: Sequence[str]) -> str:
    command = " \\\n  ".join([f"exec vllm serve {quoted(model)}", *options])
    return f"#!/bin/sh\n{commented(lines)}\n{command}\n"


def _trust(spec: TrainingSpec) -> list[str]:
    """The option that lets vLLM run a model's own code, which a merged model's folder has, too."""
    return ["--trust-remote-code"] if spec.recipe.model.trust_remote_code else []


def _template_options(spec: TrainingSpec) -> list[str]:
    """The option of vLLM that asks as the training did."""
    served = spec.served_options
    return [f"--default-chat-template-kwargs {quoted(json.dumps(served))}"] if served else []


def _rank(spec: TrainingSpec) -> int:
    """The highest rank in the saved adapter: twice lora.r for an init that begins filled."""
    lora = spec.recipe.lora
    return 2 * lora.r if lora.init in BEGINS_FILLED else max(lora.r, *lora.rank_pattern.values(), 0)


def _beyond_lora(spec: TrainingSpec) -> str:
    """What an adapter holds beside the pairs of matrices that servers know; empty if nothing."""
    lora = spec.recipe.lora
    held = {
        "all weights of the model": spec.recipe.trains_all,
        "DoRA": lora.dora,
        "trained biases": lora.bias != "none",
        "an embedding or a head of its own": bool(lora.modules_to_save),
    }
    return next((name for name, is_there in held.items() if is_there), "")


def _require_compatible(specs: Sequence[TrainingSpec]) -> None:
    """Raise UserError for adapters that one server can't hold."""
    bases = {(spec.recipe.model.id, spec.revision) for spec in specs}
    if len(bases) > 1:
        raise UserError(
            f"These runs have {len(bases)} base models: {', '.join(sorted({model for model, _ in bases}))}.",
            "One vLLM serves adapters of one base model; hand them off one by one.",
        )
    if any(spec.served_options != specs[0].served_options for spec in specs):
        raise UserError(
            "These runs ask with other options of the chat template (data.thinking, data.template_options).",
            "One vLLM has one set of them; hand them off one by one.",
        )
    if len({plain_name(spec.name) for spec in specs}) < len(specs):
        raise UserError("One run is named twice.", "Name each run once.")
    for spec in specs:
        if more := _beyond_lora(spec):
            raise UserError(f"vLLM can't serve an adapter with {more}.", f"Merge it first: fitune merge {spec.name}")
        if _rank(spec) > VLLM_RANKS[-1]:
            raise UserError(
                f"vLLM serves adapters up to rank {VLLM_RANKS[-1]}.", f"Merge it first: fitune merge {spec.name}"
            )
