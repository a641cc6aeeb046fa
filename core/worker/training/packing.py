"""Packing: the rows as the trainer's data sets, one by one or several to a row of full length."""

from collections import Counter
from dataclasses import replace
from typing import Any

import torch
from datasets import Dataset
from trl import pack_dataset

from fitune.core.memory import FAST_UNSLOTH, FLAT_MULTIPLE, shapes
from fitune.core.recipe import Recipe
from fitune.core.runs import EventLog, Phase, Warned
from fitune.core.tokens import decide_packing
from fitune.core.worker.rows.truncate import ALBUM

Rows = list[dict[str, list[int]]]
PROBE_TOKENS = 8
LEAK = 0.05
"""A packed row counts as seeing the row before it if that row changes its logits by this share of the change that the
same tokens make as its own beginning. The share is 0 or about 1; rounding over the whole batch (int8) is in between."""


def choose(recipe: Recipe, model: Any, rows: Rows, log: EventLog) -> bool:
    """Decide to pack as the forecast does, but not if packed rows are found to see each other all the same.

    That happens where attention ignores positions, which no shape tells of a kind that was never tried. unsloth refuses
    by itself what it can't keep apart: see `unpack_if_refused`.
    """
    shape = shapes.find(recipe.model) if recipe.data.packing is True else None
    decision = decide_packing(Counter(len(row["input_ids"]) for row in rows), recipe, shape, ALBUM in rows[0])
    if decision.packed and recipe.train.backend != "unsloth" and not rows_stay_apart(model):
        decision = replace(decision, packed=False, why="not_apart")
    if decision.why == "not_apart":
        _warn_not_packed("in this model a packed row would see the one before it", log)
    log.write(
        Phase(name="prepare", rows=len(rows), packed=decision.packed, packing=decision.why, packing_gain=decision.gain)
    )
    return decision.packed


def to_sets(train_rows: Rows, eval_rows: Rows, length: int, packed: bool) -> tuple[Dataset, Dataset | None]:
    """The rows as data sets; those to train on packed to rows of at most `length` tokens if wanted."""
    train_set, eval_set = (Dataset.from_list(rows) if rows else None for rows in (train_rows, eval_rows))
    assert train_set is not None
    if packed:
        return pack_dataset(train_set, length, "bfd"), eval_set
    for rows in (train_set, eval_set):
        # By this mark, that all rows are truncated, Unsloth lays them end to end without padding.
        if rows and ALBUM not in rows.column_names:
            rows._unsloth_truncated_to = length
    return train_set, eval_set


def pad_flat_batches(trainer: Any, model_type: str) -> None:
    """Pad a batch whose rows Unsloth lays end to end to a multiple of FLAT_MULTIPLE tokens.

    Only with Unsloth's own layers: transformers' get a dense mask from it behind the last row (unsloth 2026.10,
    utils/hf_packed_attention.py, _mask_is_block_causal).
    """
    if model_type in FAST_UNSLOTH and getattr(trainer.data_collator, "padding_free", False):
        trainer.data_collator.pad_to_multiple_of = FLAT_MULTIPLE


def unpack_if_refused(trainer: Any, train_rows: Rows, eval_rows: Rows, length: int, log: EventLog) -> None:
    """Give a trainer that was asked to pack, and has refused, the rows one by one.

    unsloth refuses while the trainer is made (trainer.py, _patch_sft_trainer_auto_packing: Gemma 2, gpt-oss, layers
    with a state, a forward pass that takes no lengths), by args.packing = False alone; packed rows would then be
    trained as if each were one long text.
    """
    if not trainer.args.packing:
        trainer.train_dataset, trainer.eval_dataset = to_sets(train_rows, eval_rows, length, packed=False)
        _warn_not_packed("unsloth can't keep them apart in this model", log)


def _warn_not_packed(why: str, log: EventLog) -> None:
    log.write(Warned(kind="packing", message=f"Rows are not packed: {why}."))


@torch.no_grad()
def rows_stay_apart(model: Any) -> bool:
    """True if a row packed behind another one is computed as if it stood alone: the model is tried."""
    was_training = model.training
    model.eval()
    apart, joined = (_influence(model, positions) for positions in (_positions(2), _positions(1)))
    model.train(was_training)
    return apart < LEAK * joined


def _positions(rows: int) -> torch.Tensor:
    """Positions of two probes' tokens, which begin at 0 in each of `rows`: only they separate packed rows."""
    return torch.arange(2 * PROBE_TOKENS // rows).repeat(rows)[None]


def _influence(model: Any, positions: torch.Tensor) -> float:
    """The largest change of the logits behind the first PROBE_TOKENS tokens when those tokens change."""
    behind = torch.arange(PROBE_TOKENS) + 20
    logits = [
        model(
            input_ids=torch.cat([torch.arange(PROBE_TOKENS) + start, behind])[None].to(model.device),
            position_ids=positions.to(model.device),
            use_cache=False,
        ).logits[0, PROBE_TOKENS:]
        for start in (3, 40)
    ]
    return float((logits[0].float() - logits[1].float()).abs().max())
