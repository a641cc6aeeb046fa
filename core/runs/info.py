"""The content of run.json: the facts of a run that are written once, before its worker starts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fitune.core.records import from_json


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuInfo:
    """The GPU of a run, as it was when the run was planned."""

    uuid: str
    """As nvidia-smi -L shows it."""
    name: str
    """As its driver gives it."""
    total_bytes: int | None
    """Its memory; null where the driver does not say."""
    free_bytes: int | None
    """The part of its memory that was free."""
    compute_capability: tuple[int, int] | None
    """Major and minor number, such as [8, 9]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetInfo:
    """The budget of a run, as `fitune estimate --json` prints it (docs/json.md)."""

    total_bytes: int
    """The peak that nvidia-smi would show for the process; without a GPU the peak of its RAM."""
    low_bytes: int
    """The least that the total may be."""
    high_bytes: int
    """The most that the total may be."""
    host_bytes: int
    """RAM that is pinned beside the GPU's memory."""
    disk_bytes: int
    """Disk that the run needs."""
    free_bytes: int
    """Memory that the run could take; 0 where that was not known."""
    verdict: str
    """fits, tight or over."""
    shortages: tuple[str, ...]
    """A sentence for each thing that is short."""
    parts: tuple[dict[str, object], ...]
    """The parts of the total: name, bytes and why of each."""
    remedies: tuple[dict[str, object], ...]
    """Changes of the recipe that would help, where it does not fit."""
    checkpoint_bytes: int | None = None
    """Disk that one checkpoint takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """The base model, as the recipe names it."""

    id: str
    """A Hub id or a folder; empty if it is not known."""
    revision: str | None
    """The branch, tag or commit on the Hub that the recipe names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """The content of run.json. A field that a run does not have, as one of an older version, is null or empty."""

    version: int = 1
    """The version of this format."""
    name: str = ""
    """The run's name, which its folder has too."""
    created: float | None = None
    """UTC seconds."""
    preset: str | None = None
    """The id of the preset that the recipe was made of."""
    budget: BudgetInfo | None = None
    """The budget as it was shown before the start; null where the model was not understood."""
    workload: dict[str, object] | None = None
    """The training in tokens (docs/json.md); null where the lengths of the rows were not known."""
    gpu: GpuInfo | None = None
    """The GPU to train on, the first of several; null for the CPU."""
    gpus: tuple[GpuInfo, ...] = ()
    """All GPUs of a training on several, in the order of its processes; empty for one or none."""
    ranks: int = 1
    """Processes that train together: one a GPU."""
    cpu: str | None = None
    """The name of the processor."""
    backend_reason: str = ""
    """The reason for this backend, as a sentence."""
    notes: tuple[str, ...] = ()
    """Decisions that were made for the user, as sentences."""
    versions: Mapping[str, str | None] = field(default_factory=dict)
    """Of Python and of each package of the training stack; null where it is not installed."""
    host: str | None = None
    """The name of the machine."""
    key: dict[str, Any] | None = None
    """Prepare: all that the token counts depend on. null for a training."""
    recipe: dict[str, Any] = field(default_factory=dict)
    """The resolved recipe, by groups, with every field."""

    @property
    def cards(self) -> tuple[GpuInfo, ...]:
        """The GPUs to train on; none for the CPU."""
        return self.gpus or ((self.gpu,) if self.gpu else ())

    @property
    def model(self) -> ModelInfo:
        """The base model."""
        return from_json(ModelInfo, self.recipe.get("model"))
