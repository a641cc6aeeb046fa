"""Shapes of models: what each is made of, from its config.json, without loading a weight."""

from collections.abc import Mapping
from dataclasses import replace

from fitune.core.errors import UserError
from fitune.core.memory import config_json
from fitune.core.memory.shapes.known import shape_of
from fitune.core.memory.shapes.shape import (
    Experts,
    Layer,
    Linear,
    Mixer,
    Shape,
    are_named_experts,
    is_named,
    rank_of,
    refuse_beyond_places,
)
from fitune.core.memory.shapes.storage import (
    ORIGINAL_HINT,
    bytes_of_a_weight,
    quantization_of,
    refuse_untrainable,
    stored,
)
from fitune.core.memory.shapes.tower import tower_work
from fitune.core.recipe import Model

MAX_PARAMS = 10**13
"""Upper bound of parameters: no open model comes near it, so a file with more is broken."""

__all__ = [
    "ORIGINAL_HINT",
    "Experts",
    "Layer",
    "Linear",
    "Mixer",
    "Shape",
    "are_named_experts",
    "find",
    "from_config",
    "is_named",
    "load",
    "quantization_of",
    "rank_of",
    "refuse_beyond_places",
    "refuse_untrainable",
]


def load(model_id: str, revision: str | None = None, trust_remote_code: bool = False) -> Shape:
    """The shape of a local folder, a config.json, a model of the shipped table, or a Hub repository.

    Only the last needs the network, for one small file. A model that fitune does not ship takes some ten seconds the
    first time. Raises UserError with a hint.
    """
    config, source = config_json.load_config(model_id, revision)
    return from_config(config, source, model_id if trust_remote_code else None)


def find(model: Model) -> Shape | None:
    """The shape of a recipe's model, as `load`; None where it can't be known."""
    try:
        return load(model.id, model.revision, model.trust_remote_code)
    except UserError:
        return None


def from_config(config: object, source: str, code_of: str | None = None) -> Shape:
    """The shape that a parsed config.json describes. `source` names it in errors.

    code_of: the model whose own code may run; None runs none. Raises UserError where transformers can't build it.
    """
    if not isinstance(config, Mapping):
        raise UserError(f"{source} is not a model's config.json: it holds no JSON object.", "Give the model's folder.")
    if not isinstance(config.get("model_type"), str):
        raise UserError(f"{source} names no model_type.", "Take a copy of the model that was written for transformers.")
    counted = shape_of(config, source, code_of if "auto_map" in config else None)
    made_for = config_json.positions_of(config) or counted.positions
    shape = replace(counted, name=_name(source), tower_work=tower_work(config), made_for=made_for)
    if shape.params > MAX_PARAMS:
        message = f"{source} describes a model of {shape.params:.1e} parameters, more than any has."
        raise UserError(message, "Download the model's config.json again.")
    kind, kept = stored(config, shape, source)
    return replace(shape, stored_as=kind, kept_16bit=kept, file_bytes=bytes_of_a_weight(config))


def _name(source: str) -> str:
    parts = [part for part in source.split("/") if part and part != "config.json"]
    return parts[-1] if parts else source
