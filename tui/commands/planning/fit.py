"""`fitune fit RECIPE`: the fastest plan that fits the card, what was rejected and why, and the longest rows."""

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fitune.core import runs
from fitune.core.forecast import Fit, Rejected, Tried, fit
from fitune.core.memory import shapes, to_json
from fitune.core.recipe import load
from fitune.core.tokens import as_decided, cache, lengths_said
from fitune.tui.commands.planning.estimate import DOES_NOT_FIT, FITS, INDENT, set_flags
from fitune.tui.commands.planning.place import Place, place
from fitune.tui.text import as_ascii_json, clean, count, gib, hanging, rate


def run(args: argparse.Namespace) -> int:
    """Exit status: 0 if a plan fits, 3 if none does."""
    here = place(load.load(args.recipe, args.set), args.gpu_memory)
    shape = shapes.load(here.recipe.model.id, here.recipe.model.revision)
    rows = cache.known(here.recipe, runs.home(here.recipe.run.home))
    _, work = as_decided(here.recipe, rows)
    found = fit(shape, here.recipe, here.card, here.gpu_name, here.ram_bytes, here.experience, rows)
    if args.json:
        print(as_ascii_json({**as_json(found), "workload": asdict(work) if work else None}))
    else:
        print(hanging("", f"{clean(shape.name)} on {clean(here.named)}; {lengths_said(work)}"))
        tell(found, here)
    return FITS if found.plan else DOES_NOT_FIT


def tell(found: Fit, here: Place) -> None:
    """Print what was found."""
    print(hanging("OK    " if found.plan else "ERROR ", found.reason))
    if plan := found.plan:
        print(hanging("      change   ", _plan_text(plan)))
        print(f"      memory   {gib(plan.budget.total_bytes)} ({gib(plan.budget.low_bytes)} to "
              f"{gib(plan.budget.high_bytes)}), {gib(plan.budget.host_bytes)} of host RAM")  # fmt: skip
        if plan.pace.tokens_per_s:
            print(f"      pace     {count(plan.pace.low_tokens_per_s)} to {rate(plan.pace.high_tokens_per_s)}")
        if here.card and here.ram_bytes is None and plan.budget.host_bytes:
            print("      That much host RAM must be free on that machine.")
    if found.plan and found.rejected:
        print("Not taken")
        _table(found.rejected)
    if found.ways_out:
        print("What would help")
        for way in found.ways_out:
            print(hanging(INDENT, f"{clean(way.why)}{'  ' if way.set else ''}{set_flags(way.set)}"))
    if longest := found.longest:
        print(f"Longest rows that fit in memory: {count(longest.recipe.model.max_seq_length)} tokens, one at a time")
        print(hanging(INDENT, set_flags(longest.set)))
        print("      How many the model was made for is its own limit.")


def as_json(found: Fit) -> dict[str, Any]:
    """What was found, in plain values."""
    return {
        "fits": found.plan is not None,
        "reason": found.reason,
        "plan": _tried(found.plan),
        "rejected": [asdict(each) for each in found.rejected],
        "longest": _tried(found.longest),
        "ways_out": [asdict(each) for each in found.ways_out],
    }


def _tried(tried: Tried | None) -> dict[str, Any] | None:
    if tried is None:
        return None
    length = tried.recipe.model.max_seq_length
    return {
        "set": tried.set,
        "max_seq_length": length,
        "budget": to_json(tried.budget, []),
        "pace": asdict(tried.pace),
    }


def _plan_text(plan: Tried) -> str:
    if not plan.set:
        return "nothing"
    unset = [f"(remove {name})" for name, value in plan.set.items() if value is None]
    return " ".join([set_flags(plan.set), *unset]).strip()


def _table(rows: tuple[Rejected, ...]) -> None:
    said = [(_settings(row.unlike) if row.set else "the recipe as it is", row.why) for row in rows]
    width = max(len(settings) for settings, _ in said)
    for settings, why in said:
        print(hanging(f"      {settings:<{width}}  ", clean(why)))


def _settings(changes: Mapping[str, Any]) -> str:
    """Settings in short: `micro_batch 1, grad_accum 8`."""
    return ", ".join(
        f"{name.partition('.')[2]} {'none' if value is None else value}" for name, value in changes.items()
    )
