"""The rank of this process among those of one training, and the few words that they exchange outside the trainer.

In a training on one card there is rank 0 alone, and nothing here does anything. Launchers for several cards, such as
torchrun, agree on the names of the environment variables.
"""

import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from fitune.core.recipe import Recipe

if TYPE_CHECKING:
    from torch.distributed import TCPStore

T = TypeVar("T")
NAMES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
SPLIT = {
    "UNSLOTH_FSDP2": "1",
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
}
"""The variables by which unsloth and accelerate know, before they are imported, that the model will be split."""
SILENCE = timedelta(minutes=30)
"""The longest that a rank waits for another in a computation that all take part in; dead ones are noticed at once."""
PREPARATION = timedelta(days=1)
"""The longest that the others wait for rank 0 to download a model."""


def environment(rank: int, ranks: int, port: int) -> Mapping[str, str]:
    """The variables by which torch, accelerate and unsloth know the ranks of one machine. port: free, of rank 0.

    LOCAL_RANK numbers the card among those that a process sees, and each sees its own alone.
    """
    return dict(zip(NAMES, (str(rank), "0", str(ranks), str(ranks), "127.0.0.1", str(port)), strict=True))


def forget() -> None:
    """Be no rank, even if fitune was started in the shell of a launcher such as torchrun."""
    for name in NAMES:
        os.environ.pop(name, None)


def rank() -> int:
    """The number of this process, from 0."""
    return int(os.environ.get("RANK", "0"))


def ranks() -> int:
    """The number of processes that train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def splits(recipe: Recipe) -> bool:
    """True if each rank holds a part of the model, False if each holds all of it."""
    return ranks() > 1 and recipe.run.shard is True


def join() -> None:
    """Meet the other ranks. Call it after `import unsloth`."""
    if ranks() == 1:
        return
    import torch
    from torch import distributed

    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # else gloo looks up the host's name, which may lead nowhere
    backend = "cuda:nccl,cpu:gloo" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, store=_store(), rank=rank(), world_size=ranks(), timeout=SILENCE)


def leave() -> None:
    """Part from the other ranks when the training has ended, together with them."""
    if ranks() > 1:
        from torch import distributed

        wait_for_all()
        distributed.destroy_process_group()


def first_alone(name: str, work: Callable[[], T]) -> T:
    """Do what writes files that all ranks need: rank 0 first, and the others when it is done. name: of that work."""
    if ranks() == 1:
        return work()
    if rank() > 0:
        _store().wait([name], PREPARATION)
    done = work()
    if rank() == 0:
        _store().set(name, "done")
    return done


def totals(*numbers: int) -> list[int]:
    """The sum of each number over all ranks, each of which must call this."""
    if ranks() == 1:
        return list(numbers)
    import torch
    from torch import distributed

    summed = torch.tensor(numbers, dtype=torch.int64)
    distributed.all_reduce(summed)
    return [int(each) for each in summed]


def total(number: int) -> int:
    """The sum of a number over all ranks, each of which must call this."""
    return totals(number)[0]


def wait_for_all() -> None:
    """Wait until each rank has come here."""
    total(0)


@cache
def _store() -> "TCPStore":
    """The words that ranks leave for each other, kept by rank 0."""
    from torch.distributed import TCPStore

    port = int(os.environ["MASTER_PORT"])
    return TCPStore(os.environ["MASTER_ADDR"], port, ranks(), is_master=rank() == 0, timeout=PREPARATION)
