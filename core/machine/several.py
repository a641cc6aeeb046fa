"""The choice of several cards for one training."""

from collections import Counter

from fitune.core.errors import UserError
from fitune.core.machine.gpu import Gpu
from fitune.core.machine.host import Machine, pick_gpu


def pick_gpus(machine: Machine, gpu: str | None, gpus: str | int | tuple[int | str, ...]) -> tuple[Gpu, ...]:
    """The cards to train on; none for the processor. gpu, gpus: the recipe's run.gpu and run.gpus.

    Raises UserError if there are not so many, or if they can't work together.
    """
    if isinstance(gpus, tuple):
        return _able(tuple(_named(machine, str(name)) for name in gpus))
    if gpus in ("auto", 1):
        one = pick_gpu(machine, gpu)
        return (one,) if one else ()
    if gpus != "all" and machine.gpu_state == "none":  # several processes on the processor, which shows how it works
        return ()
    allowed = sorted((each for each in machine.gpus if each.allowed), key=lambda each: -(each.free_bytes or 0))
    if not allowed:
        raise UserError(f"run.gpus = {gpus!r}: no card can be used. {machine.gpu_message}", machine.gpu_hint)
    count = len(allowed) if gpus == "all" else int(gpus)
    if count > len(allowed):
        raise UserError(
            f"run.gpus = {count}: this machine has {len(allowed)} that may be used.", 'Set run.gpus = "all".'
        )
    return _able(tuple(sorted(allowed[:count], key=lambda each: each.index)))


def _named(machine: Machine, name: str) -> Gpu:
    found = pick_gpu(machine, name)
    assert found
    return found


def _able(cards: tuple[Gpu, ...]) -> tuple[Gpu, ...]:
    """The cards, if they can compute together."""
    twice = [uuid for uuid, times in Counter(card.uuid for card in cards).items() if times > 1]
    if twice:
        raise UserError(f"run.gpus names the card {twice[0]} twice.", "Name each card once.")
    if len(cards) > 1 and any(card.mig for card in cards):
        raise UserError("Slices of a card (MIG) can't train together.", "Choose one: run.gpu = NUMBER or UUID.")
    return cards
