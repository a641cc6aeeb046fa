"""The items of a budget, each with its reason: the same in `fitune estimate` and on the wizard's panel."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fitune.tui.text.format import gib

if TYPE_CHECKING:  # `fitune --help` needs no forecast
    from fitune.core.forecast import Forecast


@dataclass(frozen=True, slots=True)
class BudgetItem:
    """An amount of memory, what it is, and why it is so much."""

    bytes: int
    name: str
    why: str


def items(now: "Forecast") -> list[BudgetItem]:
    """The items that are held at the peak; they sum to the total."""
    return [BudgetItem(part.bytes, part.name, part.why) for part in now.budget.parts]


def totals(now: "Forecast") -> list[BudgetItem]:
    """The predicted total with its bounds, and what there is of memory, host RAM and disk."""
    budget, site = now.budget, now.site
    bounds = f"at the peak ({budget.moment}); from {gib(budget.low_bytes)} to {gib(budget.high_bytes)}"
    found = [BudgetItem(budget.total_bytes, "predicted", bounds)]
    if budget.free_bytes:
        is_limited = site.card is not None and budget.free_bytes < site.card.free_bytes
        found.append(BudgetItem(budget.free_bytes, "free", "as far as run.vram_limit_gib allows" if is_limited else ""))
    if budget.host_bytes:
        found.append(BudgetItem(budget.host_bytes, "host RAM", _host_reason(now)))
    if not budget.download_bytes:
        return [*found, BudgetItem(budget.disk_bytes, "disk", "checkpoints and results")]
    why = f"checkpoints and results, and {gib(budget.download_bytes)} for the model unless it is here"
    return [*found, BudgetItem(budget.disk_bytes, "disk", why)]


def _host_reason(now: "Forecast") -> str:
    """What waits in host RAM beside the card, and how much is free of it."""
    layers, away = len(now.shape.layers), now.budget.offloaded_layers
    kept = f"{away} of {layers} layers" if away else "the layers' inputs"
    free = f"; {gib(now.site.ram_bytes)} are free" if now.site.ram_bytes is not None else ""
    return f"{kept} wait there, pinned{free}"
