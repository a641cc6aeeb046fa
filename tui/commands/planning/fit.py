"""`fitune fit RECIPE`: the fastest plan that fits the card, what was rejected and why, and the longest rows."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from fitune.core.errors import ExitCode
from fitune.core.forecast import Candidate, CardsChoice, Fit, Forecast, Rejected, fit, fit_document, whole_rows
from fitune.core.recipe import options, presets
from fitune.core.tokens import lengths_note
from fitune.tui.commands.planning.estimate import INDENT
from fitune.tui.commands.planning.site import choices_here, forecast_here, named
from fitune.tui.data.clear_rows import refuse_unseen_images
from fitune.tui.text import as_ascii_json, clean, count, duration, gib, hanging, rate, training_time

WORDS = {"fits": "OK    ", "tight": "WARN  ", "over": "ERROR "}

UNKNOWN_LIMIT = f"{INDENT}How many the model was made for is its own limit."


def run(args: argparse.Namespace) -> int:
    """Exit status: 0 if a plan fits or may fit, 3 if none does."""
    recipe = presets.load_to_plan(args.recipe, args.set)
    refuse_unseen_images(recipe)
    own, cards = forecast_here(recipe, args.gpu_memory), choices_here(recipe, args.gpu_memory)
    base_is_open = "quant" not in own.recipe.model.model_fields_set
    result, whole = fit(own, base_is_open), whole_rows(own, base_is_open)
    document = fit_document(result, own, cards, whole)
    if args.json:
        print(as_ascii_json(asdict(document)))
    else:
        lengths = lengths_note(own.work, own.decided.data.packing is True)
        print(hanging("", f"{clean(own.shape.name)} on {clean(named(own))}; {lengths}"))
        for note in own.notes:
            print(hanging("WARN  ", clean(note)))
        print_fit(result, own)
        print_whole(whole)
        print_cards(cards)
    return ExitCode.DONE if document.fits else ExitCode.DOES_NOT_FIT


def print_fit(result: Fit, own: Forecast) -> None:
    """Print the result of the search."""
    plan = result.plan
    print(hanging(WORDS[plan.forecast.verdict if plan else "over"], result.reason))
    if plan:
        print(hanging("      change   ", _plan_text(plan)))
        print(f"      memory   {gib(plan.budget.total_bytes)} ({gib(plan.budget.low_bytes)} to "
              f"{gib(plan.budget.high_bytes)}), {gib(plan.budget.host_bytes)} of host RAM")  # fmt: skip
        if plan.pace.tokens_per_s:
            print(f"      pace     {count(plan.pace.low_tokens_per_s)} to {rate(plan.pace.high_tokens_per_s)}")
        if plan.forecast.duration:
            print(hanging("      time     ", training_time(plan.forecast.duration)))
        for shortage in plan.forecast.shortages:
            print(hanging(INDENT, clean(shortage.sentence)))
        if own.site.card and own.site.ram_bytes is None and plan.budget.host_bytes:
            print("      That much host RAM must be free on that machine.")
    if plan and result.rejected:
        print("Not taken")
        _table(result.rejected)
    if result.ways_out:
        print("What would help")
        for remedy in result.ways_out:
            print(hanging(INDENT, f"{clean(remedy.why)}{'  ' if remedy.set else ''}{options(remedy.set)}"))
    if longest := result.longest:
        print(f"Longest rows that fit in memory: {count(longest.recipe.model.max_seq_length)} tokens, one at a time")
        print(hanging(INDENT, options(longest.set)))
        made_for = longest.forecast.shape.made_for
        print(f"{INDENT}The model was made for {count(made_for)} at most." if made_for else UNKNOWN_LIMIT)


def print_whole(plan: Candidate | None) -> None:
    """Print the plan for the rows that the recipe cuts."""
    if plan:
        time = f", about {duration(plan.forecast.duration.total_s)}" if plan.forecast.duration else ""
        print(f"The recipe cuts rows. Nearly all of them whole: {gib(plan.budget.total_bytes)}{time}")
        print(hanging(INDENT, _plan_text(plan)))


def print_cards(choices: Sequence[CardsChoice]) -> None:
    """Print what one card, and all together, would take and how long; the proposal first in words."""
    if choices:
        print("Cards")
    for choice in choices:
        plan, number = choice.plan, f"{choice.gpus} card{'s' if choice.gpus > 1 else ''}"
        memory = f"{gib(plan.budget.total_bytes)}{' each' if choice.gpus > 1 else ''}" if plan else ""
        time = f", about {duration(plan.forecast.duration.total_s)}" if plan and plan.forecast.duration else ""
        mark = "OK    " if choice.proposed and plan else INDENT
        print(hanging(f"{mark}{number:<8} ", f"{memory}{time}{': ' if plan else ''}{clean(choice.why)}"))
        if plan and choice.gpus > 1:
            print(hanging(INDENT, options({"run.gpus": choice.gpus, **plan.set})))


def _plan_text(plan: Candidate) -> str:
    if not plan.set:
        return "nothing"
    unset = [f"(remove {name})" for name, value in plan.set.items() if value is None]
    return " ".join([options(plan.set), *unset]).strip()


def _table(rows: tuple[Rejected, ...]) -> None:
    lines = [(_settings(row.unlike) if row.set else "the recipe as it is", row.why) for row in rows]
    width = max(len(settings) for settings, _ in lines)
    for settings, why in lines:
        print(hanging(f"      {settings:<{width}}  ", clean(why)))


def _settings(changes: Mapping[str, Any]) -> str:
    """Settings in short: `micro_batch 1, grad_accum 8`."""
    return ", ".join(
        f"{name.partition('.')[2]} {'none' if value is None else value}" for name, value in changes.items()
    )
