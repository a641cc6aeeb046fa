"""The model card: model, data, settings, losses, proof, and the steps to reproduce; only known facts.

Names and proofs are foreign text: each is written as code, on one line, without active Markdown or HTML.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fitune.core import __version__, hub
from fitune.core.deliver import UploadKind, branch_of, proof, requests
from fitune.core.deliver.handoff.spec import TrainingSpec, from_run
from fitune.core.diagnose import redact
from fitune.core.recipe import BEGINS_FILLED, Data, Deliver, Recipe
from fitune.core.recipe import Run as RunSettings
from fitune.core.recipe import load as recipe_file
from fitune.core.records import from_json, to_json
from fitune.core.runs import Finished, Run, RunState
from fitune.core.score import Forgetting, Preference, Verdict, preference, probe, verdict
from fitune.core.worker.hub import loss_plot
from fitune.core.worker.hub.card_names import code, is_hub_id, plain, public_name
from fitune.core.worker.hub.card_usage import packages_of, usage

KINDS: dict[UploadKind, tuple[str, str, str]] = {
    "adapter": ("A LoRA adapter for", "peft", "adapter"),
    "merged": ("A fine-tuned version of", "transformers", "finetune"),
    "gguf": ("GGUF files, for llama.cpp and Ollama, of a fine-tuned version of", "gguf", "finetune"),
    "checkpoints": ("A LoRA adapter for", "peft", "adapter"),
}
"""A description, and the Hub's names of the library that reads it and of its relation to the base model."""
COMPARED = "Compared with the adapter on its base"
SAME_ROWS = "Both answered the same rows, not trained on."
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
        f"{_described(what, spec)} {code(public_name(base))}, trained with fitune on {data}.",
        *([f"This branch holds the adapter as it was after step {step}."] if step is not None else []),
        *(plain(note) for note in spec.notes),
        _licence(licence, base),
        usage(run, spec, repo, what, None if step is None else branch_of(step)),
        "## Data\n\n" + _table([("", ""), *_data(spec.recipe, state)]),
        "## Settings\n\n" + _table([("", ""), *_settings(run, spec, state)]),
        *_score(state),
        *_losses(state),
        *(text for path in sorted((run.path / what).glob("*proof.json")) for text in _checks(path)),
        _reproduce(run, spec),
    ]
    return "\n\n".join(parts) + "\n"


def _described(what: UploadKind, spec: TrainingSpec) -> str:
    """The words before the name of the base model."""
    whole = spec.recipe.trains_all and KINDS[what][1] == "peft"
    return "All weights, as an adapter of PEFT, of a fine-tuned version of" if whole else KINDS[what][0]


def base_of(run: Run, what: UploadKind) -> str:
    """The id of the base model; for a merged model the one that it was merged into."""
    merged_into = requests.merge_base(run) if what in ("merged", "gguf") else None
    return merged_into or run.recipe().model.id


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
        tags=["fitune"] if spec.recipe.trains_all else ["fitune", "lora"],
    )
    return f"---\n{data.to_yaml()}\n---"


def _licence(licence: hub.Licence | None, base: str) -> str:
    if licence is None:
        return f"Licence: the licence of {code(public_name(base))} applies; fitune could not find out which it is."
    name = f"{plain(licence.name)} ({licence.key})" if licence.name else licence.key
    return f"Licence: {name}, as of {code(public_name(base))}."


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
        _lesson(recipe),
        *([("answers", "without thinking, behind the prompt that switches it off")] if state.phase.switch else []),
    ]


def _lesson(recipe: Recipe) -> tuple[str, str]:
    """What the rows teach."""
    train = recipe.train
    if train.objective == "sft":
        return "learns to write", "the answers" if recipe.data.loss_on == "answers" else "all of a row"
    answers = "good answers to bad ones" if train.objective == "kto" else "better answers to worse ones"
    return "learns to prefer", f"{answers}, by {train.objective} (beta {train.beta:g})"


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
        *(
            [("trained", "all weights")]
            if spec.recipe.trains_all
            else [
                ("LoRA rank, alpha, dropout", f"{lora.r}, {lora.alpha:g}, {lora.dropout:g}"),
                ("layers with an adapter", plain(layers)),
            ]
        ),
        ("rows a step", f"{train.micro_batch} x {train.grad_accum}"),
        ("learning rate", f"{train.rate:g}, {train.scheduler}, warm-up {train.warmup_ratio:g}"),
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
    """The verdicts on the held-out rows, or without these on others, and what was forgotten; empty for a run that was
    not scored."""
    others = [(each.score, each.preferred) for each in state.elsewhere.values()]
    told = []
    for score, preferred in [(state.score, state.preferred)] if state.word else others:
        source = code(public_name(score.source)) if score and score.source else None
        told += [preference.sentence(from_json(Preference, to_json(preferred)), source)] if preferred else []
        told += [f"{verdict.sentence(from_json(Verdict, to_json(score)), source=source)} {SAME_ROWS}"] if score else []
    told += [probe.sentence(from_json(Forgetting, to_json(state.forgot)))] if state.forgot else []
    return ["\n\n".join(["## Is it better than its base?", *told])] if told else []


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
    if recipe.lora.init not in BEGINS_FILLED:
        note += " The second command writes a script that trains the same without it."
        commands += ["uv run fitune handoff recipe.toml --to script --out script"]
    packages = "\n".join([*([f"python {' '.join(python.split())}"] if python else []), *packages_of(spec)])
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
