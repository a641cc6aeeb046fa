"""The section of a model card that tells how to use the model without fitune."""

import json
import re
import shlex
from pathlib import Path

from safetensors import SafetensorError, safe_open

from fitune.core.deliver import UploadKind
from fitune.core.deliver.handoff.quoting import plain_name
from fitune.core.deliver.handoff.spec import TrainingSpec
from fitune.core.errors import UserError
from fitune.core.runs import Run
from fitune.core.worker.hub.card_names import NAME_CHARS, is_hub_id, public_name

PYTHON_PACKAGES: dict[UploadKind, tuple[str, ...]] = {
    "adapter": ("torch", "transformers", "peft"),
    "merged": ("torch", "transformers"),
    "gguf": (),
    "checkpoints": ("torch", "transformers", "peft"),
}
"""Packages that load it in Python."""


def usage(run: Run, spec: TrainingSpec, repo: str, what: UploadKind, branch: str | None) -> str:
    """The commands and code that use the model without fitune."""
    if what == "gguf":
        lines = [f"hf download {shlex.quote(repo)} --local-dir model    # of the package huggingface_hub"]
        if (run.path / "gguf" / "Modelfile").is_file():
            lines += [f"cd model && ollama create {plain_name(spec.name).lower()} -f Modelfile"]
        if spec.served_options:
            asked = shlex.quote(json.dumps(spec.served_options))
            lines += [f"llama-server -m model/FILE.gguf --jinja --chat-template-kwargs {asked}    # as in the training"]
        return "## Use it\n\n```sh\n" + "\n".join(lines) + "\n```"
    model = spec.recipe.model
    code_allowed = ", trust_remote_code=True" if model.trust_remote_code else ""
    source = _literal(repo) + (f", revision={branch!r}" if branch else "")
    kind = auto_class(run)
    # In the dtype of the weights on disk: 4 bits in training only saved memory.
    if what == "merged":
        load = [f'model = {kind}.from_pretrained({source}, dtype="auto"{code_allowed})']
    else:
        at = f", revision={_literal(spec.revision)}" if spec.revision else ""
        elsewhere = "" if is_hub_id(model.id) else "  # a folder that is not on the Hub"
        base = f'{_literal(public_name(model.id))}{at}, dtype="auto"{code_allowed}'
        load = [
            f"base = {kind}.from_pretrained({base}){elsewhere}",
            f"model = PeftModel.from_pretrained(base, {source})",
        ]
    lines = [
        *([] if what == "merged" else ["from peft import PeftModel"]),
        f"from transformers import {kind}, AutoTokenizer",
        "",
        *load,
        f"tokenizer = AutoTokenizer.from_pretrained({source}{code_allowed})  # with the chat template of the training",
    ]
    if spec.served_options:
        asked = "".join(f", {name}={value!r}" for name, value in spec.served_options.items())
        lines += [
            'messages = [{"role": "user", "content": "..."}]',
            f"prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True{asked})  # as when trained",
        ]
    packages = [package for package in packages_of(spec) if package.partition("==")[0] in PYTHON_PACKAGES[what]]
    return (
        f"## Use it\n\n```sh\npip install {' '.join(map(shlex.quote, packages))}\n```\n\n"
        "```python\n" + "\n".join(lines) + "\n```"
    )


def auto_class(run: Run) -> str:
    """The class of transformers that loads the model as it was trained. The text model of one that also sees is a part
    of it, and the adapter's tensors are named so. Raises UserError for a damaged file."""
    folders = (run.adapter, run.newest_checkpoint())
    files = [folder / "adapter_model.safetensors" for folder in folders if folder]
    file = next(filter(Path.is_file, files), None)
    if file is None:
        return "AutoModelForCausalLM"
    try:
        with safe_open(file, "numpy") as tensors:
            names = list(tensors.keys())
    except SafetensorError as error:
        raise UserError(f"{file} is damaged: {error}.", f"Make it again: fitune resume {run.name}") from None
    sees = any(re.search(r"\.(language|text)_model\.", name) for name in names)
    return "AutoModelForImageTextToText" if sees else "AutoModelForCausalLM"


def _literal(text: str) -> str:
    """The text as a Python string literal in ASCII."""
    return ascii(text[:NAME_CHARS])


def packages_of(spec: TrainingSpec) -> list[str]:
    """The packages of the training with their versions, as far as they can be printed."""
    return [package for package in spec.packages(spec.backend) if package.isprintable()]
