"""Events of a job that goes on: its start, phases and steps, and what it measures."""

from dataclasses import dataclass
from typing import ClassVar


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
    """download, load, data, replay, prepare, sample, train, save, pairs, score, probe; race (tune-lr); rows (prepare
    job); write, prove (merge); convert (export); ask, upload, verify (push)."""
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
    checkpoint_bytes: int | None = None
    """Bytes of a checkpoint, about; left out without a budget."""
    save_apart_s: float | None = None
    """Seconds from one checkpoint to the next at least; left out where the recipe sets the steps."""
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


def margin_of(chosen: float | None, rejected: float | None) -> float | None:
    """The difference of two rewards; None where one is not known, as in a step with good answers alone."""
    return None if chosen is None or rejected is None else chosen - rejected


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """An optimizer step of the training."""

    type: ClassVar[str] = "step"
    step: int
    """Number of the step, from 1."""
    loss: float | None
    """Mean loss of the step's tokens, in nats a token; where answers are compared that of the objective, by rows. null
    in the file means NaN."""
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
    chosen_reward: float | None = None
    """Where answers are compared: how much likelier the better, or good, answers became, times train.beta, in nats."""
    rejected_reward: float | None = None
    """The same of the worse, or bad, answers."""
    pair_accuracy: float | None = None
    """Share of the pairs whose better answer has the higher reward; left out for rated answers."""

    @property
    def margin(self) -> float | None:
        """The reward of the better answers above that of the worse ones; None where answers are not compared."""
        return margin_of(self.chosen_reward, self.rejected_reward)


@dataclass(frozen=True, slots=True, kw_only=True)
class Eval:
    """An evaluation: the loss of the held-out rows."""

    type: ClassVar[str] = "eval"
    step: int
    """The step after which it was made; 0 before the first."""
    loss: float | None
    """Mean loss of the held-out tokens, in nats a token; where answers are compared that of the objective, by rows.
    null in the file means NaN."""
    rows: int | None = None
    """Held-out rows that were looked at."""
    elapsed_s: float | None = None
    """Seconds that it took."""
    chosen_reward: float | None = None
    """Where answers are compared: how much likelier the better, or good, answers became, times train.beta, in nats."""
    rejected_reward: float | None = None
    """The same of the worse, or bad, answers."""
    pair_accuracy: float | None = None
    """Share of the pairs whose better answer has the higher reward; left out for rated answers."""

    @property
    def margin(self) -> float | None:
        """The reward of the better answers above that of the worse ones; None where answers are not compared."""
        return margin_of(self.chosen_reward, self.rejected_reward)


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
    busy_percent: int | None = None
    """The share of the last second in which the GPU computed, by its driver."""
    predicted: int | None
    """Bytes that the budget predicted: on a GPU for `peak_device`, else for `peak_host`. null: there was no budget."""
    predicted_high: int | None = None
    """The most that it may be by the budget; left out where there was none."""

    @property
    def predicted_peak(self) -> int | None:
        """The peak for which `predicted` was meant: of the GPU, or of RAM where there is none."""
        return self.peak_device or self.peak_reserved or self.peak_host


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A checkpoint lies whole in checkpoints/."""

    type: ClassVar[str] = "checkpoint"
    step: int
    """The step after which it was written."""
