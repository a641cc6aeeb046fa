"""Compare the answers of two forms of a model to rows of the run's own data."""

import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fitune.core.data import dataset, eval_fraction
from fitune.core.data.split import split
from fitune.core.deliver import Proof, ProofLimits, Similarity, add_answer_checks
from fitune.core.errors import UserError
from fitune.core.recipe import Recipe
from fitune.core.worker.chats.template import PromptOptions
from fitune.core.worker.images.look import Look, look_at
from fitune.core.worker.images.processor import ImageProcessor, of_rows
from fitune.core.worker.rows.render import RefusedRow, render
from fitune.core.worker.scoring.rows import to_first_answer

ROWS = 4
ROW_TOKENS = 512
"""Longer rows are truncated: the proof of an 8B model on a CPU should take minutes, not hours."""
IMAGE_ROW_TOKENS = 4096
"""The same for rows with images, which take most of it."""
COMPARED_TOKENS = 64
"""Tokens of each row's answer that are compared."""
WRITTEN_ROWS, WRITTEN_TOKENS = 2, 96
"""Number of answers that a model generates, and the maximum tokens of one, to see that it ends by itself: generating
is the slow part of a proof."""
BUILT_IN_ROWS = [
    {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
    for question, answer in (
        ("What is the capital of France?", "The capital of France is Paris."),
        ("Name the three primary colours.", "Red, yellow and blue."),
        ("How many days has a week?", "A week has seven days."),
    )
]


@dataclass(frozen=True, slots=True)
class Probe:
    """A row as token ids."""

    ids: list[int]
    answer_start: int
    """Index in ids at which the answer begins; at least 1."""
    look: Look | None = None
    """At its images."""

    @property
    def prompt(self) -> list[int]:
        return self.ids[: self.answer_start]


@dataclass(frozen=True, slots=True)
class Answers:
    """A model's answers to some probes."""

    logits: list[torch.Tensor]
    """The logits before each token of the row's answer: fp32, [tokens, vocabulary], on the CPU."""
    written: list[list[int]]
    """Its greedily generated answers to the first WRITTEN_ROWS, without the prompts."""
    stopped: list[bool]
    """True for each of these that ended by itself."""


def probes(recipe: Recipe, tokenizer: Any, seeing: Path | None = None) -> tuple[list[Probe], str]:
    """Held-out rows as probes, and a text on their source; built-in questions where the data can't be used.

    seeing: the folder of a model to which images can be shown; without it rows that hold them are no probes.
    """
    options = PromptOptions(recipe.data.thinking, recipe.data.template_options)
    try:
        rows = list(dataset.rows(recipe.rows))
    except UserError:
        return _rendered(BUILT_IN_ROWS, tokenizer, options), "built-in questions, since the data can't be read"
    training, held_out = split(rows, eval_fraction(recipe, len(rows)), recipe.train.seed)
    images = of_rows(rows, recipe, seeing) if seeing else None
    if rendered := _rendered([rows[index] for index in (held_out or training)[:ROWS]], tokenizer, options, images):
        return rendered, "held-out rows" if held_out else "rows of the training, since none were held out"
    why = f"the rows are longer than {ROW_TOKENS} tokens"
    if images is None and any("images" in row for row in rows):
        why = "the rows hold images, which are not shown here"
    return _rendered(BUILT_IN_ROWS, tokenizer, options), f"built-in questions, since {why}"


def _rendered(
    rows: Sequence[dict[str, Any]], tokenizer: Any, options: PromptOptions, images: ImageProcessor | None = None
) -> list[Probe]:
    found = []
    asked = [to_first_answer(row) if "images" in row else row for row in rows]  # later images are none of its prompt
    for rendered in render(filter(None, asked), tokenizer, "answers", options, images=images):
        row = None if isinstance(rendered, RefusedRow) else rendered[0]
        most = IMAGE_ROW_TOKENS if row and row.images else ROW_TOKENS
        if row and row.first and row.needed is not None and row.needed < most:
            found.append(Probe(row.ids[:most], row.first, look_at(images, [row.images])))
    return found


@torch.inference_mode()
def logits_of(model: Any, probes: list[Probe]) -> list[torch.Tensor]:
    """The logits before each of the first COMPARED_TOKENS of each row's answer."""
    logits = []
    for probe in probes:
        ids = torch.tensor([probe.ids], device=model.device)
        out = model(input_ids=ids, use_cache=False, **_seen(probe, ids)).logits[0]
        start = probe.answer_start - 1
        logits.append(out[start : min(start + COMPARED_TOKENS, len(probe.ids) - 1)].float().cpu())
    return logits


@torch.inference_mode()
def answers_of(model: Any, probes: list[Probe], stop_ids: list[int] | None = None) -> Answers:
    """Logits and greedy answers. stop_ids: tokens that end an answer; None uses the model's own settings."""
    stop_setting = {} if stop_ids is None else {"eos_token_id": stop_ids}
    end_ids = stop_ids or _listed(model.generation_config.eos_token_id)
    written, stopped = [], []
    for probe in probes[:WRITTEN_ROWS]:
        prompt = torch.tensor([probe.prompt], device=model.device)
        out = model.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=WRITTEN_TOKENS,
            do_sample=False,
            pad_token_id=end_ids[0] if end_ids else 0,
            **stop_setting,
            **_seen(probe, prompt),
        )[0, prompt.shape[1] :].tolist()
        written.append(out)
        stopped.append(bool(out) and out[-1] in end_ids)
    return Answers(logits_of(model, probes), written, stopped)


def _seen(probe: Probe, ids: torch.Tensor) -> Mapping[str, Any]:
    """What the model gets beside the token ids."""
    return probe.look([0], ids) if probe.look else {}


def similarity(expected: Answers, got: Answers) -> Similarity:
    """Compare two models' answers to the same probes."""
    kl, top1, logit_max = [], [], 0.0
    for one, other in zip(expected.logits, got.logits, strict=True):
        kl.append(divergence(one, other))
        top1.append(one.argmax(-1) == other.argmax(-1))
        logit_max = max(logit_max, float((_centred(one) - _centred(other)).abs().max()))
    same_tokens = sum(_common(one, other) for one, other in zip(expected.written, got.written, strict=True))
    all_tokens = sum(max(len(one), len(other)) for one, other in zip(expected.written, got.written, strict=True))
    return Similarity(
        float(torch.cat(kl).mean()),
        logit_max,
        float(torch.cat(top1).float().mean()),
        same_tokens / all_tokens if all_tokens else 1.0,
    )


def compare(proof: Proof, expected: Answers, got: Answers, drift_nats: float, limits: ProofLimits) -> None:
    """Add the checks of an artefact's answers to a proof; parameters as core.deliver.proof.add_answer_checks."""
    comparable = [index for index in range(len(expected.stopped)) if not _may_end_later(expected, got, index)]
    ended, got_ended = ([answers.stopped[index] for index in comparable] for answers in (expected, got))
    add_answer_checks(proof, similarity(expected, got), ended, got_ended, drift_nats, limits)


def _may_end_later(expected: Answers, got: Answers, index: int) -> bool:
    """True if an answer without an end differs from an expected one that took more than half of the allowed tokens:
    then it may still end later, and the missing end means nothing."""
    one, other = expected.written[index], got.written[index]
    late = expected.stopped[index] and 2 * len(one) > WRITTEN_TOKENS
    return late and not got.stopped[index] and _common(one, other) < len(one) - 1


def drift(tuned: Answers, base: list[torch.Tensor]) -> float:
    """The training's drift: KL divergence of the next token's distribution from the base's, in nats a token."""
    pairs = zip(tuned.logits, base, strict=True)
    return float(torch.cat([divergence(one, other) for one, other in pairs]).mean())


def divergence(expected: torch.Tensor, got: torch.Tensor) -> torch.Tensor:
    """KL(expected || got) of each position, in nats; both [tokens, vocabulary]."""
    p, q = expected.log_softmax(-1), got.log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1)


def free() -> None:
    """Free the memory of a deleted model."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _centred(logits: torch.Tensor) -> torch.Tensor:
    return logits - logits.mean(-1, keepdim=True)


def _common(one: list[int], other: list[int]) -> int:
    """Number of equal tokens from the start."""
    return next(
        (index for index, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


def _listed(ids: int | list[int] | None) -> list[int]:
    return [] if ids is None else [ids] if isinstance(ids, int) else list(ids)
