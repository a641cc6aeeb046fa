"""How a model answers rows of the run's own data, in numbers that two forms of one model can be compared by."""

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from fitune.core.data import dataset, eval_fraction
from fitune.core.data.split import split
from fitune.core.deliver import Proof, ProofLimits, Similarity, add_answer_checks
from fitune.core.errors import UserError
from fitune.core.recipe import Recipe
from fitune.core.worker.rows.render import RefusedRow, render

ROWS = 4
ROW_TOKENS = 512
"""Longer rows are cut: the proof of an 8B model on a CPU should take minutes, not hours."""
COMPARED_TOKENS = 64
"""Of each row's answer."""
WRITTEN_ROWS, WRITTEN_TOKENS = 2, 96
"""How many answers a model writes out, and the most tokens of one, to show that it ends by itself: token by token is
the slow part of a proof."""
BUILT_IN = [
    {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": told}]}
    for asked, told in (
        ("What is the capital of France?", "The capital of France is Paris."),
        ("Name the three primary colours.", "Red, yellow and blue."),
        ("How many days has a week?", "A week has seven days."),
    )
]


@dataclass(frozen=True, slots=True)
class Probe:
    """A row as the model sees it."""

    ids: list[int]
    answer_start: int
    """Where what the model is to write begins, as a place in ids; at least 1."""

    @property
    def prompt(self) -> list[int]:
        return self.ids[: self.answer_start]


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model makes of some probes."""

    logits: list[torch.Tensor]
    """Before each token of the row's answer: fp32, [tokens, vocabulary], on the CPU."""
    written: list[list[int]]
    """Its own greedy answers to the first WRITTEN_ROWS, without the prompts."""
    stopped: list[bool]
    """Whether that ended by itself."""


def probes(recipe: Recipe, tokenizer: Any) -> tuple[list[Probe], str]:
    """Rows that were held out, as tokens, and where they are from; a few questions where the data can't be used."""
    try:
        rows = list(dataset.rows(recipe.data))
    except UserError:
        return _rendered(BUILT_IN, tokenizer), "built-in questions, since the data can't be read"
    trained, held_out = split(rows, eval_fraction(recipe, len(rows)), recipe.train.seed)
    if found := _rendered([rows[place] for place in (held_out or trained)[:ROWS]], tokenizer):
        return found, "held-out rows" if held_out else "rows of the training, since none were held out"
    return _rendered(BUILT_IN, tokenizer), f"built-in questions, since the rows are longer than {ROW_TOKENS} tokens"


def _rendered(rows: Sequence[dict[str, Any]], tokenizer: Any) -> list[Probe]:
    made = [each[0] for each in render(rows, tokenizer, "answers") if not isinstance(each, RefusedRow)]
    return [Probe(each.ids[:ROW_TOKENS], each.first) for each in made if each.first and each.first < ROW_TOKENS]


@torch.inference_mode()
def logits_of(model: Any, asked: list[Probe]) -> list[torch.Tensor]:
    """The logits before each of the first COMPARED_TOKENS of each row's answer."""
    found = []
    for probe in asked:
        out = model(input_ids=torch.tensor([probe.ids], device=model.device), use_cache=False).logits[0]
        start = probe.answer_start - 1
        found.append(out[start : min(start + COMPARED_TOKENS, len(probe.ids) - 1)].float().cpu())
    return found


@torch.inference_mode()
def answers_of(model: Any, asked: list[Probe], stop_ids: list[int] | None = None) -> Answers:
    """Logits and greedy answers. stop_ids: what ends an answer; None leaves that to the model's own settings."""
    ends = {} if stop_ids is None else {"eos_token_id": stop_ids}
    known = stop_ids or _listed(model.generation_config.eos_token_id)
    written, stopped = [], []
    for probe in asked[:WRITTEN_ROWS]:
        prompt = torch.tensor([probe.prompt], device=model.device)
        out = model.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=WRITTEN_TOKENS,
            do_sample=False,
            pad_token_id=known[0] if known else 0,
            **ends,
        )[0, prompt.shape[1] :].tolist()
        written.append(out)
        stopped.append(bool(out) and out[-1] in known)
    return Answers(logits_of(model, asked), written, stopped)


def similarity(expected: Answers, got: Answers) -> Similarity:
    """Compare two models' answers to the same probes."""
    kl, top1, largest = [], [], 0.0
    for one, other in zip(expected.logits, got.logits, strict=True):
        kl.append(divergence(one, other))
        top1.append(one.argmax(-1) == other.argmax(-1))
        largest = max(largest, float((_centred(one) - _centred(other)).abs().max()))
    same = sum(_common(one, other) for one, other in zip(expected.written, got.written, strict=True))
    total = sum(max(len(one), len(other)) for one, other in zip(expected.written, got.written, strict=True))
    return Similarity(
        float(torch.cat(kl).mean()), largest, float(torch.cat(top1).float().mean()), same / total if total else 1.0
    )


def compare(proof: Proof, expected: Answers, got: Answers, drift_nats: float, limits: ProofLimits) -> None:
    """Add to a proof what an artefact's answers say; parameters as of core.deliver.proof.judge."""
    told = [place for place in range(len(expected.stopped)) if not _may_end_later(expected, got, place)]
    ended, got_ended = ([each.stopped[place] for place in told] for each in (expected, got))
    add_answer_checks(proof, similarity(expected, got), ended, got_ended, drift_nats, limits)


def _may_end_later(expected: Answers, got: Answers, place: int) -> bool:
    """Whether an answer took another way than one that took more than half of the tokens there are, and so tells
    nothing by having no end within them."""
    one, other = expected.written[place], got.written[place]
    late = expected.stopped[place] and 2 * len(one) > WRITTEN_TOKENS
    return late and not got.stopped[place] and _common(one, other) < len(one) - 1


def drift(tuned: Answers, base: list[torch.Tensor]) -> float:
    """How far training has moved the model: KL of the next token's distribution to the base's, nats a token."""
    pairs = zip(tuned.logits, base, strict=True)
    return float(torch.cat([divergence(one, other) for one, other in pairs]).mean())


def divergence(expected: torch.Tensor, got: torch.Tensor) -> torch.Tensor:
    """KL(expected || got) of each position, in nats; both [tokens, vocabulary]."""
    p, q = expected.log_softmax(-1), got.log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1)


def free() -> None:
    """Give the memory of a model that was just let go back."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _centred(logits: torch.Tensor) -> torch.Tensor:
    return logits - logits.mean(-1, keepdim=True)


def _common(one: list[int], other: list[int]) -> int:
    """How many tokens from the start are the same."""
    return next(
        (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


def _listed(ids: int | list[int] | None) -> list[int]:
    return [] if ids is None else [ids] if isinstance(ids, int) else list(ids)
