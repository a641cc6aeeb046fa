"""The model card: what was trained, on what, and how it went; nothing that is not known."""

import json
from pathlib import Path
from typing import Any

import orjson

from core.recipe_fields import Recipe
from core.runs import Run

KINDS = {
    "adapter": ("A LoRA adapter for", "peft"),
    "merged": ("A fine-tuned version of", "transformers"),
    "gguf": ("GGUF files, for llama.cpp and Ollama, of a fine-tuned version of", "gguf"),
}
"""By folder: what it is, and the library that reads it, by the Hub's name."""
COMPARED = "## Compared with the adapter on its base"
PLACEHOLDER = "[More Information Needed]"
"""What PEFT's and the Hub's templates leave where someone should have written."""


def has_card(folder: Path) -> bool:
    """Whether a README.md lies there that somebody has filled in."""
    path = folder / "README.md"
    return path.is_file() and PLACEHOLDER not in path.read_text(errors="replace")


def model_card(run: Run, what: str) -> str:
    """README.md for adapter/, merged/ or gguf/ of a run. Of folders of this machine only their last part is told."""
    recipe, trained = run.recipe(), run.state().ends.get("train")
    base, data = _public_name(recipe.model.id), _public_name(recipe.data.source)
    kind, library = KINDS[what]
    facts = [*_settings(recipe), *_results(trained.data if trained else {})]
    return "\n".join(
        [
            "---",
            *([f"base_model: {json.dumps(base)}"] if base == recipe.model.id else []),
            f"library_name: {library}",
            "pipeline_tag: text-generation",
            "tags: [fitune, lora]",
            "---",
            "",
            f"# {run.name}",
            "",
            f"{kind} `{base}`, trained with fitune on `{data}`.",
            "",
            "| | |",
            "|---|---|",
            *(f"| {name} | {value} |" for name, value in facts),
            "",
            *(line for path in sorted((run.path / what).glob("*proof.json")) for line in _checks(path)),
        ]
    )


def _checks(path: Path) -> list[str]:
    """The table of a proof; none of what failed, which is not pushed."""
    proof = orjson.loads(path.read_bytes())
    if not proof["passed"]:
        return []
    lines = [
        f"## {proof['file']}, compared with the merged model" if "file" in proof else COMPARED,
        "",
        "| check | expected | found | passed |",
        "|---|---|---|---|",
    ]
    for check in proof["checks"]:
        passed = {True: "yes", False: "no", None: "not checked"}[check["passed"]]
        cells = (check["check"], check["expected"], check["got"], passed)
        lines.append(f"| {' | '.join(map(_in_cell, cells))} |")
    return [*lines, ""]


def _in_cell(text: str) -> str:
    """As code where it holds what Markdown or HTML would take for its own."""
    return "`" + text.replace("`", "'").replace("|", "\\|") + "`" if set(text) & set("<|*_`[") else text


def _settings(recipe: Recipe) -> list[tuple[str, Any]]:
    model, lora, train = recipe.model, recipe.lora, recipe.train
    return [
        ("base weights in training", model.quant),
        ("longest row", f"{model.max_seq_length} tokens"),
        ("LoRA rank, alpha, dropout", f"{lora.r}, {lora.alpha}, {lora.dropout}"),
        ("rows a step", f"{train.micro_batch} x {train.grad_accum}"),
        ("learning rate", f"{train.lr:g}, {train.scheduler}"),
        ("optimizer", train.optimizer),
        ("seed", train.seed),
    ]


def _results(end: dict[str, Any]) -> list[tuple[str, Any]]:
    known = [
        ("steps", end.get("steps")),
        ("first training loss", end.get("first_loss")),
        ("last training loss", end.get("last_loss")),
        ("held-out loss", end.get("eval_loss")),
    ]
    return [(name, f"{value:.4g}" if isinstance(value, float) else value) for name, value in known if value is not None]


def _public_name(name: str) -> str:
    """A Hub id as it is; of a path on this machine its last part."""
    local = name.startswith(("/", "~", ".")) or name.count("/") > 1 or Path(name).exists()
    return Path(name).name if local else name
