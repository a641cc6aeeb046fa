"""The model card: what was trained, on what, how it went, and how to do it again; nothing that is not known.

Names and proofs come from elsewhere: each stands as code, on one line, without what Markdown or HTML would obey.
"""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from fitune.core import __version__, hub
from fitune.core.deliver import What, branch_of, proof
from fitune.core.deliver.handoff.job import Job, of_run
from fitune.core.deliver.handoff.quoting import plain_name
from fitune.core.diagnose import redact
from fitune.core.recipe import MOVES_THE_BASE, Deliver, Recipe
from fitune.core.recipe import Run as Place
from fitune.core.recipe import load as config
from fitune.core.runs import Run, RunState
from fitune.core.worker.hub import loss_plot

KINDS: dict[What, tuple[str, str, str]] = {
    "adapter": ("A LoRA adapter for", "peft", "adapter"),
    "merged": ("A fine-tuned version of", "transformers", "finetune"),
    "gguf": ("GGUF files, for llama.cpp and Ollama, of a fine-tuned version of", "gguf", "finetune"),
    "checkpoints": ("A LoRA adapter for", "peft", "adapter"),
}
"""What it is, the library that reads it, and how it relates to its base model, by the Hub's names."""
USED: dict[What, tuple[str, ...]] = {
    "adapter": ("torch", "transformers", "peft"),
    "merged": ("torch", "transformers"),
    "gguf": (),
    "checkpoints": ("torch", "transformers", "peft"),
}
"""What loads it in Python."""
COMPARED = "Compared with the adapter on its base"
NAME_CHARS = 200
Rows = list[tuple[str, Any]]


def model_card(run: Run, repo: str, what: What, licence: hub.Licence | None = None, step: int | None = None) -> str:
    """README.md for what is pushed. Of folders of this machine only their last part is told.

    repo: where to, with its owner. licence: of the base model. step: of a checkpoint. Raises UserError or BadInput if
    run.json can't be read.
    """
    job, state = of_run(run), run.state()
    base = base_of(run, what)
    data = code(public_name(job.recipe.data.source))
    parts = [
        _metadata(job, what, base, licence),
        f"# {plain(job.name)}",
        f"{KINDS[what][0]} {code(public_name(base))}, trained with fitune on {data}.",
        *([f"This branch holds the adapter as it was after step {step}."] if step is not None else []),
        *(plain(note) for note in job.notes),
        _licence(licence, base),
        _use(run, job, repo, what, None if step is None else branch_of(step)),
        "## Data\n\n" + _table([("", ""), *_data(job.recipe, state)]),
        "## Settings\n\n" + _table([("", ""), *_settings(run, job, state)]),
        *_losses(state),
        *(text for path in sorted((run.path / what).glob("*proof.json")) for text in _checks(path)),
        _again(run, job),
    ]
    return "\n\n".join(parts) + "\n"


def base_of(run: Run, what: What) -> str:
    """The model that was trained on; of a merged one the model that it was merged into, if that was another."""
    path = run.path / "merge.json"
    told = orjson.loads(path.read_bytes()).get("base") if what in ("merged", "gguf") and path.is_file() else None
    return str(told or run.recipe().model.id)


def public_name(name: str) -> str:
    """A Hub id as it is; of a path on this machine its last part."""
    return name if is_hub_id(name) else Path(name).name


def is_hub_id(name: str) -> bool:
    """Whether a model, or a data set and perhaps its subset, is one of the Hub's: a recipe's own paths are absolute."""
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+(/[\w.-]+)?", name) is not None


def plain(text: str) -> str:
    """The text on one line, as code where it holds what Markdown or HTML would take for its own."""
    return code(text) if set(text) & set("<>&|*_`[]#~\\$!") or not text.isprintable() else text


def code(text: str) -> str:
    """The text as code on one line."""
    shown = "".join(char if char.isprintable() else " " for char in text)[:NAME_CHARS]
    return f"`{shown.replace('`', chr(39))}`"


def _metadata(job: Job, what: What, base: str, licence: hub.Licence | None) -> str:
    from huggingface_hub import ModelCardData

    _, library, relation = KINDS[what]
    source = job.recipe.data.source
    data = ModelCardData(
        base_model=base if is_hub_id(base) else None,
        base_model_relation=relation if is_hub_id(base) else None,
        datasets=["/".join(source.split("/")[:2])] if is_hub_id(source) else None,
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
        return f"Licence: that of {code(public_name(base))} applies; what it is was not to be found out here."
    named = f"{plain(licence.name)} ({licence.key})" if licence.name else licence.key
    return f"Licence: {named}, as of {code(public_name(base))}."


def _use(run: Run, job: Job, repo: str, what: What, branch: str | None) -> str:
    """What a reader types who has this page and no fitune."""
    if what == "gguf":
        lines = [f"hf download {shlex.quote(repo)} --local-dir model    # of the package huggingface_hub"]
        if (run.path / "gguf" / "Modelfile").is_file():
            lines += [f"cd model && ollama create {plain_name(job.name).lower()} -f Modelfile"]
        return "## Use it\n\n```sh\n" + "\n".join(lines) + "\n```"
    model = job.recipe.model
    code_allowed = ", trust_remote_code=True" if model.trust_remote_code else ""
    here = _literal(repo) + (f", revision={branch!r}" if branch else "")
    # In the type of the weights on disk: that they were at 4 bits in training was a matter of memory.
    if what == "merged":
        load = [f'model = AutoModelForCausalLM.from_pretrained({here}, dtype="auto"{code_allowed})']
    else:
        at = f", revision={_literal(job.revision)}" if job.revision else ""
        elsewhere = "" if is_hub_id(model.id) else "  # a folder that is not on the Hub"
        base = f'{_literal(public_name(model.id))}{at}, dtype="auto"{code_allowed}'
        load = [
            f"base = AutoModelForCausalLM.from_pretrained({base}){elsewhere}",
            f"model = PeftModel.from_pretrained(base, {here})",
        ]
    lines = [
        *([] if what == "merged" else ["from peft import PeftModel"]),
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        *load,
        f"tokenizer = AutoTokenizer.from_pretrained({here}{code_allowed})  # with the chat template of the training",
    ]
    needed = [each for each in _packages(job) if each.partition("==")[0] in USED[what]]
    return (
        f"## Use it\n\n```sh\npip install {' '.join(map(shlex.quote, needed))}\n```\n\n"
        "```python\n" + "\n".join(lines) + "\n```"
    )


def _literal(text: str) -> str:
    """The text as a string of Python, and of ASCII alone."""
    return ascii(text[:NAME_CHARS])


def _packages(job: Job) -> list[str]:
    return [each for each in job.packages(job.backend) if each.isprintable()]


def _data(recipe: Recipe, state: RunState) -> Rows:
    data, rows = recipe.data, state.phase_data.get("rows")
    return [
        (
            "rows from",
            code(public_name(data.source)) + (f", split {plain(data.split)}" if is_hub_id(data.source) else ""),
        ),
        *([("rows trained on", rows)] if rows is not None else []),
        ("held out", f"at most {data.eval_fraction:.3g} of the rows"),
        ("learns to write", "the answers" if data.loss_on == "answers" else "all of a row"),
    ]


def _settings(run: Run, job: Job, state: RunState) -> Rows:
    model, lora, train = job.recipe.model, job.recipe.lora, job.recipe.train
    layers = lora.target_modules if isinstance(lora.target_modules, str) else ", ".join(lora.target_modules)
    card, end = (run.info().get("gpu") or {}).get("name"), state.ends.get("train")
    known = end.data if end else {}
    return [
        ("base weights in training", model.quant),
        ("longest row", f"{model.max_seq_length} tokens"),
        ("LoRA rank, alpha, dropout", f"{lora.r}, {lora.alpha:g}, {lora.dropout:g}"),
        ("layers with an adapter", plain(layers)),
        ("rows a step", f"{train.micro_batch} x {train.grad_accum}"),
        ("learning rate", f"{train.lr:g}, {train.scheduler}, warm-up {train.warmup_ratio:g}"),
        ("optimizer", f"{train.optimizer}, weight decay {train.weight_decay:g}"),
        ("seed", train.seed),
        *([("trained on", plain(str(card)))] if card else []),
        *[(name, known[key]) for name, key in (("steps", "steps"), ("tokens seen", "seen_tokens")) if known.get(key)],
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
    said = "Training losses are means over the steps since the row above."
    return [f"## Losses\n\n```text\n{picture}\n```\n\n{table}\n\n{said}"]


def _checks(path: Path) -> list[str]:
    """The table of a proof; none of what failed, which is not pushed."""
    found = proof.read(path)
    if not found.passed:
        return []
    file = found.numbers.get("file")
    heading = f"{plain(str(file))}, compared with the merged model" if file else COMPARED
    words = {True: "yes", False: "no", None: "not checked"}
    rows = [(plain(row.check), plain(row.expected), plain(row.got), words[row.passed]) for row in found.checks]
    return [f"## {heading}\n\n" + _table([("check", "expected", "found", "passed"), *rows])]


def _again(run: Run, job: Job) -> str:
    """The recipe and the commands that train the same elsewhere: no paths, no names of this machine."""
    recipe, source = job.recipe, job.recipe.data.source
    there = recipe.model_copy(
        update={
            "model": recipe.model.model_copy(update={"id": public_name(recipe.model.id), "revision": job.revision}),
            "data": recipe.data.model_copy(update={"source": public_name(source)}),
            "run": Place(),
            "deliver": Deliver(),
        }
    )
    beside = [] if is_hub_id(source) else [f"the rows as {code(public_name(source))}"]
    beside += [] if is_hub_id(recipe.model.id) else [f"the base model as {code(public_name(recipe.model.id))}"]
    python = (run.info().get("versions") or {}).get("python")
    needs = f"That is for fitune {__version__}, which runs in a checkout of its repository"
    needs += f"; beside the recipe lie {' and '.join(beside)}." if beside else "."
    commands = ["uv run fitune train recipe.toml"]
    if recipe.lora.init not in MOVES_THE_BASE:
        needs += " The second command writes a script that trains the same without it."
        commands += ["uv run fitune handoff recipe.toml --to script --out script"]
    packages = "\n".join([*([f"python {' '.join(str(python).split())}"] if python else []), *_packages(job)])
    return (
        f"## Train it again\n\n`recipe.toml`:\n\n```toml\n{_printable(redact(config.to_toml(there)))}```\n\n"
        f"{needs}\n\n```sh\n{chr(10).join(commands)}\n```\n\n"
        f"It was trained with\n\n```text\n{_printable(packages)}\n```"
    )


def _printable(toml: str) -> str:
    """The text with an escape for each character that is not seen; in TOML they stand in strings only."""
    return "".join(char if char.isprintable() or char == "\n" else f"\\U{ord(char):08x}" for char in toml)


def _table(rows: Sequence[tuple[Any, ...]]) -> str:
    """Rows as Markdown; the first is the head."""
    lines = ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
