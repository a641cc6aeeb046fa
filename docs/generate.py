"""Write all pages of docs/ that are made from the code: commands, recipe, files, json. A test fails when one is stale.

uv run python -m docs.generate
"""

import io
import json
import os
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

from docs import field_pages, variants_page
from fitune.core.recipe import GROUPS, help_of
from fitune.core.recipe.load import NAMES_IN_OTHER_TOOLS
from fitune.tui.cli import ROOMS, parser

HERE = Path(__file__).parent
COLUMNS = "100"
COMMANDS = """# Commands

What each command's `--help` says; this page is made by `docs/generate.py`. In a checkout, write `uv run` before each
command. Data goes to stdout, messages to stderr. For scripts, `presets`, `estimate`, `fit`, `data`, `doctor`, `runs`,
`runs compare`, `queue list` and `chat --prompt` take `--json`: see [json.md](json.md).
"""
PARTS = {
    "compare": ("runs compare",),
    "queue": ("queue", *(f"queue {action}" for action in ("add", "list", "move", "remove", "run", "stop"))),
}
"""Commands that stand behind another word, and those that have several."""
RECIPE = """# The recipe

A recipe is a TOML file that describes one fine-tune. Only `model.id` and `data.source` must be given. The wizard writes
such a file with `w`; `--set group.key=value` changes a field for one command. A preset is a recipe without data, whose
id may stand in place of a file. This page is made by `docs/generate.py` from the docstrings in `core/recipe/fields.py`.

    # recipe.toml
    [model]
    id = "Qwen/Qwen3-8B"

    [data]
    source = "questions.jsonl"
"""
ELSEWHERE = """## Names in other tools

What TRL, PEFT or Axolotl call a field; written in a recipe, it is refused with the name that is meant.

| there | here |
|---|---|
"""


def pages() -> dict[str, str]:
    """Each page by its file name."""
    return {
        "commands.md": commands(),
        "recipe.md": recipe(),
        "variants.md": variants_page.page(),
        **field_pages.pages(),
    }


def commands() -> str:
    """The whole command line: `fitune --help`, then that of each command."""
    names = ["", *(each for name in ROOMS for each in PARTS.get(name, (name,)))]
    texts = (f"## {f'fitune {name}'.strip()}\n\n```text\n{command_help(name)}```\n" for name in names)
    return "\n".join([COMMANDS, *texts])


def command_help(name: str) -> str:
    """What `fitune NAME --help` prints."""
    width = patch.dict(os.environ, {"COLUMNS": COLUMNS})  # else argparse wraps lines to that of this terminal
    with width, redirect_stdout(io.StringIO()) as said, suppress(SystemExit):
        parser().parse_args([*name.split(), "--help"])
    return said.getvalue()


def recipe() -> str:
    """A table for each group of a recipe."""
    groups = (f"## {group}\n\n{GROUPS[group].__doc__}\n\n{''.join(fields(group))}" for group in GROUPS)
    elsewhere = ELSEWHERE + "".join(f"| `{there}` | `{here}` |\n" for there, here in NAMES_IN_OTHER_TOOLS.items())
    return "\n".join([RECIPE, *groups, elsewhere])


def fields(group: str) -> Iterator[str]:
    """The lines of a group's table."""
    yield "| field | default | may be | what it is |\n|---|---|---|---|\n"
    said = help_of(GROUPS[group])
    for key, schema in GROUPS[group].model_json_schema()["properties"].items():
        yield f"| `{group}.{key}` | {default(schema)} | {allowed(schema)} | {' '.join(said[key].split())} |\n"


def default(schema: dict[str, Any]) -> str:
    """A field's default as TOML."""
    if "default" not in schema:
        return "must be given"
    return "nothing" if schema["default"] is None else f"`{json.dumps(schema['default'])}`"


def allowed(schema: dict[str, Any]) -> str:
    """The values that a field may have."""
    options = schema.get("anyOf", [schema])
    return " or ".join(kind(option) for option in options if option.get("type") != "null")


def kind(option: dict[str, Any]) -> str:
    """One kind of value, with its range."""
    match option:
        case {"const": value}:
            return f"`{json.dumps(value)}`"
        case {"enum": values}:
            return ", ".join(f"`{json.dumps(value)}`" for value in values)
        case {"type": "boolean"}:
            return "`true`, `false`"
        case {"type": "integer"}:
            return f"a whole number{limits(option)}"
        case {"type": "number"}:
            return f"a number{limits(option)}"
        case {"type": "array", "items": items}:
            return f"a list of: {kind(items)}"
        case {"type": "object", "additionalProperties": {"type": "string"}}:
            return "a table of texts"
        case {"type": "object"}:
            return "a table"
    return "text"


def limits(option: dict[str, Any]) -> str:
    """The range of a number, in words."""
    words = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "up to", "exclusiveMaximum": "and below"}
    return "".join(f" {word} {option[key]:,}" for key, word in words.items() if key in option)


if __name__ == "__main__":
    for name, text in pages().items():
        (HERE / name).write_text(text, encoding="utf-8")
