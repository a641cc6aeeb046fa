"""The model card: model, data, settings, losses, proof, and the steps to reproduce; only known facts.

Names and proofs are foreign text: each is written as code, on one line, without active Markdown or HTML.
"""

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from fitune.core import __version__, hub
from fitune.core.deliver import UploadKind, branch_of, proof, requests
from fitune.core.deliver.handoff.quoting import plain_name
from fitune.core.deliver.handoff.spec import TrainingSpec, from_run
from fitune.core.diagnose import redact
from fitune.core.errors import UserError
from fitune.core.recipe import MOVES_THE_BASE, Data, Deliver, Recipe
from fitune.core.recipe import Run as RunSettings
from fitune.core.recipe import load as recipe_file
from fitune.core.records import from_json, to_json
from fitune.core.runs import Finished, Run, RunState
from fitune.core.score import Forgetting, Verdict, probe, verdict
from fitune.core.worker.hub import loss_plot

KINDS: dict[UploadKind, tuple[str, str, str]] = {
    "adapter": ("A LoRA adapter for", "peft", "adapter"),
    "merged": ("A fine-tuned version of", "transformers", "finetune"),
    "gguf": ("GGUF files, for llama.cpp and Ollama, of a fine-tuned version of", "gguf", "finetune"),
    "checkpoints": ("A LoRA adapter for", "peft", "adapter"),
}
"""A description, and the Hub's names of the library that reads it and of its relation to the base model."""
PYTHON_PACKAGES: dict[UploadKind, tuple[str, ...]] = {
    "adapter": ("torch", "transformers", "peft"),
    "merged": ("torch", "transformers"),
    "gguf": (),
    "checkpoints": ("torch", "transformers", "peft"),
}
"""Packages that load it in Python."""
COMPARED = "Compared with the adapter on its base"
NAME_CHARS = 200
Rows = list[tuple[str, Any]]


def model_card(
    run: Run, repo: str, what: UploadKind, licence: hub.Licence | None = None, step: int | None = None
) -> str:
    """README.md for a push. Of paths on this machine only the last part is shown.

    repo: the repository with its owner. licence: of the base model. step: of a checkpoint. Raises UserError or BadInput
    if run.json can't be read.
    """
    spec, state = from_run(run), run.state()
    base = base_of(run, what)
    data = _sources(spec.recipe.data)
    parts = [
        _metadata(spec, what, base, licence),
        f"# {plain(spec.name)}",
        f"{KINDS[what][0]} {code(public_name(base))}, trained with fitune on {data}.",
        *([f"This branch holds the adapter as it was after step {step}."] if step is not None else []),
        *(plain(note) for note in spec.notes),
        _licence(licence, base),
        _use(run, spec, repo, what, None if step is None else branch_of(step)),
        "## Data\n\n" + _table([("", ""), *_data(spec.recipe, state)]),
        "## Settings\n\n" + _table([("", ""), *_settings(run, spec, state)]),
        *_score(state),
        *_losses(state),
        *(text for path in sorted((run.path / what).glob("*proof.json")) for text in _checks(path)),
        _reproduce(run, spec),
    ]
    return "\n\n".join(parts) + "\n"


def base_of(run: Run, what: UploadKind) -> str:
    """The id of the base model; for a merged model the one that it was merged into."""
    merged_into = requests.merge_base(run) if what in ("merged", "gguf") else None
    return merged_into or run.recipe().model.id


def public_name(name: str) -> str:
    """A Hub id unchanged, or the last part of a path on this machine."""
    return name if is_hub_id(name) else Path(name).name


def is_hub_id(name: str) -> bool:
    """True for a model or data set (perhaps with its subset) on the Hub: local paths in a run's recipe are absolute."""
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+(/[\w.-]+)?", name) is not None


def plain(text: str) -> str:
    """The text on one line, as code if it holds characters that are active in Markdown or HTML."""
    return code(text) if set(text) & set("<>&|*_`[]#~\\$!") or not text.isprintable() else text


def code(text: str) -> str:
    """The text as code on one line."""
    shown = "".join(char if char.isprintable() else " " for char in text)[:NAME_CHARS]
    return f"`{shown.replace('`', chr(39))}`"


def _metadata(spec: TrainingSpec, what: UploadKind, base: str, licence: hub.Licence | None) -> str:
    from huggingface_hub import ModelCardData

    _, library, relation = KINDS[what]
    on_hub = [each.source for each in spec.recipe.data.all_sources() if is_hub_id(each.source)]
    data = ModelCardData(
        base_model=base if is_hub_id(base) else None,
        base_model_relation=relation if is_hub_id(base) else None,
        datasets=["/".join(source.split("/")[:2]) for source in on_hub] or None,
        library_name=library,
        license=licence.key if licence else None,
        license_name=licence.name if licence else None,
        license_link=licence.link if licence else None,
        pipeline_tag="text-generation",
        tags=["fitune", "lora"],
    )
    return f"---\n{data.to_yaml()}\n---"


def _licence(licence: hub.Licence | None, base: str) -> str:
    if licence is None:
        return f"Licence: the licence of {code(public_name(base))} applies; fitune could not find out which it is."
    name = f"{plain(licence.name)} ({licence.key})" if licence.name else licence.key
    return f"Licence: {name}, as of {code(public_name(base))}."


def _use(run: Run, spec: TrainingSpec, repo: str, what: UploadKind, branch: str | None) -> str:
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
    packages = [package for package in _packages(spec) if package.partition("==")[0] in PYTHON_PACKAGES[what]]
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


def _packages(spec: TrainingSpec) -> list[str]:
    return [package for package in spec.packages(spec.backend) if package.isprintable()]


def _sources(data: Data) -> str:
    return ", ".join(code(public_name(part.source)) for part, _ in data.parts())


def _replay(data: Data) -> str:
    origin = code(public_name(data.replay_source)) if data.replay_source else "the base model's own answers"
    return f"{data.replay:.0%} of all, from {origin}"


def _data(recipe: Recipe, state: RunState) -> Rows:
    data, rows = recipe.data, state.phase.rows
    return [
        (
            "rows from",
            _sources(data) + (f", split {plain(data.split)}" if is_hub_id(data.source) else ""),
        ),
        *([("general rows", _replay(data))] if data.replay else []),
        *([("rows trained on", rows)] if rows is not None else []),
        ("held out", _held_out(data.eval_fraction)),
        ("learns to write", "the answers" if data.loss_on == "answers" else "all of a row"),
        *([("answers", "without thinking, behind the prompt that switches it off")] if state.phase.switch else []),
    ]


def _held_out(fraction: float | str) -> str:
    return "5 % of the rows, of few rows more" if isinstance(fraction, str) else f"{fraction:.3g} of the rows"


def _settings(run: Run, spec: TrainingSpec, state: RunState) -> Rows:
    model, lora, train = spec.recipe.model, spec.recipe.lora, spec.recipe.train
    layers = lora.target_modules if isinstance(lora.target_modules, str) else ", ".join(lora.target_modules)
    gpu, end = run.info().gpu, state.ends.get("train")
    steps, tokens = (end.steps, end.seen_tokens) if isinstance(end, Finished) else (None, None)
    return [
        ("base weights in training", model.quant),
        ("longest row", f"{model.max_seq_length} tokens"),
        ("LoRA rank, alpha, dropout", f"{lora.r}, {lora.alpha:g}, {lora.dropout:g}"),
        ("layers with an adapter", plain(layers)),
        ("rows a step", f"{train.micro_batch} x {train.grad_accum}"),
        ("learning rate", f"{train.lr:g}, {train.scheduler}, warm-up {train.warmup_ratio:g}"),
        ("optimizer", f"{train.optimizer}, weight decay {train.weight_decay:g}"),
        ("seed", train.seed),
        *([("trained on", plain(gpu.name))] if gpu and gpu.name else []),
        *[(name, number) for name, number in (("steps", steps), ("tokens seen", tokens)) if number],
    ]


def _losses(state: RunState) -> list[str]:
    train, held_out = state.loss.points, state.eval_loss.points
    if len(train) < 2:
        return []
    picture = "\n".join(loss_plot.drawn(train, held_out))
    rows = [
        (str(step), *("" if loss is None else f"{loss:.4g}" for loss in losses))
        for step, *losses in loss_plot.table(train, held_out)
    ]
    table = _table([("step", "training loss", "held-out loss"), *rows])
    note = "Training losses are means over the steps since the row above."
    return [f"## Losses\n\n```text\n{picture}\n```\n\n{table}\n\n{note}"]


def _score(state: RunState) -> list[str]:
    """The verdict on the held-out rows and what was forgotten; empty for a run that was not scored."""
    if state.score is None:
        return []
    said = verdict.sentence(from_json(Verdict, to_json(state.score)))
    forgot = f"\n\n{probe.sentence(from_json(Forgetting, to_json(state.forgot)))}" if state.forgot else ""
    return [f"## Is it better than its base?\n\n{said} Both answered the same rows, not trained on.{forgot}"]


def _checks(path: Path) -> list[str]:
    """The table of a passed proof; empty for a failed one, which is not pushed."""
    table = proof.read(path)
    if not table.passed:
        return []
    file = table.numbers.get("file")
    heading = f"{plain(str(file))}, compared with the merged model" if file else COMPARED
    answers = {True: "yes", False: "no", None: "not checked"}
    rows = [(plain(row.check), plain(row.expected), plain(row.got), answers[row.passed]) for row in table.checks]
    return [f"## {heading}\n\n" + _table([("check", "expected", "found", "passed"), *rows])]


def _reproduce(run: Run, spec: TrainingSpec) -> str:
    """The recipe and the commands that reproduce the training elsewhere, without paths or names of this machine."""
    recipe = spec.recipe
    portable = recipe.model_copy(
        update={
            "model": recipe.model.model_copy(update={"id": public_name(recipe.model.id), "revision": spec.revision}),
            "data": recipe.data.with_sources(public_name),
            "run": RunSettings(),
            "deliver": Deliver(),
        }
    )
    local = [each.source for each in recipe.data.all_sources() if not is_hub_id(each.source)]
    other_files = [f"the rows as {code(public_name(source))}" for source in local]
    other_files += [] if is_hub_id(recipe.model.id) else [f"the base model as {code(public_name(recipe.model.id))}"]
    python = run.info().versions.get("python")
    note = f"That is for fitune {__version__}, which runs in a checkout of its repository"
    note += f"; beside the recipe lie {' and '.join(other_files)}." if other_files else "."
    commands = ["uv run fitune train recipe.toml"]
    if recipe.lora.init not in MOVES_THE_BASE:
        note += " The second command writes a script that trains the same without it."
        commands += ["uv run fitune handoff recipe.toml --to script --out script"]
    packages = "\n".join([*([f"python {' '.join(python.split())}"] if python else []), *_packages(spec)])
    return (
        f"## Train it again\n\n`recipe.toml`:\n\n```toml\n{_printable(redact(recipe_file.to_toml(portable)))}```\n\n"
        f"{note}\n\n```sh\n{chr(10).join(commands)}\n```\n\n"
        f"It was trained with\n\n```text\n{_printable(packages)}\n```"
    )


def _printable(toml: str) -> str:
    """The text with an escape for each unprintable character; in TOML these occur in strings only."""
    return "".join(char if char.isprintable() or char == "\n" else f"\\U{ord(char):08x}" for char in toml)


def _table(rows: Sequence[tuple[Any, ...]]) -> str:
    """Rows as a Markdown table; the first is the header."""
    lines = ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
