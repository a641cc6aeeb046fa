"""Check the models that presets offer against the pinned stack: does transformers build them, does Unsloth know them?

usage: PYTHONPATH=. python bench/preset_models.py

One line a model: its architecture, the class of transformers, how Unsloth trains it, and if Unsloth lists it by name
(models/mapper.py); then one line a size of card, with the models of the newest year. Exit status 1 if transformers
lacks a class, or a card has fewer than two of these. It needs neither a card nor the network: Unsloth is not imported,
its files are read, and the shapes are those that fitune ships.
"""

import sys
from importlib.metadata import files, version

from fitune.core.memory import FAST_UNSLOTH, config_json
from fitune.core.recipe import presets
from fitune.core.worker.architecture.build import build

LEAST = 2
"""Models of the newest year that each size of card is to have."""


def main() -> int:
    print(f"transformers {version('transformers')}, unsloth {version('unsloth')}")
    code = "".join(
        file.read_text(encoding="utf-8")
        for package in ("unsloth", "unsloth_zoo")
        for file in files(package) or ()
        if str(file).startswith(("unsloth/models/", "unsloth_zoo/temporary_patches/")) and file.suffix == ".py"
    )
    newest, bad = max(note.year for note in presets.model_notes().values()), 0
    for model, note in presets.model_notes().items():
        config = config_json.shipped_configs().get(model.lower())
        if config is None:
            print(f"BAD   {model}: fitune ships no shape of it (core/memory/shapes/shapes_table.json)")
            bad += 1
            continue
        built = type(build(config)).__name__
        kind = config["model_type"]
        named = "which it has code for" if f'"{kind}"' in code or f"models.{kind}" in code else "without code for it"
        layers = "its own layers" if kind in FAST_UNSLOTH else f"compiled from transformers, {named}"
        listed = "listed by name" if f'"{model.removesuffix("-BF16")}"' in code else "not listed by name"
        print(f"OK    {model}: {kind}, {built}; Unsloth: {layers}, {listed}; {note.licence}, {note.year}")
    for card_gib in sorted({preset.card_gib for preset in presets.load_all() if preset.card_gib}):
        offered = {model for preset in presets.load_all() if preset.card_gib == card_gib for model in preset.models}
        current = sorted(model for model in offered if presets.model_notes()[model].year == newest)
        print(f"{'OK   ' if len(current) >= LEAST else 'BAD  '} {card_gib:g} GB: {', '.join(current)}")
        bad += len(current) < LEAST
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
