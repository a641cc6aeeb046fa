"""Load and check a recipe: TOML, `--set` pairs or JSON in, a checked `Recipe` out, or all problems at once.

Checks are strict here so that no other code has to check again. What depends on the machine is the budget's verdict,
not an error of the recipe. The fields are in `core.recipe.fields`, contradictions between them in `core.recipe.rules`.
"""

import ast
import difflib
import inspect
import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from fitune.core.errors import BadInput, Problem, UserError
from fitune.core.recipe.data_fields import Data
from fitune.core.recipe.fields import Deliver, Lora, Model, Recipe, Run, Train
from fitune.core.recipe.rules import find_contradictions

GROUPS: dict[str, type[BaseModel]] = {
    "model": Model,
    "lora": Lora,
    "data": Data,
    "train": Train,
    "run": Run,
    "deliver": Deliver,
}
NAMES_IN_OTHER_TOOLS = {
    "base_model": "model.id", "model_name": "model.id", "model_name_or_path": "model.id", "load_in_4bit": "model.quant",
    "max_length": "model.max_seq_length", "sequence_len": "model.max_seq_length", "rank": "lora.r", "lora_r": "lora.r",
    "dataset": "data.source", "learning_rate": "train.lr", "batch_size": "train.micro_batch",
    "per_device_train_batch_size": "train.micro_batch", "gradient_accumulation_steps": "train.grad_accum",
    "warmup_steps": "train.warmup_ratio", "save_steps": "train.save_every", "eval_steps": "train.eval_every",
}  # fmt: skip
"""Names of a field in TRL, PEFT or Axolotl that hardly resemble its name here."""
__all__ = [
    "GROUPS",
    "Data",
    "Deliver",
    "Lora",
    "Model",
    "Recipe",
    "Run",
    "Train",
    "help_of",
    "load",
    "parse",
    "to_toml",
]


QUOTED = 'Text goes in quotes: id = "Qwen/Qwen3-8B".'
A_LIST = 'a list ([1, 2] or ["a", "b"])'
TOML_HINTS = {
    " twice": "Put all keys of a group below one line with its name.",
    "[“”„‘’]": 'Write straight quotes: "".',
    r'"[^"]*\\': "Write a backslash twice, or the text in single quotes: 'C:\\rows.jsonl'.",
    r"^\s*[{}]|^\s*-\s|^\s*[\w-]+:(?:\s|$)": f"A recipe is TOML, not YAML or JSON: [model] on a line. {QUOTED}",
    r"=.*,\s*$": "No comma belongs at the end of a line.",
}
"""What is wrong, as a pattern of the line or the error -> what to do."""


def _hint(text: str, error: str) -> str:
    """What to do about a text that is no TOML, by the line that the error names."""
    place = re.search(r"at line (\d+)", error)
    line = text.split("\n")[int(place[1]) - 1] if place else ""
    return next((hint for mark, hint in TOML_HINTS.items() if re.search(mark, line) or re.search(mark, error)), QUOTED)


def load(path: Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe file, apply `group.key=value` overrides. Raises UserError or BadInput with file, line and key.

    path: also the id of a preset, which is a recipe without data, for the first of its models.
    """
    overrides = tuple(overrides)
    try:
        text = (preset_file(path) or path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}).", "Save the recipe as UTF-8.") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder.", "Name the recipe file in it.") from None
    except OSError as error:
        if path.name == str(path) and not path.suffix and not path.exists():
            hint = "fitune presets lists the presets."
            raise UserError(f"{path} is neither a recipe file nor a preset.", hint) from None
        raise UserError(f"{path} can't be read: {error.strerror}.", "Check the path.") from None
    try:
        tree = _without_preset_table(tomllib.loads(text))
    except (ValueError, RecursionError) as error:  # the latter: thousands of brackets
        raise UserError(f"{path} is not valid TOML: {error}.", _hint(text, str(error))) from None
    overridden = frozenset(pair.partition("=")[0].strip() for pair in overrides)
    tree, bad_pairs = with_overrides(tree, overrides)
    if preset_file(path) and not {"source", "sources"} & tree.get("data", {}).keys():
        raise BadInput([*bad_pairs, Problem(f"{path}", "is a preset, without data.", "Add --set data.source=FILE.")])
    try:
        recipe = parse(tree, str(path), text, overridden)
    except BadInput as error:
        raise BadInput([*bad_pairs, *error.problems]) from None
    if bad_pairs:
        raise BadInput(bad_pairs)
    return recipe


def presets_dir() -> Path:
    """The folder of the presets: beside `core`, in a checkout and in an installed package alike."""
    return Path(__file__).resolve().parents[2] / "presets"


def preset_file(path: Path) -> Path | None:
    """The file of the preset that is meant by its id; None where a file of that name is there, or no such preset."""
    file = presets_dir() / f"{path.name}.toml"
    return file if str(path) == path.name and not path.exists() and file.is_file() else None


def _without_preset_table(tree: dict[str, Any]) -> dict[str, Any]:
    """A preset's tree as a recipe for the first of its models; any other tree as it is."""
    about = tree.get("preset")
    if not (isinstance(about, dict) and isinstance(about.get("models"), list) and about["models"]):
        return tree
    groups = {group: fields for group, fields in tree.items() if group != "preset"}
    return groups | {"model": {"id": about["models"][0], **groups.get("model", {})}}


def parse(tree: Mapping[str, Any], source: str, text: str = "", overridden: frozenset[str] = frozenset()) -> Recipe:
    """Check a nested mapping and return it as a Recipe.

    source: its name in errors. text: its TOML text if there is one, to find line numbers.
    overridden: each `group.key` that comes from the command line instead.
    Raises BadInput with every problem found: unknown keys, types, ranges, then fields that contradict each other.
    """

    def location(path: tuple[str, ...]) -> str:
        key = ".".join(path[:2])
        line = line_of(text, path)
        # A group that the file does not have comes from a `--set` pair.
        by_pair = key in overridden or (not line and any(pair.startswith(f"{key}.") for pair in overridden))
        return f"--set {key}" if by_pair else f"{source}{f':{line}' if line else ''}: {key}"

    try:
        # JSON mode turns lists into tuples and integers into floats where a field asks for them, and nothing else.
        recipe = Recipe.model_validate_json(json.dumps(tree, default=str), strict=True)
    except ValidationError as error:
        by_key: dict[tuple[tuple[str, ...], bool], list[Any]] = {}  # one error for each type that a field may have
        for complaint in error.errors():
            path = tuple(str(part) for part in complaint["loc"][:2])
            by_key.setdefault((path, complaint["type"] == "extra_forbidden"), []).append(complaint)
        if whole := by_key.get(((), False)):
            raise BadInput([Problem(source, _unreadable(whole[0]))]) from None
        raise BadInput([_problem(path, told, location(path)) for (path, _), told in by_key.items()]) from None
    if contradictions := find_contradictions(recipe):
        raise BadInput([Problem(location(tuple(p.where.split("."))), p.text, p.fix) for p in contradictions])
    return recipe


def with_overrides(tree: Mapping[str, Any], overrides: Iterable[str]) -> tuple[dict[str, Any], list[Problem]]:
    """The tree with `group.key=value` pairs set, and the problems of pairs that can't be set.

    A value is TOML where that parses and the field is not text.
    """
    changed = {key: dict(value) if isinstance(value, Mapping) else value for key, value in tree.items()}
    problems: list[Problem] = []
    for pair in overrides:
        name, equals, value = pair.partition("=")
        group, _, key = name.strip().partition(".")
        if not (equals and group and key):
            problems.append(
                Problem(f"--set {pair}", "is not of the form group.key=value.", "For example: --set lora.r=32")
            )
        elif not isinstance(changed.setdefault(group, {}), dict):
            problems.append(Problem(f"--set {pair}", f"{group} is not a group.", f"Groups: {', '.join(GROUPS)}."))
        else:
            given = _toml_value(value.strip())
            changed[group][key] = value.strip() if _is_text(group, key) and not isinstance(given, str) else given
    return changed, problems


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
        return "{" + ", ".join(f"{_toml_text(key)} = {_toml_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml_text(item) for item in value) + "]"
    # JSON's strings, numbers and booleans are valid TOML; it leaves DEL, and what turns or hides text, as it is.
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in json.dumps(value, ensure_ascii=False))


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def _is_text(group: str, key: str) -> bool:
    """True if a field takes nothing but text: then 0 is "0", since a shell removes the quotes."""
    field = GROUPS[group].model_json_schema()["properties"].get(key, {}) if group in GROUPS else {}
    return bool(field) and all(kind.get("type") in ("string", "null") for kind in field.get("anyOf", [field]))


def _problem(path: tuple[str, ...], complaints: Sequence[Mapping[str, Any]], where: str) -> Problem:
    """The problem of one key, in one sentence, from pydantic's complaints."""
    kind, value = complaints[0]["type"], _short(complaints[0]["input"])
    if kind == "extra_forbidden" and len(complaints[0]["loc"]) > len(path):
        return Problem(where, f"has no key {complaints[0]['loc'][-1]}.", _help(path))
    if kind == "extra_forbidden":
        return Problem(where, "is not a key of a recipe.", _nearest(path))
    if kind == "missing":
        return Problem(where, "is missing.", "A recipe needs model.id and data.source.")
    if path == ("version",):
        return Problem(where, f"is {value}, and this fitune reads version 1.", "Update fitune.")
    if path[0] in GROUPS and len(path) == 1:
        return Problem(where, f"should be a table, but it is {value}.", f"Write [{path[0]}] on a line of its own.")
    if any(complaint["type"] == "string_pattern_mismatch" for complaint in complaints):
        return Problem(where, f"is not of the right form: {value}.", _help(path))
    wanted = (complaint["msg"].partition(" should ")[2].removeprefix("be ") for complaint in complaints)
    expected = dict.fromkeys(each.replace("a valid array", A_LIST) for each in wanted)
    verb = "be " if " should be " in complaints[0]["msg"] else ""
    values = dict.fromkeys(_short(complaint["input"]) for complaint in complaints if complaint["type"] == kind)
    return Problem(where, f"should {verb}{' or '.join(expected)}, but it is {', '.join(values)}.", _help(path))


def _unreadable(complaint: Mapping[str, Any]) -> str:
    """The problem of the whole document, in one sentence."""
    if complaint["type"] != "json_invalid":
        return "is not a table of groups."
    if "recursion" in complaint["msg"]:
        return "holds a value that is nested too deep."
    return "holds text that is not UTF-8."  # a lone surrogate, from an argument


def _short(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."


def _nearest(path: tuple[str, ...]) -> str:
    name = path[-1].lower()
    same = [f"{group}.{name}" for group, fields in GROUPS.items() if name in fields.model_fields]
    if suggestion := next(iter(same), NAMES_IN_OTHER_TOOLS.get(name)):
        return f"Did you mean {suggestion}?"
    known = list(GROUPS[path[0]].model_fields) if len(path) > 1 else [*GROUPS, "version"]
    if close := difflib.get_close_matches(name, known, n=1):
        return f"Did you mean {'.'.join((*path[:-1], close[0]))}?"
    return f"Known: {', '.join(known)}."


@cache
def help_of(group: type[BaseModel]) -> dict[str, str]:
    """The docstring under each field of a group, by the field's name."""
    (class_node,) = ast.parse(inspect.getsource(group)).body
    assert isinstance(class_node, ast.ClassDef)
    return {
        field.target.id: inspect.cleandoc(docstring.value.value)
        for field, docstring in pairwise(class_node.body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(docstring, ast.Expr)
        and isinstance(docstring.value, ast.Constant)
        and isinstance(docstring.value.value, str)
    }


def _help(path: tuple[str, ...]) -> str:
    told = help_of(GROUPS[path[0]]).get(path[1], "") if len(path) > 1 and path[0] in GROUPS else ""
    return " ".join(told.split())


def line_of(text: str, path: tuple[str, ...]) -> int | None:
    """The number, from 1, of the line with `group.key` (or the group itself) in TOML text; None if there is none."""
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
