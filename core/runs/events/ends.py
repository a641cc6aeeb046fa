"""Events of what went wrong and was put right, and the last event of a job."""

from dataclasses import dataclass
from typing import Any, ClassVar

from fitune.core.runs.events.progress import Memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """A warning: something is not as it was asked for, and the job continues."""

    type: ClassVar[str] = "warning"
    kind: str
    """Its subject, as a word: template, rows, eval, packing, experts, sample ..."""
    message: str
    """An English sentence for people. Names from the data or from the Hub may stand in it: clean it for a terminal."""
    count: int | None = None
    """Rows that it is about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """Something went wrong and was put right; the job continues."""

    type: ClassVar[str] = "recovered"
    kind: str
    """Its subject, as a word: oom, nan and spike (a step was left out), rate (it was halved), disk."""
    message: str
    """An English sentence for people: what changed, and what it costs. Names from the data may stand in it."""
    step: int | None = None
    """Training: the step at which it happened."""
    set: dict[str, Any] | None = None
    """The fields of the recipe that were changed, by `group.key`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The last event of a job that failed."""

    type: ClassVar[str] = "failed"
    kind: str
    """oom, data, download, auth, disk, nan, driver, bug or killed."""
    message: str
    """The cause, as an English sentence for people."""
    hint: str = ""
    """A next action; may be empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The last event of a job that did what it was asked for, or was stopped as it was asked."""

    type: ClassVar[str] = "finished"
    stopped: bool = False
    """True if it ended early because it was asked to."""
    terminated: bool | None = None
    """Training: true if SIGTERM asked it, as at a shutdown: a reboot goes on with it."""
    elapsed_s: float | None = None
    """Seconds that the job took, of a training without the pauses between its workers."""
    steps: int | None = None
    """Training: the last step."""
    total_steps: int | None = None
    """Training: the steps that it was to take."""
    first_loss: float | None = None
    """Training: loss of the first step, in nats a token."""
    last_loss: float | None = None
    """Training: loss of the last step."""
    eval_loss: float | None = None
    """Training: the loss of the held-out rows after the step that is delivered."""
    delivered_step: int | None = None
    """Training: the step whose adapter is delivered, the earliest within noise of the best."""
    seen_tokens: int | None = None
    """Training: tokens trained on."""
    adapter: str | None = None
    """Training: the folder of the adapter, in the run folder."""
    memory: Memory | None = None
    """Training: the memory at its end, with the fields of a `memory` event."""
    best_lr: float | None = None
    """Tune-lr: the learning rate that won."""
    rows: int | None = None
    """Prepare: rows that were rendered."""
    tokens: int | None = None
    """Prepare: tokens of all rows, before any is cut."""
    trained_tokens: int | None = None
    """Prepare: tokens that count for the loss, after rows are cut to model.max_seq_length."""
    longest: int | None = None
    """Prepare: tokens of the longest row."""
    cut: int | None = None
    """Prepare: rows that are longer than model.max_seq_length and lose their end."""
    emptied: int | None = None
    """Prepare: rows of which nothing that is trained on is left then."""
    refused: int | None = None
    """Prepare: rows that the chat template refuses."""
    merged: str | None = None
    """Merge: the folder of the merged model, in the run folder."""
    base: str | None = None
    """Merge: the model that the adapter was merged into."""
    revision: str | None = None
    """Merge: the Hub commit of that model."""
    tensors: int | None = None
    """Merge: tensors of the model."""
    changed_tensors: int | None = None
    """Merge: those that the adapter changed."""
    write_s: float | None = None
    """Merge: seconds of writing."""
    peak_host_bytes: int | None = None
    """Merge: the most RAM that the process held."""
    proof: dict[str, object] | None = None
    """Merge: the content of merged/proof.json."""
    gguf: str | None = None
    """Export: the folder of the GGUF files, in the run folder."""
    names: tuple[str, ...] | None = None
    """Export: the GGUF files."""
    next: tuple[str, ...] | None = None
    """Export: commands that are left to do where llama-quantize is installed."""
    proofs: tuple[dict[str, object], ...] | None = None
    """Export: the content of each file's proof."""
    what: str | None = None
    """Push: adapter, merged, gguf or checkpoints."""
    repo: str | None = None
    """Push: the repository, with its owner."""
    url: str | None = None
    """Push: its page."""
    private: bool | None = None
    """Push: true if others can't see the repository."""
    new_files: int | None = None
    """Push: files that were not there before."""
    branches: tuple[str, ...] | None = None
    """Push: branches that were filled, other than main."""
    files: int | None = None
    """Merge, export, push: files that were written or uploaded."""
    bytes: int | None = None
    """Merge, export, push: size of these files."""
