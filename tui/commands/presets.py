"""`fitune presets`: what there is to start from, and how each would fare on this card or on another."""

import argparse
from typing import Any

import orjson

from core import machine, presets, runs, shapes
from core.budget import Card, estimate
from core.machine import pick_gpu
from core.pace import estimate_pace
from core.presets import Preset
from core.resolve import card_of
from tui.commands.estimate import size_bytes
from tui.format import gib, rate


def run(args: argparse.Namespace) -> int:
    """Print every preset with its budget, or with --json a list of objects. Exit status 0."""
    gpu = pick_gpu(machine.detect(runs.home()), None)
    card = card_of(gpu)
    if args.gpu_memory:
        card = Card(size_bytes(args.gpu_memory), size_bytes(args.gpu_memory))
    found = [describe(preset, card, gpu.name if gpu else None) for preset in presets.load_all()]
    if args.json:
        print(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
        return 0
    for each in found:
        print(f"{each['title']:<18} needs {gib(each['total_bytes']):>9}  {each['verdict']:<8} {each['id']}")
        pace = f" {rate(each['tokens_per_s'])};" if each["tokens_per_s"] else ""
        print(f"    {each['whom']}\n   {pace} {each['evidence']}; models: {', '.join(each['models'])}")
    return 0


def describe(preset: Preset, card: Card | None, gpu_name: str | None) -> dict[str, Any]:
    """A preset and its budget in plain values; the verdict is "unknown" without a card."""
    recipe = preset.recipe("data.jsonl")
    shape = shapes.load(recipe.model.id)
    # Without a card here the numbers are of a card all the same: that is what a preset is for.
    found = estimate(shape, recipe, card or Card(80 * machine.GIB, 80 * machine.GIB))
    return {
        "id": preset.id,
        "title": preset.title,
        "whom": preset.whom,
        "models": preset.models,
        "card_gib": preset.card_gib,
        "total_bytes": found.total_bytes,
        "verdict": found.verdict if card else "unknown",
        "tokens_per_s": estimate_pace(shape, recipe, gpu_name).tokens_per_s,
        "evidence": f"measured {preset.evidence[0].peak_gib} GiB" if preset.evidence else "estimated",
    }
