"""What a draft will need on its card, for the panel beside each step: the budget, or why there is none. No widgets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from fitune.core import runs
from fitune.core.errors import BadInput, UserError
from fitune.core.forecast import (
    CORRECTION,
    NONE,
    Experience,
    Pace,
    Remedy,
    Resolved,
    card_of,
    fit,
    pace,
    ram_lack,
    remedies,
    resolve,
)
from fitune.core.forecast.history import experience
from fitune.core.machine import GIB, Gpu, Machine
from fitune.core.memory import Budget, Card, Part, Shape, budget, config_json, shapes
from fitune.core.recipe import Recipe
from fitune.core.tokens import Prepared, Workload, as_decided, lengths_said
from fitune.tui.text import count, gib, rate, size
from fitune.tui.wizard.draft import UNCHOSEN, Draft, prepared, recipe, set_field
from fitune.tui.wizard.fields import text_of

Verdict = Literal["fits", "tight", "over", "unknown"]
WORDS: Mapping[Verdict, str] = {"fits": "OK", "tight": "WARN", "over": "ERROR", "unknown": "?"}
"""Said beside every colour."""
GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("model", ("layer weights", "experts", "embeddings and head", "image tower", "layer slots")),
    ("adapter", ("LoRA weights", "trained embeddings", "LoRA gradients", "optimizer states", "optimizer scratch")),
    (
        "rows at work",
        ("layer inputs", "activations kept", "layer backward", "loss", "logits", "dequantization", "DoRA", "loading"),
    ),
)
"""The budget's parts, gathered so that a person can follow them; what is named nowhere is overhead."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """How a draft would fare."""

    place: str
    """The card, or the host's memory."""
    budget: Budget | None = None
    free_bytes: int | None = None
    verdict: Verdict = "unknown"
    unknown_why: str = ""
    pace: Pace | None = None
    asked: tuple[Shape, Recipe, Card | None] | None = None
    """What was estimated, for remedies."""
    gpu_name: str | None = None
    ram_bytes: int | None = None
    """Free host RAM."""
    taught: Experience = NONE
    """What earlier runs on this card taught; budget and pace are corrected by it."""
    work: Workload | None = None
    """By the true lengths of the rows, where these were rendered; else rows count as full length."""
    unsloth_works: bool = True
    """Whether the card can be used with unsloth."""

    @property
    def said(self) -> str:
        """The verdict in words."""
        if self.budget is None:
            return self.unknown_why or "Nothing can be said yet."
        if self.free_bytes is None:
            return "It is not known how much memory is free."
        spare_bytes = self.free_bytes - self.budget.total_bytes
        if self.verdict == "over" and spare_bytes >= 0:
            return "Unsloth would not load it: auto finds no room. Give offload_layers a number."
        if self.verdict == "over":
            return f"{size(-spare_bytes)} short: won't fit."
        spare = f"{size(max(0, spare_bytes))} to spare"
        if self.verdict == "tight" and self.budget.verdict == "tight":
            return f"It may fit: {spare}, with luck. {self.ram_lack}".rstrip()
        return f"It fits: {spare}. {self.ram_lack}".rstrip()

    @property
    def ram_lack(self) -> str:
        """That host RAM is too little for what is kept there, as a sentence; empty if it will do."""
        return ram_lack(self.budget.host_bytes, self.ram_bytes) if self.budget else ""

    @property
    def short(self) -> str:
        """The verdict in three words: `4.4 GiB to spare`."""
        if self.budget is None or self.free_bytes is None:
            return "size unknown"
        spare_bytes = self.free_bytes - self.budget.total_bytes
        if self.verdict == "over" and spare_bytes >= 0:
            return "auto finds no room"
        if self.ram_lack and spare_bytes >= 0:
            return "too little host RAM"
        return f"{gib(spare_bytes)} to spare" if spare_bytes >= 0 else f"{gib(-spare_bytes)} short"


def look(draft: Draft) -> Outlook:
    """The outlook of a draft, without any IO: a model that fitune doesn't ship has to be learned first."""
    try:
        asked = recipe(set_field(draft, "data.source", UNCHOSEN))  # a source that is gone is another step's trouble
    except BadInput:
        return Outlook("this machine", unknown_why="A setting is wrong. Mend it to see the memory.")
    try:
        shape = known_shape(asked.model.id, asked.model.revision)
        machine = planned_machine(draft)
        if machine is None:
            return Outlook("this machine", unknown_why="Still looking at this machine.")
        resolved = resolve(asked, machine)
        place = resolved.gpu.name if resolved.gpu else "this machine"
        if shape is None:
            return Outlook(place, unknown_why=f"The size of {asked.model.id} is not known yet.")
        if resolved.gpu and resolved.gpu.total_bytes is None:
            return Outlook(place, unknown_why=f"{place} doesn't tell how much memory it has.")
        return _judged(resolved, shape, machine, place, prepared(draft))
    except UserError as error:
        return Outlook("this machine", unknown_why=str(error))


def _judged(resolved: Resolved, shape: Shape, machine: Machine, place: str, rows: Prepared | None) -> Outlook:
    gpu = resolved.gpu
    asked, work = as_decided(resolved.recipe, rows)
    card = card_of(gpu)
    taught = experience(runs.home(), gpu, machine.cpu_name, machine.versions, asked.train.backend)
    found = taught.budget(budget.estimate(shape, asked, card, work.longest if work else None))
    if gpu is None:
        found = budget.in_ram(found, machine.ram_available_bytes)
    known = gpu is not None or machine.ram_available_bytes is not None
    name = gpu.name if gpu else None
    guess = pace.estimate_pace(shape, asked, name, work.row_tokens if work else None, found.offloaded_layers)
    verdict: Verdict = found.verdict if known else "unknown"
    if verdict == "fits" and ram_lack(found.host_bytes, machine.ram_available_bytes):
        verdict = "tight"
    return Outlook(
        place, found, found.free_bytes if known else None, verdict, "",
        taught.pace(guess), (shape, asked, card), name, machine.ram_available_bytes, taught, work,
        resolved.unsloth_works,
    )  # fmt: skip


def ways_out(outlook: Outlook) -> list[Remedy]:
    """What to change so that it fits the card, gentlest first; nothing where it fits."""
    if not outlook.asked or not outlook.budget or outlook.budget.verdict == "fits" or outlook.verdict == "unknown":
        return []
    longest = outlook.work.longest if outlook.work else None
    return remedies(*outlook.asked, longest, outlook.taught, outlook.unsloth_works)


def correction(outlook: Outlook) -> str:
    """What earlier runs changed in the budget: `corrected by +1.3% from 4 runs on this card`; empty if nothing."""
    parts = outlook.budget.parts if outlook.budget else ()
    return next((part.why for part in parts if part.name == CORRECTION), "")


def fitted(draft: Draft, outlook: Outlook) -> tuple[Draft, str]:
    """The draft with the fastest plan that fits as edits, and a sentence about it; unchanged where there is none.

    Takes up to a tenth of a second.
    """
    if outlook.asked is None:
        return draft, outlook.said
    found = fit(*outlook.asked, outlook.gpu_name, outlook.ram_bytes, outlook.taught, prepared(draft))
    changes = found.plan.set if found.plan else {}
    for name, value in changes.items():
        draft = set_field(draft, name, text_of(value))
    taken = f"{changes_text(changes)}: " if changes else ""
    return draft, f"{taken}{found.reason} ({lengths_said(outlook.work)})"


def remedy_text(remedy: Remedy) -> str:
    """A remedy in one line: `micro_batch 1, grad_accum 8: saves 1.2 GiB`."""
    return f"{changes_text(remedy.set)}: saves {size(remedy.saves_bytes)}"


def changes_text(changes: Mapping[str, Any]) -> str:
    """Settings in short: `micro_batch 1, grad_accum 8`."""
    return ", ".join(f"{name.partition('.')[2]} {text_of(value) or 'none'}" for name, value in changes.items())


def with_remedy(draft: Draft, remedy: Remedy) -> Draft:
    """The draft with a remedy applied, as edits."""
    for name, value in remedy.set.items():
        draft = set_field(draft, name, text_of(value))
    return draft


def planned_machine(draft: Draft) -> Machine | None:
    """This machine, or another with an empty card of the size that is planned for; None while it is looked at."""
    if draft.card_gib is None or draft.machine is None:
        return draft.machine
    size_bytes = int(draft.card_gib * GIB)
    name = f"a planned {draft.card_gib:g} GiB card"
    card = Gpu(0, "planned", name, size_bytes, size_bytes, 0, compute_capability=(8, 0))
    versions = {**draft.machine.versions, "unsloth": draft.machine.versions.get("unsloth") or "planned"}
    return replace(draft.machine, gpus=(card,), gpu_state="ok", versions=versions, ram_available_bytes=None)


def known_shape(model_id: str, revision: str | None) -> Shape | None:
    """The shape of a model that fitune ships or has learned; None if it must be learned first."""
    if revision is None and (model_id, None) not in _learned and model_id.lower() in config_json.shipped():
        learn(model_id, None)  # kept: each key in the form asks twice
    return _learned.get((model_id, revision))


def learn(model_id: str, revision: str | None) -> None:
    """Find out the shape of a model on disk or on the Hub. Slow: for a thread. Raises UserError."""
    _learned[model_id, revision] = shapes.load(model_id, revision)


_learned: dict[tuple[str, str | None], Shape] = {}


def grouped(parts: Sequence[Part]) -> list[tuple[str, int]]:
    """(name, bytes) of what a person can follow: model, adapter, rows at work, overhead. Sums to the total."""
    named = {name: group for group, names in GROUPS for name in names}
    sums = {group: 0 for group, _ in GROUPS} | {"overhead": 0}
    for part in parts:
        sums[named.get(part.name, "overhead")] += part.bytes
    return [(name, amount) for name, amount in sums.items() if amount]


def bounds(found: Budget) -> str:
    """The total with its bounds: `7.6 GiB (7.2-7.8)`."""
    low, high = (gib(each).removesuffix(" GiB") for each in (found.low_bytes, found.high_bytes))
    return f"{gib(found.total_bytes)} ({low}-{high})"


def pace_text(found: Pace | None) -> str:
    """A pace by its bounds: `4,800 to 15,000 tokens/s`."""
    if found is None or found.tokens_per_s is None:
        return "unknown for this card"
    return f"{count(found.low_tokens_per_s)} to {rate(found.high_tokens_per_s)}"
