"""Rows with compared answers as the data sets of TRL's trainers, in tokens."""

import random
from typing import Any

from datasets import Dataset

from fitune.core.errors import UserError
from fitune.core.worker.rows.truncate import first_of
from fitune.core.worker.training.packing import Rows


def pair_set(rows: Rows) -> Dataset | None:
    """Rows of a prompt with a better and a worse answer; None without rows."""
    return Dataset.from_list([_pair(row) for row in rows]) if rows else None


def _pair(row: dict[str, list[int]]) -> dict[str, list[int]]:
    first = first_of(row)
    ids, rejected = row["input_ids"], row["rejected_ids"]
    return {"prompt_ids": ids[:first], "chosen_ids": ids[first:], "rejected_ids": rejected[first:]}


def rated_set(rows: Rows, micro_batch: int, seed: int | None = None) -> Dataset | None:
    """Rows of a prompt with an answer that is good or bad; None without rows.

    Beside it stands the answer of the row before it in the micro-batch, by which KTO estimates how far the model has
    moved (Ethayarajh et al. 2024, arXiv 2402.01306): so the rows stay in this order. seed: of their order; None leaves
    them in that of the data.
    """
    ordered = list(rows)
    if seed is not None:
        random.Random(seed).shuffle(ordered)
    made: list[dict[str, Any]] = []
    for start in range(0, len(ordered), micro_batch):
        batch = ordered[start : start + micro_batch]
        answers = [row["input_ids"][first_of(row) :] for row in batch]
        for row, answer, other in zip(batch, answers, [*answers[-1:], *answers[:-1]], strict=True):
            prompt = row["input_ids"][: first_of(row)]
            label = bool(row["rating"][0])
            made.append({"prompt_ids": prompt, "completion_ids": answer, "KL_completion_ids": other, "label": label})
    return Dataset.from_list(made) if made else None


def weights_of_kinds(rows: Rows) -> tuple[float, float]:
    """The weights of good and of bad answers in KTO's loss: both kinds count alike however many there are of each, as
    the paper's equation 8 asks. Raises UserError if one kind is missing."""
    good = sum(row["rating"][0] for row in rows)
    bad = len(rows) - good
    if not good or not bad:
        kinds = ("good", "bad") if good else ("bad", "good")
        text = f"All answers to train on are rated {kinds[0]}, and objective = kto learns from {kinds[1]} ones, too."
        raise UserError(text, 'Add some, or set train.objective = "sft" for rows whose answers are all good.')
    return max(1.0, bad / good), max(1.0, good / bad)
