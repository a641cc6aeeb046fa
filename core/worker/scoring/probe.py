"""General questions to both models, within a time limit: what the tuned one forgot."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from fitune.core.recipe import presets_dir
from fitune.core.score import LEAST_ROWS
from fitune.core.score.probe import Item, ProbeAnswer, is_right, items
from fitune.core.worker.answers import prompt_ids
from fitune.core.worker.chats.template import PromptOptions
from fitune.core.worker.scoring.compare import CPU_ROWS, GPU_ROWS
from fitune.core.worker.scoring.generate import answers
from fitune.core.worker.tuned_model import TunedModel

T = TypeVar("T")
ANSWER_TOKENS = 32
"""All items are answered in fewer."""
OVERTIME = 3.0
"""A score that is told to take 20 s gives 6 of them to the probe; two cores need 8 for the questions that tell."""


def shipped() -> tuple[Item, ...]:
    """The items that fitune brings along."""
    return items(presets_dir() / "probe" / "items.jsonl")


def probe(
    tuned: TunedModel,
    chosen: Sequence[Item],
    options: PromptOptions,
    seconds: float | None,
    told: Callable[[int], None],
) -> list[ProbeAnswer]:
    """The answers of both models, as `parts_in_time` gives the items. told: called with the items that are done.
    Raises UserError if the chat template refuses a question."""
    done = list[ProbeAnswer]()
    for part in parts_in_time(chosen, seconds, LEAST_ROWS):
        done += _chunk(tuned, part, options)
        told(len(done))
    return done


def parts_in_time(every: Sequence[T], seconds: float | None, least: int) -> Iterator[Sequence[T]]:
    """Parts of all items, one after another until the time is over; a first one always. seconds: None for no limit.

    Fewer than `least` tell nothing, so as many are given where that takes no more than OVERTIME times as long.
    """
    at_once = GPU_ROWS if torch.cuda.is_available() else CPU_ROWS
    began, took_s = time.monotonic(), 0.0
    for start in range(0, len(every), at_once):
        before = time.monotonic()
        missing = min(least, len(every)) - start
        needed_s = max(1, math.ceil(missing / at_once)) * took_s
        limit_s = math.inf if seconds is None else seconds * (OVERTIME if missing > 0 else 1)
        if start and before - began + needed_s > limit_s:
            return
        yield every[start : start + at_once]
        took_s = time.monotonic() - before


def _chunk(tuned: TunedModel, chosen: Sequence[Item], options: PromptOptions) -> list[ProbeAnswer]:
    turns = [[{"role": "user", "content": item.question}] for item in chosen]
    prompts = [prompt_ids(asked, None, tuned.tokenizer, options) for asked in turns]

    def answered() -> list[str]:
        return answers(tuned.model, tuned.tokenizer, prompts, tuned.stops, ANSWER_TOKENS, len(prompts))

    with tuned.as_base():
        base = answered()
    return [
        ProbeAnswer(
            kind=item.kind,
            question=item.question,
            reference=item.answer,
            base=before,
            tuned=after,
            base_right=is_right(item, before),
            tuned_right=is_right(item, after),
        )
        for item, before, after in zip(chosen, base, answered(), strict=True)
    ]
