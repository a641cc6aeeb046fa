"""`fitune estimate RECIPE`: what the run will need in memory, item by item, against what the card has free."""

import argparse
import re
import sys

import orjson

from core import config, machine, runs, shapes
from core.budget import Budget, Card, estimate, to_json
from core.errors import UserError
from core.machine import GIB
from core.remedies import Remedy, remedies
from core.resolve import card_of, resolve
from tui.format import gib
from tui.text import clean

FITS, DOES_NOT_FIT = 0, 3
WORDS = {"fits": "OK    It fits.", "tight": "WARN  It may fit, with luck.", "over": "ERROR It does not fit."}


def run(args: argparse.Namespace) -> int:
    """Exit status: 0 fits, 3 does not fit."""
    recipe = config.load(args.recipe, args.set)
    resolved = resolve(recipe, machine.detect(runs.home()), need_data=False)
    asked, card = resolved.recipe, card_of(resolved.gpu)
    if args.gpu_memory:
        # A card that is not here: then the recipe's own wish for a backend stands, and auto means unsloth.
        asked, card = recipe, Card(size_bytes(args.gpu_memory), size_bytes(args.gpu_memory))
    shape = shapes.load(asked.model.id, asked.model.revision)
    found = estimate(shape, asked, card)
    ways = remedies(shape, asked, card) if found.verdict != "fits" and card else []
    if args.json:
        print(orjson.dumps(to_json(found, ways), option=orjson.OPT_INDENT_2).decode())
    else:
        tell(found, ways, card)
        print("Rows are counted as full length.", file=sys.stderr)
    return DOES_NOT_FIT if found.verdict == "over" and card else FITS


def tell(found: Budget, ways: list[Remedy], card: Card | None) -> None:
    """Print the budget as a table."""
    for part in found.parts:
        print(f"{gib(part.bytes, 2):>11}  {part.name:<20} {clean(part.why)}")
    print(f"{gib(found.total_bytes, 2):>11}  total at the peak ({found.moment}); from {gib(found.low_bytes)} to "
          f"{gib(found.high_bytes)}")  # fmt: skip
    if card:
        print(f"{gib(found.free_bytes, 2):>11}  free\n{WORDS[found.verdict]}")
    for way in ways:
        changes = " ".join(f"--set {key}={value}" for key, value in way.set.items())
        print(f"      {changes}  saves {gib(way.saves_bytes)}: {clean(way.costs)}")


def size_bytes(text: str) -> int:
    """ "16GiB", "16 GB" or "16" (GiB) in bytes. Raises UserError."""
    found = re.fullmatch(r"\s*([\d.]+)\s*(gib|g|gb|mib|mb)?\s*", text.lower())
    try:
        amount = float(found[1]) if found else 0.0
    except ValueError:
        amount = 0.0
    if not found or not amount:
        raise UserError(f"--gpu-memory: {text} is not an amount of memory.", "For example: --gpu-memory 16GiB")
    return round(amount * {"gb": 10**9, "mb": 10**6, "mib": 2**20}.get(found[2] or "gib", GIB))
