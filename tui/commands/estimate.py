"""`fitune estimate RECIPE`: what the run will need in memory, item by item, against what the card has free."""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from core import config, shapes
from core.budget import Budget, Card, estimate, to_json
from core.errors import UserError
from core.pace import Pace, estimate_pace
from core.recipe_fields import Recipe
from core.remedies import Remedy, remedies
from tui.format import count, gib, rate
from tui.place import place
from tui.text import as_ascii_json, clean

FITS, DOES_NOT_FIT = 0, 3
WORDS = {"fits": "OK    It fits.", "tight": "WARN  It may fit, with luck.", "over": "ERROR It does not fit."}


def run(args: argparse.Namespace) -> int:
    """Exit status: 0 fits, 3 does not fit."""
    recipe = config.load(args.recipe, args.set)
    if args.calibrate:
        measure(recipe, args.gpu_memory)
    here = place(recipe, args.gpu_memory)
    asked, card = here.recipe, here.card
    shape = shapes.load(asked.model.id, asked.model.revision)
    found = here.experience.budget(estimate(shape, asked, card))
    pace = estimate_pace(shape, asked, here.gpu_name, layers_away=found.offloaded_layers)
    pace = here.experience.pace(pace)
    ways = remedies(shape, asked, card, experience=here.experience) if found.verdict != "fits" and card else []
    if args.json:
        print(as_ascii_json({**to_json(found, ways), "pace": asdict(pace)}))
    else:
        tell(found, pace, ways, card)
        print("Rows are counted as full length.", file=sys.stderr)
    return DOES_NOT_FIT if found.verdict == "over" and card else FITS


def measure(recipe: Recipe, gpu_memory: str | None) -> None:
    """Learn from a short training, telling how it goes. Raises UserError."""
    from core.calibrate import calibrate

    if gpu_memory:
        raise UserError("--calibrate measures on this machine.", "Leave out --gpu-memory.")
    print("Trains 3 steps on made-up rows to measure; the model is downloaded if it isn't here.", file=sys.stderr)
    if not calibrate(recipe, lambda phase: print(f"  {clean(phase)}", file=sys.stderr)):
        print("WARN  Nothing was learned: others used the card, or the model's size is not known.", file=sys.stderr)


def tell(found: Budget, pace: Pace, ways: list[Remedy], card: Card | None) -> None:
    """Print the budget as a table."""
    for part in found.parts:
        print(f"{gib(part.bytes, 2):>11}  {part.name:<20} {clean(part.why)}")
    print(f"{gib(found.total_bytes, 2):>11}  total at the peak ({found.moment}); from {gib(found.low_bytes)} to "
          f"{gib(found.high_bytes)}")  # fmt: skip
    if card:
        print(f"{gib(found.free_bytes, 2):>11}  free\n{WORDS[found.verdict]}")
    if pace.tokens_per_s:
        print(f"      {count(pace.low_tokens_per_s)} to {rate(pace.high_tokens_per_s)}: {clean(pace.why)}")
    for way in ways:
        print(f"      {set_flags(way.set)}  saves {gib(way.saves_bytes)}: {clean(way.costs)}")


def set_flags(changes: Mapping[str, Any]) -> str:
    """Changes as they are typed: `--set train.micro_batch=1`. What is unset has no flag."""
    return " ".join(f"--set {name}={value}" for name, value in changes.items() if value is not None)
