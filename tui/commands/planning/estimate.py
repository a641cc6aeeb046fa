"""`fitune estimate RECIPE`: what the run will need in memory, item by item, against what the card has free."""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fitune.core import runs
from fitune.core.errors import UserError
from fitune.core.forecast import Pace, Remedy, estimate_pace, ram_lack, remedies
from fitune.core.memory import Budget, estimate, shapes, to_json
from fitune.core.recipe import Recipe, load
from fitune.core.tokens import Workload, as_decided, cache, lengths_said
from fitune.tui.commands.planning.place import place
from fitune.tui.text import as_ascii_json, clean, count, duration, gib, hanging, rate

FITS, DOES_NOT_FIT = 0, 3
INDENT = " " * 6
WORDS = {"fits": "OK    It fits.", "tight": "WARN  It may fit, with luck.", "over": "ERROR It does not fit."}


def run(args: argparse.Namespace) -> int:
    """Exit status: 0 fits, 3 does not fit."""
    recipe = load.load(args.recipe, args.set)
    if args.calibrate:
        measure(recipe, args.gpu_memory)
    here = place(recipe, args.gpu_memory)
    asked, card = here.recipe, here.card
    shape = shapes.load(asked.model.id, asked.model.revision)
    asked, work = as_decided(asked, cache.known(asked, runs.home(asked.run.home)))
    longest, row_tokens = (work.longest, work.row_tokens) if work else (None, None)
    found = here.budget(estimate(shape, asked, card, longest))
    pace = here.experience.pace(estimate_pace(shape, asked, here.gpu_name, row_tokens, found.offloaded_layers))
    short = found.free_bytes and found.verdict != "fits"
    ways = remedies(shape, asked, card, longest, here.experience, here.unsloth_works) if short else []
    if args.json:
        print(as_ascii_json({**to_json(found, ways), "pace": asdict(pace), "workload": asdict(work) if work else None}))
    else:
        print(f"{clean(shape.name)} on {clean(here.named)}")
        tell(found, pace, ways, here.ram_bytes)
        tell_work(work, pace)
    return DOES_NOT_FIT if found.verdict == "over" else FITS


def measure(recipe: Recipe, gpu_memory: str | None) -> None:
    """Learn from a short training, telling how it goes. Raises UserError."""
    from fitune.core.jobs.calibrate import calibrate

    if gpu_memory is not None:
        raise UserError("--calibrate measures on this machine.", "Leave out --gpu-memory.")
    print("Trains 3 steps on made-up rows to measure; the model is downloaded if it isn't here.", file=sys.stderr)
    if not calibrate(recipe, lambda phase: print(f"  {clean(phase)}", file=sys.stderr)):
        print("WARN  Nothing was learned: others used the card, or the model's size is not known.", file=sys.stderr)


def tell(found: Budget, pace: Pace, ways: list[Remedy], ram_bytes: int | None) -> None:
    """Print the budget as a table."""
    width = max(len(part.name) for part in found.parts)
    for part in found.parts:
        print(hanging(f"{gib(part.bytes, 2):>11}  {part.name:<{width}}  ", clean(part.why)))
    print(f"{gib(found.total_bytes, 2):>11}  total at the peak ({found.moment}); from {gib(found.low_bytes)} to "
          f"{gib(found.high_bytes)}")  # fmt: skip
    if found.free_bytes:
        print(f"{gib(found.free_bytes, 2):>11}  free")
    if found.host_bytes:
        print(f"{gib(found.host_bytes, 2):>11}  host RAM beside the card")
    print(f"{gib(found.disk_bytes, 2):>11}  disk, the download of the model included")
    if found.free_bytes:
        print(WORDS[found.verdict])
    if lack := ram_lack(found.host_bytes, ram_bytes):
        print(f"WARN  {lack}")
    if pace.tokens_per_s:
        print(hanging(INDENT, f"{count(pace.low_tokens_per_s)} to {rate(pace.high_tokens_per_s)}: {clean(pace.why)}"))
    if ways:
        print("What would help")
    for way in ways:
        print(hanging(INDENT, f"{set_flags(way.set)}  saves {gib(way.saves_bytes)}: {clean(way.costs)}"))


def tell_work(work: Workload | None, pace: Pace) -> None:
    """Print where the lengths come from, and what the training goes through where they are measured."""
    print(f"      {lengths_said(work)}")
    if work is None:
        return
    packed = f", packed into {count(work.packing.packed_rows)}" if work.packing.packed else ""
    print(f"      {count(work.packing.rows)} rows to train on{packed}, the longest {count(work.longest)} tokens; "
          f"{count(work.packing.steps)} steps, {count(work.trained_tokens)} tokens trained in all")  # fmt: skip
    if pace.low_tokens_per_s and pace.high_tokens_per_s:
        shortest, longest = (duration(work.tokens / each) for each in (pace.high_tokens_per_s, pace.low_tokens_per_s))
        print(f"      about {shortest} to {longest}")


def set_flags(changes: Mapping[str, Any]) -> str:
    """Changes as they are typed: `--set train.micro_batch=1`. What is unset has no flag."""
    return " ".join(f"--set {name}={value}" for name, value in changes.items() if value is not None)
