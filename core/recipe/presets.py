"""Presets: recipes without data, worded as people ask ("8B on 12 GB"). They are TOML files in presets/, data only."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from fitune.core.errors import UserError
from fitune.core.recipe.load import Recipe, parse


@dataclass(frozen=True, slots=True)
class Evidence:
    """One run of a preset that was measured."""

    card: str
    """The card, and how it was made smaller if it was."""
    peak_gib: float
    """The most that nvidia-smi showed for the process."""
    date: str
    versions: str
    tokens_per_s: float | None = None
    """None where several runs shared the card."""

    def __str__(self) -> str:
        pace = f" at {self.tokens_per_s:,.0f} tokens/s" if self.tokens_per_s else ""
        return f"measured {self.peak_gib:.1f} GiB{pace} on {self.card}, {self.date}"


@dataclass(frozen=True, slots=True)
class Preset:
    """A starting point for a card of some size."""

    id: str
    title: str
    """As people ask: `8B on 12 GB`."""
    whom: str
    """A sentence: for whom it is."""
    card_gib: float
    """The smallest card it is meant for; 0 means any machine."""
    models: tuple[str, ...]
    """Hub ids that it suits; the first is the default."""
    tree: Mapping[str, Any]
    """The recipe groups of its file."""
    evidence: tuple[Evidence, ...] = ()

    def recipe(self, data_source: str, model_id: str | None = None) -> Recipe:
        """The preset as a recipe for a data source, with its first model or another."""
        tree = {group: dict(fields) for group, fields in self.tree.items()}
        tree.setdefault("model", {})["id"] = model_id or self.models[0]
        tree.setdefault("data", {})["source"] = data_source
        return parse(tree, f"presets/{self.id}.toml")


def presets_dir() -> Path:
    """Where the presets lie: beside `core`, in a checkout and in an installed package alike."""
    return Path(__file__).resolve().parents[2] / "presets"


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
    about = tree.pop("preset", None)
    if not isinstance(about, dict):
        raise UserError(f"presets/{name}.toml has no [preset] table.")
    try:
        preset = Preset(
            id=name,
            title=about["title"],
            whom=about["whom"],
            card_gib=about["card_gib"],
            models=tuple(about["models"]),
            tree=tree,
            evidence=tuple(Evidence(**each) for each in about.get("evidence", ())),
        )
    except (KeyError, TypeError) as error:
        raise UserError(f"presets/{name}.toml: the [preset] table is not complete: {error}.") from None
    preset.recipe(data_source="data.jsonl")
    return preset


def find(name: str) -> Preset:
    """The preset of that id. Raises UserError, naming all of them."""
    for preset in load_all():
        if preset.id == name:
            return preset
    raise UserError(f"There is no preset {name!r}.", f"Presets: {', '.join(preset.id for preset in load_all())}.")
