"""The proof of a merged model: as files, as text, and by how it answers beside the adapter on its base."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from fitune.core.deliver import Proof, ProofLimits
from fitune.core.errors import UserError
from fitune.core.runs import Run
from fitune.core.units import GIB
from fitune.core.worker.device import MARGIN_BYTES, Place, places
from fitune.core.worker.merging import compare_answers
from fitune.core.worker.merging.lora_delta import Change, Plan, changed, pieces
from fitune.core.worker.merging.overlap import in_order
from fitune.core.worker.merging.tensors import DTYPES, Slot, read, read_bytes, slots_in
from fitune.core.worker.models import Source
from fitune.core.worker.stops import eos_ids, stop_ids

LIMITS = ProofLimits(kl=0.01, drift_share=0.05, top1=0.95)
"""SmolLM2-135M at fp32, tuned for 16 steps: 0.0043 nats, 1.4 % of the 0.30 that training had moved it, 98.0 % of the
likeliest tokens the same. That is the rounding of its merged weights to bf16, and larger models feel it less."""
ROUNDED_OTHERWISE = ProofLimits(kl=1.5, drift_share=0, top1=0.05)
"""Where these very answers feel a right merge's rounding more, it sets the limits: so many times its nats, and so much
less of the likeliest tokens, since another type or device than the merge's own rounds some weights the other way."""


def prove(run: Run, plan: Plan, source: Source, folder: Path) -> Proof:
    """Compare a merged folder with the adapter on its base. The models are loaded one after the other."""
    from transformers import AutoTokenizer

    recipe = run.recipe()
    remote_code = recipe.model.trust_remote_code
    tokenizer = AutoTokenizer.from_pretrained(run.adapter, trust_remote_code=remote_code)
    asked, told = compare_answers.probes(recipe, tokenizer)
    ends = stop_ids(tokenizer, source.path)
    proof = Proof(numbers={"prompts": len(asked), "prompts_are": told})
    check_tensors(proof, plan, folder, places(run)[0].device)
    check_text(proof, tokenizer, folder, asked, remote_code)
    check_ends(proof, tokenizer, folder, ends)
    if not proof.failed:
        check_answers(proof, run, plan, source, folder, asked, ends)
    return proof


def check_tensors(proof: Proof, plan: Plan, folder: Path, device: str) -> None:
    """Every tensor of the base is there; what the adapter changes is as it makes it, the rest the base's own."""
    try:
        merged = slots_in(folder)
    except UserError as error:
        return proof.add("files", "all of them, whole", str(error), False)
    wrong = [name for name, slot in plan.layout.items() if not _alike(slot, merged.get(name))]
    wrong += [name for name in merged if name not in plan.layout]
    proof.add("tensors", f"{len(plan.layout)}, of the base's shapes", _count(len(merged), wrong, "wrong"), not wrong)
    if wrong:
        return None
    unlike: dict[str, None] = {}
    moved: dict[str, None] = {}
    for look in in_order(_looks(plan, merged, device)):
        unlike |= {} if look.right else {look.name: None}
        moved |= {look.name: None} if look.moved else {}
    lost = [name for name in unlike if name in plan.changes]
    said = _count(len(plan.changes) - len(lost), lost, "not") + f"; {len(moved)} differ from the base"
    proof.add("changed by the adapter", f"{len(plan.changes)} tensors", said, bool(moved) and not lost)
    others = [name for name in plan.layout if name not in plan.changes]
    odd = [name for name in unlike if name not in plan.changes]
    return proof.add("left as they were", f"{len(others)} tensors", _count(len(others) - len(odd), odd, "not"), not odd)


def check_text(
    proof: Proof, tokenizer: Any, folder: Path, asked: list[compare_answers.Probe], remote_code: bool
) -> None:
    """The folder's tokenizer reads and writes as the adapter's does, with the chat template of the training."""
    from transformers import AutoTokenizer

    expected = f"as in training, on {len(asked)} rows"
    try:
        found = AutoTokenizer.from_pretrained(folder, trust_remote_code=remote_code)
    except (OSError, ValueError) as error:
        return proof.add("tokenizer", expected, f"can't be loaded: {error}", False)
    texts = [tokenizer.decode(probe.ids) for probe in asked]
    read_alike = [found(text)["input_ids"] for text in texts] == [tokenizer(text)["input_ids"] for text in texts]
    written_alike = [found.decode(probe.ids) for probe in asked] == texts
    alike = read_alike and written_alike and found.eos_token_id == tokenizer.eos_token_id
    proof.add("tokenizer", expected, "the same" if alike else "another", alike)
    same = found.chat_template == tokenizer.chat_template
    return proof.add("chat template", "the one of the training", "the same" if same else "another", same)


def check_ends(proof: Proof, tokenizer: Any, folder: Path, ends: list[int]) -> None:
    """The folder's settings name every token that ends an answer, and no other."""
    named = eos_ids(folder)
    wrong = [f"without {tokenizer.decode([token])}" for token in ends if token not in named]
    wrong += [f"with {tokenizer.decode([token])}" for token in sorted(named.difference(ends))]
    known = ", ".join(tokenizer.decode([token]) for token in ends)
    proof.add("marks that end an answer", known, ", ".join(wrong) or "the same", not wrong)


def check_answers(
    proof: Proof,
    run: Run,
    plan: Plan,
    source: Source,
    folder: Path,
    asked: list[compare_answers.Probe],
    ends: list[int],
) -> None:
    """The merged model, loaded by transformers alone, answers as the base with its adapter does."""
    from peft import PeftModel

    remote_code = run.recipe().model.trust_remote_code
    weights = sum(slot.weights for slot in plan.base.values())
    found = roomy(places(run), weights)
    if found is None:
        wanted = f"{2 * weights / GIB:.0f} GiB of memory are not free on card or host"
        return proof.add("its answers", "as those of the adapter", f"not checked: {wanted}", None)
    place, dtype = found
    proof.numbers |= {"device": place.name, "dtype": str(dtype).removeprefix("torch.")}
    base, info = _load(source.path, place, dtype, remote_code)
    before = compare_answers.logits_of(base, asked)
    tuned = PeftModel.from_pretrained(base, run.adapter)
    expected = compare_answers.answers_of(tuned, asked, ends)
    drift = compare_answers.drift(expected, before)
    limits = limits_of(tuned, plan, asked, expected)
    del base, tuned, before
    compare_answers.free()
    merged, merged_info = _load(folder, place, dtype, remote_code)
    odd = sorted(set(merged_info["missing_keys"]) ^ set(info["missing_keys"]))
    proof.add("loads in transformers", "every weight found", _count(0, odd, "not") if odd else "yes", not odd)
    return compare_answers.compare(proof, expected, compare_answers.answers_of(merged, asked), drift, limits)


@torch.no_grad()
def limits_of(
    tuned: Any, plan: Plan, asked: list[compare_answers.Probe], expected: compare_answers.Answers
) -> ProofLimits:
    """LIMITS, or what rounding alone makes of these answers if that is more: of a small model on short answers, much.

    tuned: the base with its adapter, which PEFT merges here into the base.
    """
    dtype = DTYPES[plan.layout[next(iter(plan.changes))].dtype]
    model = tuned.merge_and_unload()
    for weight in model.parameters():
        weight.copy_(weight.to(dtype))
    rounded = compare_answers.similarity(expected, replace(expected, logits=compare_answers.logits_of(model, asked)))
    return replace(
        LIMITS,
        kl=max(LIMITS.kl, ROUNDED_OTHERWISE.kl * rounded.kl_mean),
        top1=min(LIMITS.top1, rounded.top1 - ROUNDED_OTHERWISE.top1),
    )


def answers_of_merged(run: Run, asked: list[compare_answers.Probe]) -> compare_answers.Answers | None:
    """The merged model's own answers; None if there is no room for it."""
    found = roomy(places(run), sum(slot.weights for slot in slots_in(run.merged).values()))
    if found is None:
        return None
    model, _ = _load(run.merged, *found, run.recipe().model.trust_remote_code)
    answers: compare_answers.Answers = compare_answers.answers_of(model, asked)
    del model
    compare_answers.free()
    return answers


def roomy(places: list[Place], weights: int) -> tuple[Place, torch.dtype] | None:
    """The first place with room for so many weights, at fp32 if possible: then only the merge's own rounding shows."""
    for place in places:
        for dtype, item_bytes in ((torch.float32, 4), (torch.bfloat16, 2)):
            if place.free_bytes > item_bytes * weights + MARGIN_BYTES:
                return place, dtype
    return None


def _load(folder: Path, place: Place, dtype: torch.dtype, remote_code: bool) -> tuple[Any, dict[str, Any]]:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(  # type: ignore[no-any-return]
        folder,
        dtype=dtype,
        device_map={"": place.device},
        trust_remote_code=remote_code,
        use_safetensors=True,
        output_loading_info=True,
    )


def _alike(slot: Slot, other: Slot | None) -> bool:
    return other is not None and (slot.dtype, slot.shape) == (other.dtype, other.shape)


class Look(NamedTuple):
    """Some rows of a merged tensor, looked at."""

    name: str
    right: bool
    """As the adapter makes them, or the base's own."""
    moved: bool
    """Other than the base's, as those that the adapter changes should be."""


def _looks(plan: Plan, merged: dict[str, Slot], device: str) -> Iterator[Callable[[], Look]]:
    for name, slot in plan.base.items():
        change = plan.changes.get(name)
        for (part, its), (found, _) in zip(pieces(slot, change), pieces(merged[name], change), strict=True):
            yield partial(_look, name, part, its, found, plan.config, device)


def _look(name: str, slot: Slot, change: Change | None, merged: Slot, config: Any, device: str) -> Look:
    if change:
        found = read(merged)
        right = _close(found, changed(slot, change, config, found.dtype, device))
        return Look(name, right, not torch.equal(found, read(slot).to(found.dtype)))
    if slot.dtype != merged.dtype:
        return Look(name, torch.equal(read(slot).to(DTYPES[merged.dtype]), read(merged)), False)
    return Look(name, torch.equal(read_bytes(slot), read_bytes(merged)), False)


def _close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    """Whether two 16-bit tensors are the same up to the last bit, which may round otherwise on another device."""
    if torch.equal(found, expected):
        return True
    wide = expected.float()
    return bool(torch.allclose(found.float(), wide, rtol=2**-7, atol=1e-6 * float(wide.abs().max())))


def _count(right: int, wrong: list[str], how: str) -> str:
    return f"{right}, but {len(wrong)} {how}, such as {wrong[0]}" if wrong else str(right)
