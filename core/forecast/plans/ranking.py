"""The order in which presets are offered: the same in the wizard, at its prompts and in `fitune presets`."""

from fitune.core.forecast.forecast import Forecast
from fitune.core.memory import FAST_UNSLOTH
from fitune.core.recipe import Preset
from fitune.core.units import GIB

SIZE_LEEWAY = 1.05
"""A "16 GB" card has a little less than 16 GiB."""
SLOW_TOKENS_PER_S = 100
"""Slower than this, a million tokens, which are a few thousand rows, take more than three hours."""


def rank(preset: Preset, found: Forecast | None) -> tuple[int, float, bool, bool, float]:
    """A sort key, the best preset lowest: those made for a card of this size or less, the largest first, of one size
    those that were measured, of these the ones that Unsloth has layers of its own for, which start at once, and of
    these the quickest; then those that ask for host RAM too; then others that fit; then the slow ones; then those that
    may fit with luck; then the rest. Without a card the smallest of those that fit comes first, as a processor is too
    slow for the others.
    """
    new = not preset.evidence
    if found is None:
        return 5, preset.card_gib, new, False, 0.0
    card, pace = found.site.card, found.pace
    slow_start = found.recipe.train.backend != "unsloth" or found.shape.model_type not in FAST_UNSLOTH
    among_equals = new, slow_start, pace.flops_per_token
    if found.verdict != "fits":
        return 4 + (found.verdict == "over"), preset.card_gib, *among_equals
    if card is None:
        return 0, preset.card_gib, new, False, 0.0
    if pace.tokens_per_s is not None and pace.tokens_per_s < SLOW_TOKENS_PER_S:
        return 3, preset.card_gib, *among_equals
    if preset.card_gib > card.total_bytes / GIB * SIZE_LEEWAY:
        return 2, preset.card_gib, *among_equals
    return int(found.budget.offloaded_layers > 0), -preset.card_gib, *among_equals
