"""The groups and fields of a recipe: one class for each group. The docstring under a field is also its help text."""

from typing import Annotated, Literal

from pydantic import Field

from fitune.core.recipe.data_fields import Data
from fitune.core.recipe.kinds import (
    ALL_WEIGHTS_SHARE,
    GUIDE_RATE,
    RATE_SHARES,
    READ_AS,
    RUN_NAME,
    STOP_AT,
    Backend,
    Checkpointing,
    Gpus,
    Group,
    Init,
    ModulePath,
    Objective,
    Optimizer,
    Quant,
    Scheduler,
    Weights,
)


class Model(Group):
    """The base model, and how it is held in memory."""

    id: Annotated[str, Field(min_length=1)]
    """A Hub id such as Qwen/Qwen2.5-7B-Instruct, or a local folder."""
    revision: str | None = None
    """Branch, tag or commit of the Hub repository; nothing means its newest."""
    quant: Quant = "nf4"
    """Storage of the frozen base weights: nf4 is 4 bits a weight (QLoRA), int8 is 8, bf16 is 16 (plain LoRA)."""
    double_quant: bool = True
    """Quantize the 4-bit scales too: saves 0.05 byte a weight and costs nothing you will notice."""
    max_seq_length: Annotated[int, Field(ge=32, le=1_048_576)] = 2048
    """The longest row in tokens; longer rows are cut. Memory for activations grows with it."""
    trust_remote_code: bool = False
    """Run Python code shipped in the model's repository. Only for a repository whose code you have read."""


class Lora(Group):
    """The small matrices that are trained beside the frozen model."""

    r: Annotated[int, Field(ge=1, le=1024)] = 16
    """Rank: how much the adapter can learn. 8 to 32 is usual; memory and file size grow with it."""
    alpha: Annotated[float, Field(gt=0, le=4096)] = 16
    """Strength: the adapter's output is scaled by alpha / r. Equal to r, or twice r, is usual."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the adapter's input dropped at random; 0 is fastest, 0.05 helps on very small data."""
    target_modules: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    """The modules that get an adapter; all-linear is best for nearly everything."""
    bias: Literal["none", "all", "lora_only"] = "none"
    """Train bias vectors as well; none keeps the adapter removable without a trace."""
    rslora: bool = False
    """Scale by alpha / sqrt(r) instead; steadier at ranks of 64 and more."""
    dora: bool = False
    """Learn a weight's length and direction apart (DoRA): a little better at low rank, slower, more memory."""
    init: Init = "default"
    """Start values of the adapter; at first it changes nothing. pissa and olora move part of the weights into it; loftq
    fills it with what 4 bits lost of them."""
    layers: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    """Only these layers, by number from 0; nothing means all of them."""
    rank_pattern: dict[ModulePath, Annotated[int, Field(ge=1, le=1024)]] = {}
    """Another rank for some modules: {down_proj = 32, "layers.0.self_attn.q_proj" = 4}. The first name that ends a
    module's path counts; its adapter is scaled by alpha over that rank."""
    modules_to_save: tuple[Literal["embed_tokens", "lm_head"], ...] = ()
    """Train the input embedding (embed_tokens) or the output head (lm_head) whole beside the adapter: for new words or
    another language. Takes much memory. Where a model has one matrix for both, it stays one."""
    lr_ratio: Annotated[float, Field(ge=1, le=100)] = 1.0
    """LoRA+: how many times faster the adapter's second matrix, B, learns than its first; 16 is the paper's. Variants
    of LoRA end within 1 to 2 % of each other once the learning rate is tuned (arXiv 2602.04998): tune that first."""


class Train(Group):
    """The training settings."""

    weights: Weights = "adapter"
    """An adapter beside the frozen model, or all weights (full fine-tuning), each of which takes 12 byte or more.
    The settings of the adapter mean nothing then."""
    objective: Objective = "sft"
    """What the rows show. sft: good answers, or just text. dpo, orpo: a better and a worse answer to each question.
    kto: answers of which each is rated good or bad."""
    beta: Annotated[float, Field(gt=0, le=10)] = 0.1
    """dpo, kto: how near the model stays to what it was; less lets it move on. orpo: the weight of the comparison."""
    backend: Backend = "auto"
    """unsloth on NVIDIA cards (fast, small), trl everywhere else; auto picks and says why."""
    micro_batch: Annotated[int, Field(ge=1, le=4096)] = 2
    """Rows on the card at once. The first thing to lower when memory is short."""
    grad_accum: Annotated[int, Field(ge=1, le=65536)] = 4
    """Micro-batches summed before the weights change: costs time, hardly memory. The batch size is the product of
    both."""
    micro_tokens: Annotated[int, Field(ge=64, le=1_048_576)] | None = None
    """Split the rows of a micro-batch again where they come to more tokens than this, for rows of very different
    lengths: the result stays the same. No row is cut. Nothing means a micro-batch is not split."""
    epochs: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """Number of passes over all rows. 1 to 3; more memorises."""
    max_steps: Annotated[int, Field(ge=1)] | None = None
    """Stop after this many steps whatever `epochs` says; nothing means epochs decide."""
    lr: Annotated[float, Field(gt=0, le=1)] | Literal["auto"] = "auto"
    """Learning rate. auto goes by model, batch and objective, by sft 1e-4 to 3e-4; too high and the loss turns NaN."""
    scheduler: Scheduler = "linear"
    """Course of the learning rate over the run; cosine_with_min_lr ends at a tenth of it."""
    warmup_ratio: Annotated[float, Field(ge=0, le=0.5)] = 0.03
    """Share of the steps in which the learning rate climbs from 0."""
    optimizer: Optimizer = "adamw_8bit"
    """8-bit states save memory at no loss; paged ones spill to host RAM when the card is full. lora_fa trains the
    adapter's second matrix alone, with a gradient corrected for that. GaLore and APOLLO are no choice: their packages
    see no upkeep."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Pull of the weights towards 0."""
    max_grad_norm: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """Longest step allowed: a longer gradient is cut to this length."""
    checkpointing: Checkpointing = "unsloth"
    """Recompute activations instead of keeping them: on the card, or moved to host RAM (unsloth). Off takes most."""
    checkpoint_skip_layers: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Keep the activations of this many layers and recompute those of the others only (unsloth): each saves time and
    takes memory. Nothing means checkpointing applies to all layers."""
    tiled_mlp: bool = False
    """Compute each layer's MLP in tiles of a few thousand tokens (unsloth): long rows take less memory, and the MLP is
    computed once more. Rows of less than 8,000 tokens gain nothing. With 131,072 tokens of an 8B it
    saved 5.5 of 27.4 GB on an H200; only its memory was tried on a card."""
    offload_layers: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] | None = None
    """Keep this many frozen layers in host RAM and fetch each when needed (unsloth); auto keeps as few as it can."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 3407
    """Same seed, same order of rows, same start."""
    eval_every: Annotated[int, Field(ge=1)] | None = None
    """Steps between evaluations on the held-out rows; nothing means about 10 in a run."""
    save_every: Annotated[int, Field(ge=1)] | None = None
    """Steps between checkpoints, from which a run resumes; nothing means about 10 in a run, 30 s apart or more."""
    save_minutes: Annotated[float, Field(ge=0.1, le=1440)] | None = None
    """Also a checkpoint each time that so many minutes have passed since the last; nothing means by steps alone."""
    keep_checkpoints: Annotated[int, Field(ge=1, le=1000)] = 2
    """Number of the newest checkpoints that stay on disk."""
    patience: Annotated[int, Field(ge=0, le=1000)] = 3
    """Stop after this many evaluations in a row that are surely worse than the best: the model only memorises by then.
    0 never stops early. Either way the adapter of the best evaluation is what you get."""
    score: Literal["auto", "all", "off"] = "auto"
    """Score base and tuned model on the held-out rows at the end: auto takes a tenth of the training's time at most,
    all takes every held-out row."""
    report_to: Literal["none", "tensorboard", "wandb", "trackio", "mlflow"] = "none"
    """An experiment tracker that also gets the numbers; fitune always keeps its own log in the run's folder."""

    @property
    def texts(self) -> int:
        """Texts that a row puts through the model: two where a better and a worse answer are compared."""
        return 2 if self.objective in ("dpo", "orpo") else 1

    @property
    def rate(self) -> float:
        """The learning rate as a number. A run has one (core/forecast); while nothing is known of the model, "auto" is
        that of the guides."""
        if self.lr != "auto":
            return self.lr
        return GUIDE_RATE * RATE_SHARES[self.objective] * (ALL_WEIGHTS_SHARE if self.weights == "all" else 1)


class Run(Group):
    """The run's folder, and the resources it may use."""

    name: Annotated[str, Field(pattern=RUN_NAME)] | None = None
    """Its name: letters, digits, dots, hyphens. Nothing makes one from date and model."""
    home: str | None = None
    """The folder that holds runs/; nothing means $FITUNE_HOME, else the XDG data folder."""
    gpu: str | None = None
    """The card to use: number, UUID or part of its name; nothing means the one with most free memory."""
    gpus: Gpus = "auto"
    """Cards to train on together: how many, "all" of them, or a list of their numbers or UUIDs, such as [0, 1]. A step
    takes the same rows on any number of cards, each card its share. auto is one card."""
    shard: bool | Literal["auto"] = "auto"
    """Split the model over the cards (FSDP2), or give each a whole copy (DDP), which is faster. auto splits it only
    where a card can't hold the whole."""
    vram_limit_gib: Annotated[float, Field(gt=0, le=4096)] | None = None
    """Never take more than this of the card."""
    max_hours: Annotated[float, Field(gt=0, le=10_000)] | None = None
    """Stop after so many hours of training, with a checkpoint from which it can go on."""
    stop_at: Annotated[str, Field(pattern=STOP_AT)] | None = None
    """Stop at this time of the day, such as 06:00, or at a date and time, such as 2027-01-31T06:00; it can go on from
    there."""
    pause_above_c: Annotated[int, Field(ge=40, le=110)] | None = None
    """Pause while the card is hotter than so many °C, until it is 10 °C below that."""
    copy_to: Annotated[str, Field(min_length=1)] | None = None
    """A folder on another disk or in a bucket (s3://..., gs://...) that gets a copy of the run at each checkpoint."""


class Deliver(Group):
    """Files to make from the adapter after the training."""

    merge: bool = False
    """Merge the adapter into the 16-bit base model."""
    gguf: tuple[Literal["f16", "bf16", "q8_0", "q4_k_m", "q5_k_m", "q6_k"], ...] = ()
    """GGUF files for llama.cpp and Ollama, by quantization."""
    push_repo: str | None = None
    """Hub repository to push to, as name/repository."""
    private: bool = True
    """Keep that repository private."""


class Recipe(Group):
    """A whole fine-tune: every field has a default but the model and the data."""

    version: Literal[1] = 1
    """The format of this file."""
    model: Model
    lora: Lora = Lora()
    data: Data
    train: Train = Train()
    run: Run = Run()
    deliver: Deliver = Deliver()

    @property
    def trains_all(self) -> bool:
        """True for full fine-tuning."""
        return self.train.weights == "all"

    @property
    def rows(self) -> Data:
        """The data, read as the objective asks."""
        objective = self.train.objective
        return self.data.read_as(READ_AS[objective]) if objective in READ_AS else self.data
