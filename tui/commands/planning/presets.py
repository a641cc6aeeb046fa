"""`fitune presets`: list the presets with their forecasts on this machine or another card, best first."""

import argparse
import sys
from dataclasses import asdict

from fitune.core import runs
from fitune.core.errors import ExitCode
from fitune.core.forecast import Forecast, PresetDocument, forecast_on, rank
from fitune.core.machine import Machine
from fitune.core.recipe import Preset, presets
from fitune.tui.commands.planning.site import machine_for
from fitune.tui.text import as_ascii_json, gib, hanging, rate


def run(args: argparse.Namespace) -> int:
    """Print every preset with its budget, or with --json a list of objects. Exit status 0."""
    machine = machine_for(args.gpu_memory, runs.home())
    if not any(gpu.allowed for gpu in machine.gpus):
        why = machine.gpu_message or "No NVIDIA card can be used."
        print(f"{why}\nSo these are for the processor. For a card elsewhere: --gpu-memory 12GiB", file=sys.stderr)
    documents = [described(preset, now) for preset, now in ranked(machine)]
    if args.json:
        print(as_ascii_json([asdict(document) for document in documents]))
        return ExitCode.DONE
    short = next((document for document in documents if document.verdict == "over"), None)
    for document in documents:
        if document is short:
            print("\nThese need more memory than there is:")
        print(f"{document.title:<18} needs {gib(document.total_bytes):>9}  {document.verdict:<8} {document.id}")
        host = f"{gib(document.host_bytes)} of host RAM" if document.offloaded_layers else ""
        pace = f"about {rate(document.tokens_per_s)}" if document.tokens_per_s else ""
        models = f"models: {', '.join(document.models)}"
        print(hanging("    ", document.whom))
        print(hanging("    ", "; ".join(part for part in (document.evidence, pace, host, models) if part)))
        print(f"    {presets.find(document.id).command}")
    print("\nWhat the models are good for, and their licences. One of them: --set model.id=NAME")
    for model in dict.fromkeys(model for document in documents for model in document.models):
        print(hanging("    ", f"{model}: {presets.model_notes()[model]}"))
    return ExitCode.DONE


def ranked(machine: Machine) -> list[tuple[Preset, Forecast]]:
    """Every preset with its forecast on a machine, best first."""
    pairs = [(preset, forecast_on(machine, preset.recipe("data.jsonl"), runs.home())) for preset in presets.load_all()]
    return sorted(pairs, key=lambda pair: rank(*pair))


def described(preset: Preset, now: Forecast) -> PresetDocument:
    """A preset and its forecast, as `--json` prints them."""
    budget = now.budget
    return PresetDocument(
        id=preset.id,
        title=preset.title,
        whom=preset.whom,
        models=preset.models,
        card_gib=preset.card_gib,
        total_bytes=budget.total_bytes,
        host_bytes=budget.host_bytes,
        offloaded_layers=budget.offloaded_layers,
        verdict=now.verdict,
        shortages=tuple(shortage.sentence for shortage in now.shortages),
        tokens_per_s=now.pace.tokens_per_s,
        evidence=preset.told_evidence,
    )
