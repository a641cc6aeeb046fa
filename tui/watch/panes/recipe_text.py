"""The recipe of a run as lines beside its charts: the fields that decide what it costs and what it learns."""

from collections.abc import Mapping

from textual.content import Content

from fitune.tui.text import clean, exponent

SHOWN = (
    "model.id", "model.quant", "model.max_seq_length", "lora.r", "lora.alpha", "lora.dropout", "lora.target_modules",
    "data.source", "data.packing", "data.loss_on", "train.objective", "train.micro_batch", "train.grad_accum",
    "train.epochs", "train.max_steps", "train.lr", "train.scheduler", "train.optimizer", "train.checkpointing",
    "train.offload_layers", "train.eval_every", "train.seed", "run.gpus",
)  # fmt: skip
COLUMNS = 37
_KEY_COLUMNS = 14


def recipe_lines(recipe: Mapping[str, object], changes: Mapping[str, object]) -> Content:
    """Group by group as in a recipe file; fields without a value are left out. changes: those of a resume, marked *."""
    lines: list[Content] = [Content.styled("recipe", "bold")]
    group = ""
    for name in SHOWN:
        head, _, key = name.partition(".")
        fields = recipe.get(head)
        value = changes.get(name, fields.get(key) if isinstance(fields, Mapping) else None)
        if value in (None, "", [], ()):
            continue
        lines += [Content.styled(f"[{head}]", "$secondary")] if head != group else []
        group = head
        mark = "*" if name in changes else ""
        said = clean(_text(value), 200)
        room = COLUMNS - _KEY_COLUMNS - 4
        said = said if len(said) <= room else f"..{said[2 - room :]}"
        lines.append(Content.styled(f"{key + mark:<{_KEY_COLUMNS}} ", "dim") + Content(said))
    if changes:
        lines.append(Content.styled("* changed at a resume", "dim"))
    return Content("\n").join(lines)


def _text(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case float() if value and abs(value) < 0.01:
            return exponent(value)
        case float():
            return f"{value:g}"
        case list() | tuple():
            return ", ".join(map(str, value))
    return str(value)
