"""`fitune estimate RECIPE`: the memory that a run needs, item by item, compared with the free memory."""

import argparse
import sys
from dataclasses import asdict

from fitune.core.data.files.find import is_missing
from fitune.core.errors import ExitCode, UserError
from fitune.core.forecast import Forecast, estimate_document
from fitune.core.recipe import Recipe, options, presets
from fitune.core.tokens import lengths_note
from fitune.tui.commands.planning.site import forecast_here, named
from fitune.tui.data.clear_rows import refuse_unseen_images
from fitune.tui.text import (
    as_ascii_json,
    clean,
    count,
    exponent,
    gib,
    hanging,
    items,
    rate,
    steps,
    totals,
    training_time,
)

INDENT = " " * 6
WORDS = {"fits": "OK    It fits.", "tight": "WARN  It may fit, with luck.", "over": "ERROR It does not fit."}


def run(args: argparse.Namespace) -> int:
    """Exit status: 0 fits, 3 does not fit."""
    recipe = presets.load_to_plan(args.recipe, args.set)
    if args.calibrate:
        measure(recipe, args.gpu_memory)
    refuse_unseen_images(recipe)
    now = forecast_here(recipe, args.gpu_memory)
    if args.json:
        print(as_ascii_json(asdict(estimate_document(now))))
    else:
        print(f"{clean(now.shape.name)} on {clean(named(now))}")
        print_forecast(now)
        print_workload(now)
        for note in now.notes:
            print(hanging(INDENT, f"WARN {clean(note)}"))
        named_sources = {each.source for each in recipe.data.all_sources()} - {presets.ROWS_TO_COME}
        for source in filter(is_missing, sorted(named_sources)):
            print(hanging(INDENT, f"WARN data.source: there is no file or folder {clean(source)}."))
    return ExitCode.DOES_NOT_FIT if now.verdict == "over" else ExitCode.DONE


def measure(recipe: Recipe, gpu_memory: str | None) -> None:
    """Measure a short training for later forecasts, and print its progress. Raises UserError."""
    from fitune.core.jobs.calibrate import calibrate

    if gpu_memory is not None:
        raise UserError("--calibrate measures on this machine.", "Leave out --gpu-memory.")
    print("Trains 3 steps on made-up rows to measure; the model is downloaded if it isn't here.", file=sys.stderr)
    if not calibrate(recipe, lambda phase: print(f"  {clean(phase)}", file=sys.stderr)):
        print("WARN  Nothing was learned: others used the card, or the model's size is not known.", file=sys.stderr)


def print_forecast(now: Forecast) -> None:
    """Print the forecast as a table."""
    document, held = estimate_document(now), items(now)
    width = max(len(item.name) for item in held)
    for item in (*held, *totals(now)):
        print(hanging(f"{gib(item.bytes, 2):>11}  {item.name:<{width}}  ", clean(item.why)).rstrip())
    print(WORDS[now.verdict])
    for sentence in document.shortages:
        print(hanging(INDENT, clean(sentence)))
    if now.pace.tokens_per_s:
        pace = f"{count(now.pace.low_tokens_per_s)} to {rate(now.pace.high_tokens_per_s)}"
        print(hanging(INDENT, f"{pace}: {clean(now.pace.why)}"))
    print(hanging(INDENT, f"learning rate {exponent(now.learning_rate.lr)}: {clean(now.learning_rate.why)}"))
    if document.remedies:
        print("What would help")
    for remedy in document.remedies:
        print(hanging(INDENT, f"{options(remedy.set)}  saves {gib(remedy.saves_bytes)}: {clean(remedy.costs)}"))
    if document.verdict != "fits":
        print("To search all plans with the same result: fitune fit RECIPE")


def print_workload(now: Forecast) -> None:
    """Print the source of the row lengths, and the workload and time of the training if they are measured."""
    work = now.work
    print(f"      {lengths_note(work, now.decided.data.packing is True)}")
    if work is None:
        print(hanging(INDENT, "Real rows are often far shorter. To count them: fitune data SOURCE --recipe RECIPE"))
        return
    packed = f", packed into {count(work.packing.packed_rows)}" if work.packing.packed else ""
    print(f"      {count(work.packing.rows)} rows to train on{packed}, the longest {count(work.longest)} tokens; "
          f"{steps(work.packing.steps)}, {count(work.trained_tokens)} tokens trained in all")  # fmt: skip
    if now.duration:
        print(hanging(INDENT, training_time(now.duration)))
