"""The recipe's fields as a person fills them in: kind, range, choices and help, read from the recipe's own schema."""

import json
import math
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from fitune.core.recipe import GROUPS, help_of
from fitune.tui.text import exponent
from fitune.tui.wizard.settings import groups

Kind = Literal["whole", "number", "choice", "text", "list"]
MAIN = groups.FIRST.fields
"""The ten fields that matter first; the others are folded away."""
NUMBER_OR_AUTO = ("data.eval_fraction", "train.lr")
LABELS = {
    "model.id": "Base model",
    "model.quant": "Weights kept as",
    "model.max_seq_length": "Longest row",
    "lora.r": "Rank",
    "lora.alpha": "Strength",
    "train.epochs": "Epochs",
    "train.lr": "Learning rate",
    "train.micro_batch": "Rows at once",
    "train.grad_accum": "Sum up batches",
    "train.micro_tokens": "Tokens at once",
    "train.optimizer": "Optimizer",
    "model.trust_remote_code": "Its own code",
    "data.template_options": "Template with",
    "data.text_overlap": "Text overlap",
    "data.image_folder": "Image folder",
    "data.image_pixels": "Image pixels",
    "train.checkpoint_skip_layers": "Skipped layers",
    "train.tiled_mlp": "MLP in tiles",
    "train.keep_checkpoints": "Checkpoints",
    "train.save_minutes": "Save minutes",
    "run.max_hours": "Hours at most",
    "run.stop_at": "Stop at",
    "run.pause_above_c": "Pause above °C",
    "run.copy_to": "Copy the run to",
    "run.gpu": "GPU",
    "run.gpus": "GPUs together",
    "run.shard": "Split over GPUs",
    "run.vram_limit_gib": "VRAM limit GiB",
    "deliver.gguf": "GGUF",
    "train.weights": "What is trained",
    "lora.rslora": "rsLoRA",
    "lora.dora": "DoRA",
    "lora.rank_pattern": "Other ranks",
    "lora.modules_to_save": "Trained whole",
    "lora.lr_ratio": "LoRA+ ratio",
}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the recipe."""

    name: str
    """`group.key`, as in the recipe and in `--set`."""
    kind: Kind
    help: str
    default: Any
    """As in JSON; None for a field that must be given, too."""
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    low_open: bool = False
    """`low` itself is refused."""
    high_open: bool = False
    optional: bool = False
    """It may be left empty."""

    @property
    def label(self) -> str:
        words = self.name.partition(".")[2].replace("_", " ")
        return LABELS.get(self.name, words[:1].upper() + words[1:])

    @property
    def range(self) -> str:
        """The allowed values, in words."""
        if self.kind == "choice":
            return ", ".join(self.choices)
        if self.kind in ("whole", "number"):
            said = [
                "" if self.low is None else f"{'more than' if self.low_open else 'from'} {_plain(self.low)}",
                "" if self.high is None else f"{'below' if self.high_open else 'up to'} {_plain(self.high)}",
                "or empty" if self.optional else "",
            ]
            return " ".join(part for part in said if part)
        if self.name == "run.gpus":
            return "auto, all, how many, or their numbers with commas between"
        if self.kind == "list":
            return "words, with commas between"
        if self.name in NUMBER_OR_AUTO:
            return f"auto, or {'more than' if self.low_open else 'from'} {self.low:g} up to {self.high:g}"
        return "text, or empty" if self.optional else "text"


@cache
def all_fields() -> dict[str, Field]:
    """Every field by name: the ten that matter first, then the rest in the recipe's order."""
    found = {
        f"{group}.{key}": _field(f"{group}.{key}", schema, help_of(model)[key])
        for group, model in GROUPS.items()
        for key, schema in model.model_json_schema()["properties"].items()
    }
    return {name: found[name] for name in (*MAIN, *(name for name in found if name not in MAIN))}


def form_fields(folded: bool, listed: Collection[str] = ()) -> tuple[Field, ...]:
    """The fields of the form, group by group: all of them, or ten and those that are to be `listed` anyway."""
    names = (name for group in groups.GROUPS for name in group.fields)
    return tuple(all_fields()[name] for name in names if not folded or name in MAIN or name in listed)


def text_of(value: Any) -> str:
    """A value as it stands in an input box; empty for none."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return exponent(value, 9) if 0 < abs(value) < 1e-3 else f"{value:.10g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return json.dumps(value) if isinstance(value, dict) else str(value)


def parse(field: Field, text: str) -> Any:
    """The value that a text means, ready for JSON. Raises ValueError with a sentence that names what is allowed."""
    text = text.strip()
    if not text:
        return _empty(field)
    if field.kind == "choice":
        return _choice(field, text)
    if field.name == "run.gpus" and "," not in text:  # a number alone says how many
        return int(text) if text.isdecimal() else text
    if field.kind == "list":
        return _list(field, text)
    if field.kind == "text":
        if isinstance(field.default, dict):
            return _json_object(field, text)
        if field.name in NUMBER_OR_AUTO and text != "auto":
            return _number(field, text)
        return int(text) if field.name == "train.offload_layers" and text.isdecimal() else text
    return _number(field, text)


def problem(field: Field, text: str) -> str:
    """The problem with a text as the value of a field; empty if there is none."""
    try:
        parse(field, text)
    except ValueError as error:
        return str(error)
    return ""


def _empty(field: Field) -> Any:
    if field.optional:
        return None
    if field.kind == "list":
        return []
    raise ValueError(f"A value is needed: {field.range}.")


def _choice(field: Field, text: str) -> Any:
    if text not in field.choices:
        raise ValueError(f"Choose one of: {field.range}.")
    return text == "yes" if "yes" in field.choices and text in ("yes", "no") else text


def _list(field: Field, text: str) -> Any:
    if text == field.default:
        return text
    return [int(part) if part.isdecimal() else part for each in text.split(",") if (part := each.strip())]


def _json_object(field: Field, text: str) -> Any:
    example = '{"q_proj": 8}' if field.name == "lora.rank_pattern" else '{"prompt": "question"}'
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise ValueError(f"Write it as {example}.") from None


def _number(field: Field, text: str) -> int | float:
    if field.kind == "whole" and "," in text:  # 2,000 steps are not 2
        raise ValueError(f"Only whole numbers, without commas. Allowed: {field.range}.")
    try:
        number = float(text.replace(",", "."))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"This is not a number. Allowed: {field.range}.")
    if field.kind == "whole" and number != int(number):
        raise ValueError(f"Only whole numbers. Allowed: {field.range}.")
    below = field.low is not None and (number < field.low or (field.low_open and number == field.low))
    above = field.high is not None and (number > field.high or (field.high_open and number == field.high))
    if below or above:
        raise ValueError(f"{_plain(number)} is too {'small' if below else 'large'}. Allowed: {field.range}.")
    return int(number) if field.kind == "whole" else number


def _plain(number: float) -> str:
    return f"{number:,.0f}" if number == int(number) else f"{number:g}"


def _field(name: str, schema: dict[str, Any], told: str) -> Field:
    options = schema.get("anyOf", [schema])
    kinds = {option.get("type") for option in options}
    main = next(option for option in options if option.get("type") != "null")
    optional = "null" in kinds
    choices: tuple[str, ...] = tuple(main.get("enum", ()))
    kind: Kind = "text"
    if "array" in kinds:
        kind, choices = "list", ()
    elif "boolean" in kinds:
        others = [option["const"] for option in options if "const" in option]
        kind, choices = "choice", (*others, "yes", "no")
    elif choices:
        kind = "choice"
    elif kinds - {"null"} == {"integer"}:
        kind = "whole"
    elif kinds - {"null"} == {"number"}:
        kind = "number"
    return Field(
        name=name,
        kind=kind,
        help=told,
        default=schema.get("default"),
        choices=choices,
        low=main.get("minimum", main.get("exclusiveMinimum")),
        high=main.get("maximum", main.get("exclusiveMaximum")),
        low_open="exclusiveMinimum" in main,
        high_open="exclusiveMaximum" in main,
        optional=optional,
    )
