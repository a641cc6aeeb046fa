"""Check the models that presets offer against the pinned stack: does transformers build them, does Unsloth know them?

usage: PYTHONPATH=. python bench/preset_models.py

One line a model: its architecture, the class of transformers, and how Unsloth trains it. Exit status 1 if transformers
lacks a class. It needs neither a card nor the network: Unsloth is not imported, its files are read, and the shapes are
those that fitune ships.
"""

import sys
from importlib.metadata import files, version

from fitune.core.memory import FAST_UNSLOTH, config_json
from fitune.core.recipe import presets
from fitune.core.worker.architecture.build import build


def main() -> int:
    print(f"transformers {version('transformers')}, unsloth {version('unsloth')}")
    code = "".join(
        file.read_text(encoding="utf-8")
        for package in ("unsloth", "unsloth_zoo")
        for file in files(package) or ()
        if str(file).startswith(("unsloth/models/", "unsloth_zoo/temporary_patches/")) and file.suffix == ".py"
    )
    bad = 0
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
        print(f"OK    {model}: {kind}, {built}; Unsloth: {layers}; {note.licence}")
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
