"""The events of a run: a dataclass for each type of line in events.jsonl.

Every field is a number or a name, never formatted text, but for the sentences of warnings and failures and the texts of
samples. A field that is not known is left out of the line. docs/files.md is made of these docstrings.
"""

from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A worker begins a job, for the first time or to continue it."""

    type: ClassVar[str] = "started"
    backend: str | None = None
    """The library that does the work: unsloth or trl for a training, else peft, llama.cpp or huggingface_hub."""
    device: str | None = None
    """The GPU's name, or "cpu"; for a push "the Hub"."""
    dtype: str | None = None
    """The type in which a training computes: bfloat16, float16 or float32."""
    attention: str | None = None
    """The attention kernel of a training with unsloth for rows that lie end to end: flash-attn, xformers, torch, or
    "one by one" (a kernel for each row)."""
    resumed_from: int | None = None
    """The step of the checkpoint that a training continues from."""
    model: str | None = None
    """The model whose tokenizer the prepare job uses: a Hub id or a folder."""
    source: str | None = None
    """The data set that the prepare job reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A part of a job begins, or the same part has progressed."""

    type: ClassVar[str] = "phase"
    name: str
    """download, load, data, replay, prepare, sample, train, save, score; race (tune-lr); rows (prepare job); write,
    prove (merge); convert (export); ask, upload, verify (push)."""
    model: str | None = None
    """The model that is downloaded or loaded: a Hub id or a folder."""
    revision: str | None = None
    """The Hub commit of that model."""
    source: str | None = None
    """The data set that is read."""
    rows: int | None = None
    """Rows to train on; in the phase rows those that were counted so far."""
    tokens: int | None = None
    """Tokens that were counted so far; in the phase train those of the whole training."""
    eval_every: int | None = None
    """Steps from one evaluation to the next; left out if there is none."""
    eval_tokens: int | None = None
    """Tokens of one evaluation."""
    save_every: int | None = None
    """Steps from one checkpoint to the next."""
    switch: str | None = None
    """The option of the chat template that a server must set to false, so that the model answers without thinking."""
    packed: bool | None = None
    """True if several short rows share one of full length."""
    packing: str | None = None
    """The reason why rows are packed or not, as a word: core/tokens/packing.py explains each."""
    packing_gain: float | None = None
    """Rows per packed row: a step takes so many times fewer rows when they are packed."""
    total_steps: int | None = None
    """Optimizer steps of the whole training."""
    epochs: float | None = None
    """Passes over the rows in the whole training."""
    compiles: bool | None = None
    """True in the phase train if the model's code is compiled before its first step."""
    kind: str | None = None
    """The kind of GGUF file that is written, such as q8_0."""
    bytes: int | None = None
    """Bytes to download, write or upload in this phase; in the phase rows the bytes that were read so far."""
    done_bytes: int | None = None
    """Bytes of those that are written or uploaded so far."""
    total_bytes: int | None = None
    """Bytes of all files that the phase rows reads."""
    files: int | None = None
    """Files to upload."""
    file: str | None = None
    """The file that is uploaded now."""
    repo: str | None = None
    """The repository that is uploaded to, with its owner."""
    branch: str | None = None
    """The branch of the repository, if it is not main."""
    scored: int | None = None
    """Rows that both models have answered so far."""
    to_score: int | None = None
    """Rows to score at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """An optimizer step of the training."""

    type: ClassVar[str] = "step"
    step: int
    """Number of the step, from 1."""
    loss: float | None
    """Mean loss of the step's tokens, in nats a token. null in the file means NaN."""
    epoch: float | None = None
    """Passes over the rows so far."""
    lr: float | None = None
    """Learning rate of the step."""
    grad_norm: float | None = None
    """Length of the gradient before it is clipped."""
    tokens_per_s: float | None = None
    """Tokens that the step trained on, a second."""
    seen_tokens: int | None = None
    """Tokens trained on since the first step, also before a resume."""
    step_s: float | None = None
    """Seconds that the step took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Eval:
    """An evaluation: the loss of the held-out rows."""

    type: ClassVar[str] = "eval"
    step: int
    """The step after which it was made; 0 before the first."""
    loss: float | None
    """Mean loss of the held-out tokens, in nats a token. null in the file means NaN."""
    rows: int | None = None
    """Held-out rows that were looked at."""
    elapsed_s: float | None = None
    """Seconds that it took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The verdict on the trained model: it and the base have answered the same rows. scores.json has each row."""

    type: ClassVar[str] = "score"
    word: str
    """better, no different, worse or can't tell."""
    metric: str
    """What was compared: tool_call, json, label, choice, number, match, or text (by the loss of the answers)."""
    rows: int
    """Held-out rows that both models answered."""
    base: float
    """The base model by the metric: the share of right answers; for text the loss, in nats a token."""
    tuned: float
    """The same of the tuned model."""
    low: float
    """Lower end of the 95 % interval of the difference, tuned minus base."""
    high: float
    """Upper end of that interval."""
    p: float
    """Probability of such a difference by chance, two-sided."""
    more_rows: int | None = None
    """Rows that are missing for a verdict."""
    leaked: int = 0
    """Rows that were left out because the training rows hold them, too."""
    guessing: float | None = None
    """For labels: the share of the most frequent one."""
    base_loss: float | None = None
    """Loss of the data's answers by the base model, in nats a token."""
    tuned_loss: float | None = None
    """The same by the tuned model."""
    elapsed_s: float | None = None
    """Seconds that it took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RacedLap:
    """A short training of `fitune tune-lr` has ended."""

    type: ClassVar[str] = "lap"
    round: int
    """Number of the round, from 1: each has half as many rates, and laps of twice as many steps."""
    lr: float
    """Its learning rate."""
    steps: int
    """Its optimizer steps."""
    loss: float | None
    """Loss of the held-out rows at its end, in nats a token. null in the file means that it diverged."""
    elapsed_s: float | None = None
    """Seconds that it took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """The memory of the worker, measured. Without a GPU only that of the host."""

    type: ClassVar[str] = "memory"
    step: int | None = None
    """The step after which it was measured."""
    card: int | None = None
    """Of a training on several GPUs: the place of this one among them, from 1. Left out for the first."""
    allocated: int | None = None
    """Bytes in tensors on the GPU, by torch's allocator."""
    reserved: int | None = None
    """Bytes that torch's allocator holds on the GPU."""
    device: int | None = None
    """Bytes that the process takes of the GPU, by its driver: CUDA context and allocator slack included."""
    peak_allocated: int | None = None
    """The most that `allocated` was."""
    peak_reserved: int | None = None
    """The most that `reserved` was."""
    peak_device: int | None = None
    """The most that `device` was: what nvidia-smi would have shown."""
    host: int | None = None
    """Bytes of RAM that the process holds (resident set)."""
    peak_host: int | None = None
    """The most that `host` was."""
    others: int | None = None
    """Bytes of the GPU that other processes hold; left out where the driver does not tell them apart."""
    throttled: str | None = None
    """The reason why the GPU slows itself down: heat, or a brake on its power. Left out if it does not."""
    temperature_c: int | None = None
    """The GPU's temperature."""
    predicted: int | None
    """Bytes that the budget predicted: on a GPU for `peak_device`, else for `peak_host`. null: there was no budget."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A checkpoint lies whole in checkpoints/."""

    type: ClassVar[str] = "checkpoint"
    step: int
    """The step after which it was written."""


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
    """Its subject, as a word: oom, nan (a step was left out), rate (it was halved), disk."""
    message: str
    """An English sentence for people: what changed, and what it costs. Names from the data may stand in it."""
    step: int | None = None
    """Training: the step at which it happened."""
    set: dict[str, Any] | None = None
    """The fields of the recipe that were changed, by `group.key`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A held-out question with the answers of the model before the training and now."""

    type: ClassVar[str] = "sample"
    step: int
    """The step after which it was asked; 0 before the first."""
    prompt: str
    """The question as it is shown to people."""
    before: str | None = None
    """The answer before the training."""
    after: str | None
    """The answer after this step; null at step 0."""
    reference: str | None = None
    """The answer in the data."""
    stops: bool | None = None
    """True if the answer ended by itself; left out if its time was over."""
    tokens: int | None = None
    """Length of the answer."""
    elapsed_s: float | None = None
    """Seconds that the answer took."""


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


EventData = (
    Started | Phase | Step | Eval | Score | RacedLap | Memory | Checkpoint | Warned | Recovered | Sample | Finished
    | Failed
)  # fmt: skip
TYPES: tuple[type[EventData], ...] = (
    Started, Phase, Step, Eval, Score, RacedLap, Memory, Checkpoint, Warned, Recovered, Sample, Finished, Failed,
)  # fmt: skip
