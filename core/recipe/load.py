"""The recipe at the door: TOML, `--set` pairs or JSON in, a checked `Recipe` out, or all problems at once.

Strict here so that nothing behind needs to check again. What depends on the machine is the budget's verdict, not an
error of the recipe. The fields themselves stand in `core.recipe.fields`, what they rule out in `core.recipe.rules`.
"""

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from fitune.core.errors import BadInput, Problem, UserError
from fitune.core.recipe.fields import Data, Deliver, Lora, Model, Recipe, Run, Train, help_of
from fitune.core.recipe.rules import problems

GROUPS: dict[str, type[BaseModel]] = {
    "model": Model,
    "lora": Lora,
    "data": Data,
    "train": Train,
    "run": Run,
    "deliver": Deliver,
}
CALLED_ELSEWHERE = {
    "base_model": "model.id", "model_name": "model.id", "model_name_or_path": "model.id", "load_in_4bit": "model.quant",
    "max_length": "model.max_seq_length", "sequence_len": "model.max_seq_length", "rank": "lora.r", "lora_r": "lora.r",
    "dataset": "data.source", "learning_rate": "train.lr", "batch_size": "train.micro_batch",
    "per_device_train_batch_size": "train.micro_batch", "gradient_accumulation_steps": "train.grad_accum",
    "warmup_steps": "train.warmup_ratio", "save_steps": "train.save_every", "eval_steps": "train.eval_every",
}  # fmt: skip
"""What TRL, PEFT or Axolotl call a field, where that hardly resembles its name here."""
__all__ = [
    "GROUPS",
    "Data",
    "Deliver",
    "Lora",
    "Model",
    "Recipe",
    "Run",
    "Train",
    "load",
    "parse",
    "to_toml",
]


def load(path: Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe file, apply `group.key=value` overrides. Raises UserError or BadInput with file, line and key."""
    overrides = tuple(overrides)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}).", "Save the recipe as UTF-8.") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder.", "Name the recipe file in it.") from None
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}.", "Check the path.") from None
    try:
        tree = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # the latter: thousands of brackets
        raise UserError(f"{path} is not valid TOML: {error}.", 'Text goes in quotes: id = "Qwen/Qwen3-8B".') from None
    overridden = frozenset(pair.partition("=")[0].strip() for pair in overrides)
    tree, bad = with_overrides(tree, overrides)
    try:
        recipe = parse(tree, str(path), text, overridden)
    except BadInput as error:
        raise BadInput([*bad, *error.problems]) from None
    if bad:
        raise BadInput(bad)
    return recipe


def parse(tree: Mapping[str, Any], source: str, text: str = "", overridden: frozenset[str] = frozenset()) -> Recipe:
    """Check a nested mapping and return it as a Recipe.

    source: what to call it in errors. text: its TOML text if there is one, to find line numbers.
    overridden: each `group.key` that comes from the command line instead.
    Raises BadInput with every problem found: unknown keys, types, ranges, then fields that contradict each other.
    """

    def where(path: tuple[str, ...]) -> str:
        key = ".".join(path[:2])
        line = line_of(text, path)
        # A group that the file has not was named by a pair.
        by_pair = key in overridden or (not line and any(each.startswith(f"{key}.") for each in overridden))
        return f"--set {key}" if by_pair else f"{source}{f':{line}' if line else ''}: {key}"

    try:
        # JSON mode turns lists into tuples and integers into floats where a field asks for them, and nothing else.
        recipe = Recipe.model_validate_json(json.dumps(tree, default=str), strict=True)
    except ValidationError as error:
        by_key: dict[tuple[str, ...], list[Any]] = {}  # each kind of value that a field may have complains by itself
        for found in error.errors():
            by_key.setdefault(tuple(str(part) for part in found["loc"][:2]), []).append(found)
        if () in by_key:
            raise BadInput([Problem(source, _unreadable(by_key[()][0]))]) from None
        raise BadInput([_problem(path, found, where(path)) for path, found in by_key.items()]) from None
    if contradictions := problems(recipe):
        raise BadInput([Problem(where(tuple(p.where.split("."))), p.text, p.fix) for p in contradictions])
    return recipe


def with_overrides(tree: Mapping[str, Any], overrides: Iterable[str]) -> tuple[dict[str, Any], list[Problem]]:
    """The tree with `group.key=value` pairs set, and the pairs that can't be.

    A value is TOML where that parses and the field is not text.
    """
    out = {key: dict(value) if isinstance(value, Mapping) else value for key, value in tree.items()}
    bad: list[Problem] = []
    for pair in overrides:
        name, equals, value = pair.partition("=")
        group, _, key = name.strip().partition(".")
        if not (equals and group and key):
            bad.append(Problem(f"--set {pair}", "is not of the form group.key=value.", "For example: --set lora.r=32"))
        elif not isinstance(out.setdefault(group, {}), dict):
            bad.append(Problem(f"--set {pair}", f"{group} is not a group.", f"Groups: {', '.join(GROUPS)}."))
        else:
            given = _toml_value(value.strip())
            out[group][key] = value.strip() if _is_text(group, key) and not isinstance(given, str) else given
    return out, bad


def to_toml(recipe: Recipe) -> str:
    """The recipe as a TOML file that loads to an equal recipe; fields that are unset are left out."""
    lines = [f"version = {recipe.version}"]
    for group, fields in recipe.model_dump(mode="json").items():
        if isinstance(fields, dict):
            lines += ["", f"[{group}]"]
            lines += [f"{key} = {_toml_text(value)}" for key, value in fields.items() if value is not None]
    return "\n".join(lines) + "\n"


def _toml_text(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml_text(key)} = {_toml_text(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml_text(each) for each in value) + "]"
    # JSON's strings, numbers and booleans are valid TOML. DEL is the one character that only TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def _is_text(group: str, key: str) -> bool:
    """Whether a field takes nothing but text: then 0 is "0", since a shell eats the quotes."""
    field = GROUPS[group].model_json_schema()["properties"].get(key, {}) if group in GROUPS else {}
    return bool(field) and all(kind.get("type") in ("string", "null") for kind in field.get("anyOf", [field]))


def _problem(path: tuple[str, ...], complaints: Sequence[Mapping[str, Any]], where: str) -> Problem:
    """What pydantic says of one key, in one sentence."""
    kind, given = complaints[0]["type"], _short(complaints[0]["input"])
    if kind == "extra_forbidden":
        return Problem(where, "is not a key of a recipe.", _nearest(path))
    if kind == "missing":
        return Problem(where, "is missing.", "A recipe needs model.id and data.source.")
    if path == ("version",):
        return Problem(where, f"is {given}, and this fitune reads version 1.", "Update fitune.")
    if path[0] in GROUPS and len(path) == 1:
        return Problem(where, f"should be a table, but it is {given}.", f"Write [{path[0]}] on a line of its own.")
    expected = dict.fromkeys(each["msg"].partition(" should ")[2].removeprefix("be ") for each in complaints)
    verb = "be " if " should be " in complaints[0]["msg"] else ""
    values = dict.fromkeys(_short(each["input"]) for each in complaints if each["type"] == kind)
    return Problem(where, f"should {verb}{' or '.join(expected)}, but it is {', '.join(values)}.", _help(path))


def _unreadable(complaint: Mapping[str, Any]) -> str:
    """What pydantic says of the whole, in a sentence."""
    if complaint["type"] != "json_invalid":
        return "is not a table of groups."
    if "recursion" in complaint["msg"]:
        return "holds a value that is nested too deep."
    return "holds text that is not UTF-8."  # a lone surrogate, from an argument


def _short(value: Any) -> str:
    said = json.dumps(value, default=str)
    return said if len(said) <= 80 else said[:77] + "..."


def _nearest(path: tuple[str, ...]) -> str:
    name = path[-1].lower()
    same = [f"{group}.{name}" for group, fields in GROUPS.items() if name in fields.model_fields]
    if meant := next(iter(same), CALLED_ELSEWHERE.get(name)):
        return f"Did you mean {meant}?"
    known = list(GROUPS[path[0]].model_fields) if len(path) > 1 else [*GROUPS, "version"]
    if close := difflib.get_close_matches(name, known, n=1):
        return f"Did you mean {'.'.join((*path[:-1], close[0]))}?"
    return f"Known: {', '.join(known)}."


def _help(path: tuple[str, ...]) -> str:
    return help_of(GROUPS[path[0]]).get(path[1], "") if len(path) > 1 and path[0] in GROUPS else ""


def line_of(text: str, path: tuple[str, ...]) -> int | None:
    """The line, from 1, on which `group.key` (or the group itself) stands in TOML text; None if it does not."""
    group, key = path[0], path[1] if len(path) > 1 else None
    table, group_line = "", None
    for number, line in enumerate(text.splitlines(), 1):
        words = [word.strip(" \t\"'") for word in re.split(r"[.=\]]", line.strip().lstrip("["))]
        if line.lstrip().startswith("["):
            table = words[0]
            group_line = number if table == group else group_line
        elif table:
            words.insert(0, table)
        if key and words[:2] == [group, key]:
            return number
        if words[0] == group and group_line is None:
            group_line = number
    return group_line
