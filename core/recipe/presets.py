"""Presets: recipes without data, named after model size and card ("8B on 12 GB"). They are TOML files in presets/."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from fitune.core.errors import UserError
from fitune.core.recipe import load as recipes
from fitune.core.recipe.load import Recipe, parse, preset_file, presets_dir

CLASSIC = 2024
"""The newest year whose models are classics: proven in use, and surpassed."""
ROWS_TO_COME = "rows-to-come.jsonl"
"""The source of a preset that is only planned with."""


def load_to_plan(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """As `load.load`; but a preset needs no data, as its rows count as full."""
    has_rows = any(pair.startswith(("data.source", "data.sources")) for pair in overrides)
    rows = [f"data.source={ROWS_TO_COME}"] if preset_file(path) and not has_rows else []
    return recipes.load(path, [*overrides, *rows])


@dataclass(frozen=True, slots=True)
class Evidence:
    """One measured run of a preset."""

    model: str
    """The model that was trained; what another one takes is estimated."""
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
class ModelNote:
    """What a user wants to know of a model before choosing it."""

    good_for: str
    """A sentence on the tasks it is good for."""
    licence: str
    """The licence of its weights: an SPDX id, or the name that its makers gave it."""
    year: int
    """The year it came out."""

    def __str__(self) -> str:
        classic = f", a proven classic of {self.year}" if self.year <= CLASSIC else ""
        return f"{self.good_for} {self.licence}{classic}."


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
    """Hub ids of suitable models, today's first; the first is the default."""
    tree: Mapping[str, Any]
    """The recipe groups of its file."""
    evidence: tuple[Evidence, ...] = ()

    def measured(self, model: str) -> Evidence | None:
        """What was measured with one of its models; None if its memory is estimated."""
        return next((each for each in self.evidence if each.model == model), None)

    @property
    def told_evidence(self) -> str:
        """What was measured with its first model, or that its memory is estimated, and what was measured instead."""
        if found := self.measured(self.models[0]):
            return str(found)
        others = [f"with {each.model.rpartition('/')[2]} {each}" for each in self.evidence[:1]]
        return "; ".join(("estimated", *others))

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
def model_notes() -> Mapping[str, ModelNote]:
    """What is said of each model that a preset offers, by Hub id; from presets/models/models.toml."""
    table = tomllib.loads((presets_dir() / "models" / "models.toml").read_text(encoding="utf-8"))
    return {model: ModelNote(**note) for model, note in table.items()}


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
