"""Contradictions between the fields of a recipe, each of which is valid by itself. Nothing here knows the machine."""

import datetime
import re
from collections.abc import Iterator

from fitune.core.errors import Problem
from fitune.core.recipe.data_fields import Data
from fitune.core.recipe.fields import Lora, Recipe, Run, Train
from fitune.core.recipe.kinds import BEGINS_FILLED, COMPARE, MOVES_THE_BASE, READ_AS, Objective, Quant


def find_contradictions(recipe: Recipe) -> list[Problem]:
    """Each contradiction, with a fix; `where` is `group.key`."""
    problems = [
        *_of_sources(recipe.data),
        *_of_replay(recipe),
        *_of_texts(recipe),
        *_of_objective(recipe),
        *_of_backend(recipe.train, recipe.model.quant, recipe.lora.target_modules),
        *_of_init(recipe.lora, recipe.train.backend, recipe.model.quant),
        *_of_choice(recipe.lora),
        *_of_rates(recipe.lora, recipe.train, recipe.run),
        *_of_all_weights(recipe),
        *_of_dates(recipe.run),
        *_of_copies(recipe.run),
    ]
    if recipe.train.eval_every is not None and recipe.data.eval_fraction == 0:
        problems.append(
            Problem("train.eval_every", "is set, but no rows are held out.", 'Set data.eval_fraction = "auto".')
        )
    return problems


def not_with_images(recipe: Recipe) -> list[Problem]:
    """Each setting that is not done where rows hold images, which only a look at them can tell, with a fix."""
    train, data, run = recipe.train, recipe.data, recipe.run
    found = []
    if train.objective != "sft":
        text = f"objective = {train.objective} compares answers, which is not done for rows with images."
        found.append(Problem("train.objective", text, 'Set objective = "sft".'))
    if data.loss_on == "all":
        text = "all would learn the questions too, and an image can't be learned."
        found.append(Problem("data.loss_on", text, 'Use loss_on = "answers".'))
    if data.packing is True:
        found.append(Problem("data.packing", "rows with images are not packed.", 'Use packing = "auto".'))
    if train.micro_tokens is not None:
        text = "a micro-batch with images is not split again."
        found.append(Problem("train.micro_tokens", text, "Remove it, and lower train.micro_batch instead."))
    if run.shard is True or run.gpus not in ("auto", 1):
        found.append(Problem("run.gpus", "rows with images are trained on one card.", "Set run.gpus = 1."))
    return found


def _of_sources(data: Data) -> Iterator[Problem]:
    """Rows from nowhere, or from two places."""
    if not data.source and not data.sources:
        yield Problem("data.source", "is missing.", "A recipe needs model.id and data.source.")
    if data.source and data.sources:
        yield Problem("data.sources", "stands beside data.source.", "Put all files into data.sources.")
    if data.sources and (data.columns or data.format != "auto"):
        key = "data.columns" if data.columns else "data.format"
        fix = 'Write it beside its source: sources = [{source = "a.jsonl", format = "text"}].'
        yield Problem(key, "does not say to which of the sources it belongs.", fix)


def _of_texts(recipe: Recipe) -> Iterator[Problem]:
    """Texts that are cut so that hardly anything new is in a row."""
    overlap, length = recipe.data.text_overlap, recipe.model.max_seq_length
    if overlap is not None and overlap > length // 2:
        text = f"is {overlap}, so that more than half of a row of {length} tokens would be read again."
        yield Problem("data.text_overlap", text, f"Set it to {length // 8}, or raise model.max_seq_length.")


def _of_replay(recipe: Recipe) -> Iterator[Problem]:
    """General rows that can't be had."""
    if recipe.data.replay and recipe.data.replay_source is None and recipe.run.shard is True:
        text = "a model that is split over cards can't answer before the training."
        yield Problem("data.replay", text, "Name general rows in data.replay_source.")


def _of_objective(recipe: Recipe) -> Iterator[Problem]:
    """Settings for rows with one good answer, where the objective takes others; and the other way round."""
    train, data, lora = recipe.train, recipe.data, recipe.lora
    objective, wanted = train.objective, READ_AS.get(train.objective)
    for key, fmt in [("data.format", data.format), *(("data.sources", part.format) for part in data.sources)]:
        if fmt not in ("auto", wanted) and (wanted or fmt in READ_AS.values()):
            yield Problem(
                key, f"{fmt} is not what objective = {objective} learns from.", _fix_of_format(objective, fmt)
            )
    if objective == "sft":
        return
    if data.packing is True:
        yield Problem("data.packing", f"objective = {objective} compares rows, which can't be packed.", "Remove it.")
    if data.loss_on == "all":
        text = f"objective = {objective} compares answers; a question can't be better or worse."
        yield Problem("data.loss_on", text, 'Use loss_on = "answers".')
    if data.replay:
        text = f"general rows have one answer, and objective = {objective} can't learn from them."
        yield Problem("data.replay", text, "Remove it. beta keeps the model near to what it was.")
    if train.micro_tokens is not None:
        text = f"objective = {objective} takes the rows of a micro-batch together."
        yield Problem("train.micro_tokens", text, "Remove it, and lower train.micro_batch where memory is short.")
    if recipe.run.shard is True:
        yield Problem("run.shard", f"objective = {objective} was not tried with a split model.", "Set shard = false.")
    if objective == "kto" and train.micro_batch < 2:
        text = "kto compares each answer with those of other rows in its micro-batch."
        yield Problem("train.micro_batch", text, "Use at least 2.")
    if lora.dropout > 0:
        text = f"objective = {objective} compares likelihoods, and dropout makes them a matter of chance."
        yield Problem("lora.dropout", text, "Use dropout = 0.")
    if objective in COMPARE:
        yield from _of_reference(objective, lora)


def _of_reference(objective: Objective, lora: Lora) -> Iterator[Problem]:
    """Adapters that can't be switched off to find what the model was before."""
    if lora.init in BEGINS_FILLED:
        text = f"{lora.init} fills the adapter: without it the model is not what objective = {objective} begins with."
        yield Problem("lora.init", text, 'Use init = "default".')
    if lora.bias != "none":
        text = f"trained biases stay on when objective = {objective} switches the adapter off to compare."
        yield Problem("lora.bias", text, 'Use bias = "none".')
    if "lm_head" in lora.target_modules:
        text = f"objective = {objective} reads its weights past an adapter (trl 1.15, dpo_trainer.py)."
        yield Problem("lora.target_modules", f"lm_head: {text}", "Take it out.")


def _fix_of_format(objective: Objective, fmt: str) -> str:
    """The cure for a format that the objective does not learn from."""
    others = [name for name, wanted in READ_AS.items() if wanted == fmt]
    if others:
        return f'Use train.objective = "{others[0]}".'
    return f'Use format = "auto" with rows of the kind {READ_AS[objective]}, or train.objective = "sft".'


def _of_backend(train: Train, quant: Quant, modules: str | tuple[str, ...]) -> Iterator[Problem]:
    """Settings that the backend does not support. The choice of `auto` is not known yet."""
    if train.backend == "trl" and "lm_head" in modules:  # trl 1.15 reads its weights past an adapter (sft_trainer.py)
        fix = 'Take it out, or use backend = "unsloth".'
        yield Problem("lora.target_modules", "lm_head is not trained by the trl backend.", fix)
    key, offloads = "train.offload_layers", train.offload_layers is not None
    skip_key, skips = "train.checkpoint_skip_layers", train.checkpoint_skip_layers is not None
    # Where the recipe names no checkpointing, trl gets its own (forecast/resolve.py).
    if train.backend == "trl" and train.checkpointing == "unsloth" and "checkpointing" in train.model_fields_set:
        yield Problem("train.checkpointing", "unsloth needs the unsloth backend.", 'Use checkpointing = "on".')
    if train.backend == "trl" and offloads:
        yield Problem(key, "is done by the unsloth backend only.", "Remove it, or use that backend.")
    if train.backend == "trl" and skips:
        yield Problem(skip_key, "is done by the unsloth backend only.", "Remove it, or use that backend.")
    if train.tiled_mlp:
        yield from _of_tiles(train)
    if skips and train.checkpointing == "off":
        text = "means nothing with checkpointing = off, which recomputes no layer."
        yield Problem(skip_key, text, 'Remove it, or use checkpointing = "unsloth".')
    if train.backend == "unsloth" and offloads and train.checkpointing == "off":
        yield Problem(key, "needs checkpointing.", 'Remove it, or use checkpointing = "unsloth".')
    if train.backend == "unsloth" and offloads and quant == "int8":
        yield Problem(key, "is not done with 8-bit weights.", 'Remove it, or use quant = "nf4" or "bf16".')


def _of_tiles(train: Train) -> Iterator[Problem]:
    """Settings that train.tiled_mlp does not go with."""
    key = "train.tiled_mlp"
    if train.backend == "trl":
        yield Problem(key, "is done by the unsloth backend only.", "Remove it, or use that backend.")
    if train.checkpointing == "off":
        text = "saves memory in a layer that is recomputed, and checkpointing = off recomputes none."
        yield Problem(key, text, 'Remove it, or use checkpointing = "unsloth".')


def _of_init(lora: Lora, backend: str, quant: Quant) -> Iterator[Problem]:
    """Initialisations of the adapter that need other settings."""
    init = lora.init
    reads_the_base = init in (*MOVES_THE_BASE, "orthogonal", "loftq")
    if reads_the_base and backend == "unsloth":
        fix = 'Use init = "default", or backend = "trl".'
        yield Problem("lora.init", f"{init} is done by the trl backend only.", fix)
    if init == "loftq" and quant != "nf4":
        text = "loftq makes up for the rounding to 4 bits, and these weights are not rounded to 4 bits."
        yield Problem("lora.init", text, 'Use quant = "nf4", or init = "default".')
    if init in (*MOVES_THE_BASE, "orthogonal") and quant != "bf16":
        text = f"{init} reads the base weights, which must then be 16-bit."
        yield Problem("lora.init", text, 'Use quant = "bf16", or init = "default".')
    if init in MOVES_THE_BASE and "lm_head" in lora.target_modules:
        text = f"{init} would change the weights of lm_head, which in many models are the input's as well."
        yield Problem("lora.init", text, 'Take lm_head out of lora.target_modules, or use init = "default".')
    if init in BEGINS_FILLED and lora.rank_pattern:
        text = f"{init} takes one rank for all modules."
        yield Problem("lora.rank_pattern", text, 'Remove it, or use init = "default".')
    if init == "orthogonal" and lora.r % 2 == 1:
        yield Problem("lora.r", "must be even for init = orthogonal.", f"Use r = {lora.r + 1}.")


def _of_choice(lora: Lora) -> Iterator[Problem]:
    """Empty choices of modules or layers."""
    if lora.target_modules == ():
        yield Problem("lora.target_modules", "is empty: nothing would be trained.", 'Use "all-linear".')
    if lora.layers == ():
        yield Problem("lora.layers", "is empty: nothing would be trained.", "Remove it, to train all of them.")


def _of_rates(lora: Lora, train: Train, run: Run) -> Iterator[Problem]:
    """Optimizers that treat the two matrices of an adapter differently."""
    if train.optimizer == "lora_fa":
        key, fix = "train.optimizer", 'Use optimizer = "adamw_8bit".'
        if lora.dora:
            yield Problem(key, "lora_fa does not know the lengths that DoRA trains.", f"Set lora.dora = false. {fix}")
        if lora.lr_ratio != 1:
            yield Problem("lora.lr_ratio", "means nothing with lora_fa, which trains B alone.", "Remove it.")
        if "embed_tokens" in lora.target_modules:
            yield Problem(key, "lora_fa does not know the adapter of an embedding.", fix)
    for key in ("lora.lr_ratio",) * (lora.lr_ratio != 1) + ("train.optimizer",) * (train.optimizer == "lora_fa"):
        if run.shard is True:
            text = "sets rates of its own, which is not done for a model that is split over cards."
            yield Problem(key, text, "Remove it, or set run.shard = false.")


def _of_all_weights(recipe: Recipe) -> Iterator[Problem]:
    """Settings that mean nothing, or are not done, where all weights are trained."""
    train, run = recipe.train, recipe.run
    if train.weights != "all":
        return
    key, frozen = "train.weights", 'Use train.weights = "adapter".'
    if recipe.model.quant != "bf16":
        yield Problem(key, "all needs weights that can change: quantized ones can't.", 'Set model.quant = "bf16".')
    for name in sorted(set(Lora.model_fields) - {"r", "alpha"}):  # which presets set
        if getattr(recipe.lora, name) != getattr(Lora(), name):
            text = "means nothing: train.weights = all trains no adapter."
            yield Problem(f"lora.{name}", text, f"Remove it. {frozen}")
    if train.optimizer == "lora_fa":
        yield Problem("train.optimizer", "lora_fa is for adapters.", 'Use optimizer = "adamw_8bit".')
    if train.backend == "unsloth":
        text = "all is done by the trl backend only: Unsloth's layers expect an adapter or a frozen model."
        yield Problem(key, text, f'Use backend = "trl". {frozen}')
    if run.shard is True or run.gpus not in ("auto", 1):
        yield Problem(key, "all is done on one card.", f"Set run.gpus = 1. {frozen}")


def _of_dates(run: Run) -> Iterator[Problem]:
    """A date that there is not."""
    if run.stop_at is not None and "T" in run.stop_at:
        try:
            datetime.datetime.fromisoformat(run.stop_at)
        except ValueError as error:
            yield Problem("run.stop_at", f"is no date: {error}.", "For example: 2027-01-31T06:00")


def _of_copies(run: Run) -> Iterator[Problem]:
    """A password in the URL of a bucket: the recipe is written into the run's folder."""
    if re.match(r"\w+://[^/]*@", run.copy_to or ""):
        yield Problem(
            "run.copy_to",
            "holds a name or password before the @.",
            "Log in by the bucket's own tool or its environment.",
        )
