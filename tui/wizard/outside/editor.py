"""The recipe of a draft in the user's own editor, and what comes back."""

import os
import shlex
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fitune.core.errors import UserError
from fitune.core.files import write_atomically
from fitune.core.recipe import Recipe, load
from fitune.tui.wizard.draft import UNCHOSEN, Draft, recipe, set_field
from fitune.tui.wizard.fields import all_fields, text_of

EDITORS = ("nano", "vim", "vi", "emacs")
"""Looked for where neither VISUAL nor EDITOR is set."""
FILE = "recipe-in-editor.toml"
HEAD = "# Save and leave the editor: fitune reads this again.\n# A line that is deleted gets its default back.\n"


def in_editor(draft: Draft, base: Path, edit: Callable[[Sequence[str]], tuple[int, str]]) -> Draft:
    """The draft as the user leaves its recipe.

    base: the folder for the file; one with problems stays there and is opened again. edit: runs a command on the
    terminal. Raises BadInput with all problems of the recipe, and UserError where there is no editor.
    """
    file = base / FILE
    if not file.exists():
        try:
            base.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(file, (HEAD + load.to_toml(recipe(draft))).encode())
        except OSError as error:
            hint = "Set FITUNE_HOME to a folder you can write to."
            raise UserError(f"{file} can't be written: {error.strerror}.", hint) from None
    status, _ = edit([*editor(), str(file)])
    if status:
        raise UserError(f"The editor ended with status {status}: nothing was changed.", f"The text is in {file}")
    changed = with_recipe(draft, load.load(file))
    file.unlink()
    return changed


def editor() -> list[str]:
    """The command of the user's editor. Raises UserError where there is none."""
    if asked := os.environ.get("VISUAL") or os.environ.get("EDITOR"):
        return shlex.split(asked)
    found = next((name for name in EDITORS if shutil.which(name)), None)
    if found is None:
        raise UserError("No editor was found.", "Set EDITOR to yours, such as: export EDITOR=nano")
    return [found]


def with_recipe(draft: Draft, asked: Recipe) -> Draft:
    """The draft with all values of a recipe; what differs from its preset is an edit."""
    tree: dict[str, dict[str, Any]] = asked.model_dump(mode="json")
    answers = {group: dict(fields) for group, fields in draft.answers.items()}
    answers.get("data", {}).pop("sources", None)
    if several := tree["data"]["sources"]:
        answers.setdefault("data", {})["sources"] = several
    changed = replace(draft, answers=answers, edits={}, plan=None)
    for name in all_fields():
        group, _, key = name.partition(".")
        value = tree[group][key]
        is_source = name == "data.source" and (several or value == UNCHOSEN)
        if name != "data.sources" and not is_source:
            changed = set_field(changed, name, text_of(value))
    same_rows = tree["data"] == recipe(draft).model_dump(mode="json")["data"]
    return changed if same_rows else replace(changed, report=None, rendered=None)
