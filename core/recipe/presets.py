"""Presets: recipes without data, named after model size and card ("8B on 12 GB"). They are TOML files in presets/."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from fitune.core.errors import UserError
from fitune.core.recipe.load import Recipe, parse, presets_dir


@dataclass(frozen=True, slots=True)
class Evidence:
    """One measured run of a preset."""

    card: str
    """The card, and the way its memory was limited, if it was."""
    peak_gib: float
    """The peak that nvidia-smi showed for the process."""
    date: str
    versions: str
    tokens_per_s: float | None = None
    """None where several runs shared the card."""

    def __str__(self) -> str:
        pace = f" at {self.tokens_per_s:,.0f} tokens/s" if self.tokens_per_s else ""
        return f"measured {self.peak_gib:.1f} GiB{pace} on {self.card}, {self.date}"


@dataclass(frozen=True, slots=True)
class Preset:
    """A recipe without data, for a card of some size."""

    id: str
    title: str
    """Model size and card: `8B on 12 GB`."""
    whom: str
    """A sentence on the users it is for."""
    card_gib: float
    """GiB of the smallest card it is meant for; 0 means any machine."""
    models: tuple[str, ...]
    """Hub ids of suitable models; the first is the default."""
    tree: Mapping[str, Any]
    """The recipe groups of its file."""
    evidence: tuple[Evidence, ...] = ()

    @property
    def command(self) -> str:
        """The command that trains it on a file of rows; it stands in the preset's file, too."""
        return f"fitune train {self.id} --set data.source=rows.jsonl"

    def recipe(self, data_source: str, model_id: str | None = None) -> Recipe:
        """The preset as a recipe for a data source, with its first model or another."""
        tree = {group: dict(fields) for group, fields in self.tree.items()}
        tree.setdefault("model", {})["id"] = model_id or self.models[0]
        tree.setdefault("data", {})["source"] = data_source
        return parse(tree, f"presets/{self.id}.toml")


@cache
def load_all() -> tuple[Preset, ...]:
    """Every preset that ships with fitune, by size of card. Raises BadInput or UserError if one is broken."""
    presets = [load(file.stem, file.read_text(encoding="utf-8")) for file in presets_dir().glob("*.toml")]
    return tuple(sorted(presets, key=lambda preset: (preset.card_gib, preset.id)))


def load(name: str, text: str) -> Preset:
    """Read one preset from its TOML text. Raises BadInput or UserError, naming the preset."""
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"presets/{name}.toml is not valid TOML: {error}.") from None
    preset_table = tree.pop("preset", None)
    if not isinstance(preset_table, dict):
        raise UserError(f"presets/{name}.toml has no [preset] table.")
    try:
        preset = Preset(
            id=name,
            title=preset_table["title"],
            whom=preset_table["whom"],
            card_gib=preset_table["card_gib"],
            models=tuple(preset_table["models"]),
            tree=tree,
            evidence=tuple(Evidence(**evidence) for evidence in preset_table.get("evidence", ())),
        )
    except (KeyError, TypeError) as error:
        raise UserError(f"presets/{name}.toml: the [preset] table is not complete: {error}.") from None
    preset.recipe(data_source="data.jsonl")
    return preset


def find(name: str) -> Preset:
    """The preset with this id. Raises UserError with the ids of all presets."""
    for preset in load_all():
        if preset.id == name:
            return preset
    raise UserError(f"There is no preset {name!r}.", f"Presets: {', '.join(preset.id for preset in load_all())}.")
