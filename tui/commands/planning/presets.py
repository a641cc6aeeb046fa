"""`fitune presets`: what there is to start from, best first, and how each would fare here or on another card."""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from fitune.core import runs
from fitune.core.forecast import estimate_pace
from fitune.core.machine import host as machine
from fitune.core.memory import estimate, shapes
from fitune.core.recipe import Preset, Recipe, presets
from fitune.tui.commands.planning.place import Place, on_card, on_machine, size_bytes
from fitune.tui.text import as_ascii_json, gib, hanging, rate
from fitune.tui.wizard.options import standing


def run(args: argparse.Namespace) -> int:
    """Print every preset with its budget, or with --json a list of objects. Exit status 0."""
    if args.gpu_memory is not None:
        found = described(partial(on_card, amount_bytes=size_bytes(args.gpu_memory)))
    else:
        here = machine.detect(runs.home())
        if not any(gpu.allowed for gpu in here.gpus):
            why = here.gpu_message or "No NVIDIA card can be used."
            print(f"{why}\nSo these are for the processor. For a card elsewhere: --gpu-memory 12GiB", file=sys.stderr)
        found = described(partial(on_machine, here=here))
    if args.json:
        print(as_ascii_json(found))
        return 0
    for each in found:
        print(f"{each['title']:<18} needs {gib(each['total_bytes']):>9}  {each['verdict']:<8} {each['id']}")
        host = f"{gib(each['host_bytes'])} of host RAM" if each["offloaded_layers"] else ""
        pace = f"about {rate(each['tokens_per_s'])}" if each["tokens_per_s"] else ""
        models = f"models: {', '.join(each['models'])}"
        print(hanging("    ", each["whom"]))
        print(hanging("    ", "; ".join(said for said in (each["evidence"], pace, host, models) if said)))
    return 0


def described(judge: Callable[[Recipe], Place]) -> list[dict[str, Any]]:
    """Every preset and its budget in plain values, best first on a card; on a processor by size."""
    ranked = [_described(preset, judge(preset.recipe("data.jsonl"))) for preset in presets.load_all()]
    if all(on_a_card for on_a_card, _, _ in ranked):
        ranked.sort(key=lambda each: each[1])
    return [values for _, _, values in ranked]


def _described(preset: Preset, here: Place) -> tuple[bool, tuple[int, float, float], dict[str, Any]]:
    shape = shapes.load(here.recipe.model.id)
    found = here.budget(estimate(shape, here.recipe, here.card))
    guess = estimate_pace(shape, here.recipe, here.gpu_name, layers_away=found.offloaded_layers)
    pace = here.experience.pace(guess)
    values = {
        "id": preset.id,
        "title": preset.title,
        "whom": preset.whom,
        "models": preset.models,
        "card_gib": preset.card_gib,
        "total_bytes": found.total_bytes,
        "host_bytes": found.host_bytes,
        "offloaded_layers": found.offloaded_layers,
        "verdict": found.verdict if found.free_bytes else "unknown",
        "tokens_per_s": pace.tokens_per_s,
        "evidence": str(preset.evidence[0]) if preset.evidence else "estimated",
    }
    return here.card is not None, standing(preset, found.verdict, here.card, found, pace), values
