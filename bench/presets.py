"""The evidence of the presets: each is trained on random weights of its first model's shape, by `fitune train`.

usage: python bench/presets.py MODELS_DIR [PRESET ...] [--emulate] [--at-once N] [--steps N] [--limit-s SECONDS]
                                [--out FILE.jsonl]
--emulate leaves as much of the card free as a card of the preset's size has. One JSON line a preset, also of one that
failed. Several at once share the card: their memory counts, their pace does not, and none can be emulated. A model
whose layers are all alike is made in 4 bits where the preset trains it so; the others as they are published, in 16.
Each is removed after its last preset.
"""

import argparse
import json
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import nullcontext
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
from bench import vram
from bench.family_models import Shelf
from bench.fits import Disturbed, measured, only_free, write_rows
from fitune.core.machine import CARD_FREE_SHARE
from fitune.core.memory import FAST_UNSLOTH
from fitune.core.memory.config_json import shipped_configs
from fitune.core.recipe import presets
from fitune.core.recipe.load import to_toml
from fitune.core.recipe.presets import Preset


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("models", type=Path)
    options.add_argument("presets", nargs="*", default=[each.id for each in presets.load_all()])
    options.add_argument("--emulate", action="store_true")
    options.add_argument("--at-once", type=int, default=1)
    options.add_argument("--steps", type=int, default=6)
    options.add_argument("--limit-s", type=float, default=900, help="after so long a preset is given up")
    options.add_argument("--out", type=Path)
    args = options.parse_args()
    if args.emulate and args.at_once > 1:
        options.error("--emulate needs the card for one preset at a time")
    vram.write(json.dumps({"about": vram.about()}) + "\n", args.out)
    chosen = [presets.find(name) for name in args.presets]
    args.models.mkdir(parents=True, exist_ok=True)
    shelf = Shelf(args.models, args.models, [each.models[0] for each in chosen])
    with ThreadPoolExecutor(args.at_once) as pool:
        for job in as_completed(pool.submit(evidence, each, shelf, args) for each in chosen):
            vram.write(json.dumps(job.result()) + "\n", args.out)


def evidence(preset: Preset, shelf: Shelf, args: argparse.Namespace) -> dict[str, Any]:
    """Train a preset for some steps, on a card as small as it is meant for if so wished."""
    model = preset.models[0]
    try:
        if told := made(preset, shelf, args):
            raise vram.NotMade(told)
        found = tried(preset, args)
    except (vram.NotMade, Disturbed, OSError, ValueError) as error:
        found = {"failed": str(error)[-300:]}  # the other presets are worth having all the same
    finally:
        shelf.done(model)
    return {"preset": preset.id, "model": model, **found}


def made(preset: Preset, shelf: Shelf, args: argparse.Namespace) -> str:
    """Have the model of a preset; what is wrong if there is none. Raises vram.NotMade."""
    model = preset.models[0]
    alike = shipped_configs()[model.lower()]["model_type"] in FAST_UNSLOTH
    if not alike or preset.recipe("rows").model.quant != "nf4":
        return shelf.make(model, args.limit_s)
    with shelf.locks[model]:
        vram.build(model, args.models, nf4=True)
    return ""


def tried(preset: Preset, args: argparse.Namespace) -> dict[str, Any]:
    """What the training took. Raises Disturbed."""
    model = preset.models[0]
    small = args.emulate and preset.card_gib
    free = only_free(preset.card_gib * CARD_FREE_SHARE) if small else nullcontext(None)
    with tempfile.TemporaryDirectory() as place, free as free_bytes:
        rows, recipe = write_rows(Path(place)), Path(place) / "recipe.toml"
        recipe.write_text(to_toml(preset.recipe(str(rows), str(vram.folder_of(model, args.models)))))
        fixed = {"train.max_steps": args.steps, "train.save_every": 100_000, "data.eval_fraction": 0}
        sets = [text for key, value in fixed.items() for text in ("--set", f"{key}={value}")]
        found = measured(recipe, [*sets, "--set", "data.packing=false"], args.limit_s)
        if args.at_once > 1:
            found["tokens_per_s"] = None
        return {"free_bytes": free_bytes, **found}


if __name__ == "__main__":
    main()
