"""`fitune presets`: what there is to start from, best first, and how each would fare on this card or on another."""

import argparse
from typing import Any

from core import learned, machine, presets, runs, shapes
from core.budget import Card, estimate
from core.learned import NONE, Experience
from core.machine import choose_backend, pick_gpu
from core.pace import estimate_pace
from core.presets import Preset
from core.resolve import card_of
from tui.choices import standing
from tui.format import gib, rate
from tui.place import size_bytes
from tui.text import as_ascii_json


def run(args: argparse.Namespace) -> int:
    """Print every preset with its budget, or with --json a list of objects. Exit status 0."""
    card, gpu_name, taught = _planned(args.gpu_memory) if args.gpu_memory else _here()
    found = described(card, gpu_name, taught)
    if args.json:
        print(as_ascii_json(found))
        return 0
    for each in found:
        print(f"{each['title']:<18} needs {gib(each['total_bytes']):>9}  {each['verdict']:<8} {each['id']}")
        pace = f" {rate(each['tokens_per_s'])};" if each["tokens_per_s"] else ""
        print(f"    {each['whom']}\n   {pace} {each['evidence']}; models: {', '.join(each['models'])}")
    return 0


def _planned(gpu_memory: str) -> tuple[Card, None, Experience]:
    """A card that is not here."""
    amount = size_bytes(gpu_memory)
    return Card(amount, amount), None, NONE


def _here() -> tuple[Card | None, str | None, Experience]:
    """This machine's card, and what earlier runs on it taught."""
    home = runs.home()
    found = machine.detect(home)
    gpu = pick_gpu(found, None)
    backend, _ = choose_backend("auto", gpu, found.versions)
    taught = learned.experience(home, gpu, found.cpu_name, found.versions, backend)
    return card_of(gpu), gpu.name if gpu else None, taught


def described(card: Card | None, gpu_name: str | None, taught: Experience) -> list[dict[str, Any]]:
    """Every preset and its budget in plain values, best first on a card; without one by size, the verdicts unknown."""
    ranked = [_described(preset, card, gpu_name, taught) for preset in presets.load_all()]
    if card is not None:
        ranked.sort(key=lambda each: each[0])
    return [values for _, values in ranked]


def _described(
    preset: Preset, card: Card | None, gpu_name: str | None, taught: Experience
) -> tuple[tuple[int, float, float], dict[str, Any]]:
    recipe = preset.recipe("data.jsonl")
    shape = shapes.load(recipe.model.id)
    # Without a card here the numbers are of a card all the same: that is what a preset is for.
    found = estimate(shape, recipe, card or Card(80 * machine.GIB, 80 * machine.GIB))
    found = taught.budget(found) if card else found
    pace = taught.pace(estimate_pace(shape, recipe, gpu_name, layers_away=found.offloaded_layers))
    values = {
        "id": preset.id,
        "title": preset.title,
        "whom": preset.whom,
        "models": preset.models,
        "card_gib": preset.card_gib,
        "total_bytes": found.total_bytes,
        "verdict": found.verdict if card else "unknown",
        "tokens_per_s": pace.tokens_per_s,
        "evidence": str(preset.evidence[0]) if preset.evidence else "estimated",
    }
    return standing(preset, found.verdict, card, found, pace), values
