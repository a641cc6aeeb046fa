"""The choices of each step, best first: the same for the full-screen wizard and the plain prompts."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from fitune.core import runs
from fitune.core.data import Report
from fitune.core.errors import UserError
from fitune.core.forecast import rank
from fitune.core.machine import Machine
from fitune.core.recipe import Preset, presets
from fitune.core.runs import LIVE, Run
from fitune.tui.text import gib
from fitune.tui.wizard import steps
from fitune.tui.wizard.draft import (
    Draft,
    changed_settings,
    origin,
    prepared,
    restore,
    set_field,
    use_preset,
    without_settings,
)
from fitune.tui.wizard.fields import all_fields
from fitune.tui.wizard.forecast_text import DraftForecast, forecast_draft

UNFINISHED_SHOWN, FINISHED_SHOWN = 4, 4
THINKING = "It thinks before it answers, and your rows do not."


FIRST_TIME = (
    "No runs yet. Enter takes what each step proposes: the fifth one starts a training, and you may leave at any step. "
    "With no rows at hand, `fitune demo` trains a small real model on rows that come with it."
)


@dataclass(frozen=True, slots=True)
class StartChoice:
    """One thing to do at the start."""

    kind: Literal["watch", "resume", "draft", "new"]
    text: str
    run: Run | None = None


@dataclass(frozen=True, slots=True)
class ThinkingChoice:
    """What a model that thinks shall do with rows without thoughts."""

    value: Literal["keep", "off"]
    """Of data.thinking."""
    text: str


@dataclass(frozen=True, slots=True)
class PresetChoice:
    """A preset and how it would fare here."""

    preset: Preset
    forecast: DraftForecast

    @property
    def text(self) -> str:
        """`OK    8B on 12 GB      4.4 GiB to spare`."""
        return f"{self.forecast.list_word:<5} {self.preset.title:<17} {self.forecast.short}"


def thinking_choices(draft: Draft) -> tuple[ThinkingChoice, ...]:
    """The choices for a model that thinks and rows that don't; none for other rows, or where a recipe says it."""
    found = prepared(draft)
    if not found or not found.notes.get("no_thoughts") or origin(draft, "data.thinking") in ("answers", "preset"):
        return ()
    served = f" (asked with {found.switch} = false)" if found.switch else ""
    return (
        ThinkingChoice("keep", "Keep its thinking: it thinks before it answers, as it does now"),
        ThinkingChoice("off", f"Answer at once, without thinking{served}"),
    )


def chosen(draft: Draft, report: Report, number: int) -> Draft:
    """The draft with the choice of this number among those of tui.data.report_text.choice_lines: another objective, or
    a mapping of the columns. What was read is void."""
    objectives = report.objectives
    if number < len(objectives):
        return replace(set_field(draft, "train.objective", objectives[number]), report=None)
    mapping = json.dumps(dict(report.candidates[number - len(objectives)]))
    return replace(set_field(draft, "data.columns", mapping), report=None)


def start_choices(base: Path, begun: bool) -> tuple[StartChoice, ...]:
    """The choices at the start: live runs, answers from last time, runs that can go on, a new run, finished runs.

    begun: whether this wizard has answers already; then there are none from last time.
    """
    live, unfinished, finished = [], [], []
    for run in runs.all_runs(base):
        status, state = run.current()
        step = f"step {state.step.step if state.step else 0:,} of {state.total_steps or '?'}"
        if status in LIVE:
            job = run.job() or "train"
            doing = status + (f", {step}" if state.step else "") if job == "train" else f"{job} {status}"
            live.append(StartChoice("watch", f"Watch {run.name}: {doing}", run))
        elif status != "finished" and run.newest_checkpoint():
            unfinished.append(StartChoice("resume", f"Go on with {run.name}: {status} at {step}", run))
        else:
            finished.append(StartChoice("watch", f"Look at {run.name}: {status}", run))
    *drafts, new = new_choices(base, begun)
    return (*live, *drafts, *unfinished[:UNFINISHED_SHOWN], new, *finished[:FINISHED_SHOWN])


def new_choices(base: Path, begun: bool) -> tuple[StartChoice, ...]:
    """The ways into the wizard: with the answers of last time, if there are any, and a new run; begun as above."""
    kept = None if begun else restore(base)
    at = steps.leads_to(steps.STEPS[0], steps.Reopen(*kept))[1] if kept else None
    drafts = [StartChoice("draft", f"Go on with your last answers, at {at.title}")] if at else []
    return (*drafts, StartChoice("new", "Go on with this fine-tune" if begun else "Start a new fine-tune"))


def preset_choices(draft: Draft) -> tuple[PresetChoice, ...]:
    """Every preset with its forecast as it stands in its file, best first; `kept_changes` says what is added to it."""
    bare = without_settings(draft)
    found = [PresetChoice(preset, forecast_draft(use_preset(bare, preset.id))) for preset in presets.load_all()]
    return tuple(sorted(found, key=lambda choice: rank(choice.preset, choice.forecast.known)))


def machine_summary(choices: Sequence[PresetChoice]) -> str:
    """What this machine can do, as a sentence or two: how many presets fit, and on what."""
    known = [each.forecast for each in choices if each.forecast.known]
    if not known:
        return ""
    first, fit = known[0], sum(each.verdict == "fits" for each in known)
    count = f"{fit or 'none'} of {len(choices)} presets fit{'s' if fit == 1 else ''}"
    if first.known and first.known.site.card:
        return f"{first.site[:1].upper()}{first.site[1:]}, {gib(first.free_bytes)} free: {count}, the best first."
    where = f"its RAM ({gib(first.free_bytes)} free)" if first.free_bytes else "its RAM"
    return f"No NVIDIA card here: it trains on the processor, slowly. {count.capitalize()} {where}."


def model_lines(draft: Draft) -> list[str]:
    """The preset's model in hand: its id, what it is good for, and what was measured with it."""
    if draft.preset is None:
        return []
    preset = presets.find(draft.preset)
    model, count = draft.model or preset.models[0], len(preset.models)
    place = f" ({preset.models.index(model) + 1} of {count}, ← → for others)" if count > 1 else ""
    return [f"{model}{place}", str(presets.model_notes()[model]), f"Memory: {preset.measured(model) or 'estimated'}."]


def kept_changes(draft: Draft) -> str:
    """The changed settings in a line, since they also hold for the next preset; empty if there are none."""
    names = changed_settings(draft)
    said = ", ".join(f"{all_fields()[name].label} {draft.edits[name] or 'empty'}" for name in names)
    number = "change stays" if len(names) == 1 else f"{len(names)} changes stay"
    return f"Your {number}: {said}." if names else ""


def machine_lines(machine: Machine) -> list[str]:
    """The machine's cards, memory and disk, a line each."""
    lines = [
        f"{gpu.name}: {gib(gpu.free_bytes)} of {gib(gpu.total_bytes)} free" + ("" if gpu.allowed else " (not for you)")
        for gpu in machine.gpus
    ]
    if machine.gpu_message or not lines:
        lines.append(machine.gpu_message or "No NVIDIA card was found.")
        lines += [machine.gpu_hint] if machine.gpu_hint else []
    ram = f"{gib(machine.ram_available_bytes)} of {gib(machine.ram_total_bytes)}"
    cores = f"{machine.cpu_cores or '?'} cores"
    return [*lines, f"Memory: {ram} free, {cores}", f"Disk: {gib(machine.disk_free_bytes)} free in {machine.runs_dir}"]


def card_gib_of(text: str) -> float | None:
    """The size of a card as people type it (`16`, `16 GB`, `16GiB`); None for nothing. Raises UserError."""
    said = text.strip().lower().removesuffix("gib").removesuffix("gb").strip().replace(",", ".")
    if not said:
        return None
    try:
        size_gib = float(said)
    except ValueError:
        size_gib = 0.0
    if not 1 <= size_gib <= 1024:
        raise UserError(f"{text.strip()[:20]!r} is no size of a card.", "Write gigabytes from 1 to 1024, such as 16.")
    return size_gib
