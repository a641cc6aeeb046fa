"""`fitune demo`: train a small model on real rows on any machine. CPU: minutes; GPU: seconds of training."""

import argparse
import sys
import textwrap

from fitune.core import jobs
from fitune.core.errors import ExitCode
from fitune.core.recipe import load, presets_dir
from fitune.tui.text import clean
from fitune.tui.watch.follow import follow_to_end


def run(args: argparse.Namespace) -> int:
    """Train the small model that ships with fitune; exit status 0 if it was trained and its loss fell, else 1."""
    folder = presets_dir() / "demo"
    sets = [f"data.source={folder / 'gsm8k.jsonl'}"] + ([] if args.steps is None else [f"train.max_steps={args.steps}"])
    recipe = load.load(folder / "recipe.toml", sets)
    begun = jobs.begin(recipe, preset="demo", share_gpu=True)
    print(f"Demo: {recipe.model.id} learns from 300 rows of grade-school maths.", file=sys.stderr)
    for note in (begun.backend_reason, *begun.notes):
        print(clean(note), file=sys.stderr)
    status = follow_to_end(begun.run)
    if status:
        return status
    for sample in [sample for sample in begun.run.state().samples if sample.after is not None][-1:]:
        texts = {"Question, held out from training": sample.prompt, "Before": sample.before, "After": sample.after}
        for title, text in texts.items():
            print(f"\n{title}\n{textwrap.indent(clean(text or '', keep_newlines=True), '  ')}")
    print(f"\nThe adapter is in {begun.run.adapter}")
    if begun.run.loss_fell():
        return ExitCode.DONE
    print("The loss did not fall, so this counts as failed (exit status 1); a few steps may not do.", file=sys.stderr)
    return ExitCode.FAILED
