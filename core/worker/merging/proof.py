"""The proof of a merged model: its tensors, its tokenizer, and its answers compared with the adapter on its base."""

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
from fitune.core.worker.architecture.model_class import model_class
from fitune.core.worker.chats.stop_tokens import eos_ids, stop_ids
from fitune.core.worker.chats.template import PromptOptions
from fitune.core.worker.device import MARGIN_BYTES, Device, devices
from fitune.core.worker.merging import compare_answers
from fitune.core.worker.merging.lora_delta import MergePlan, TensorChange, blocks_of, with_change
from fitune.core.worker.merging.parallel import run_in_order
from fitune.core.worker.merging.tensors import DTYPES, TensorLocation, locate_tensors, read, read_bytes
from fitune.core.worker.models import ModelFiles

LIMITS = ProofLimits(kl=0.01, drift_share=0.05, top1=0.95)
"""SmolLM2-135M at fp32, tuned for 16 steps: 0.0043 nats, 1.4 % of the training's drift of 0.30, 98.0 % of the likeliest
tokens the same. That is the rounding of its merged weights to bf16, which affects larger models less."""
ROUNDING_FACTORS = ProofLimits(kl=1.5, drift_share=0, top1=0.05)
"""Wider limits where the rounding of a correct merge changes the answers more: kl times its nats, and its share of
likeliest tokens less top1, since another dtype or device than the merge's rounds some weights the other way."""


def prove(run: Run, plan: MergePlan, source: ModelFiles, folder: Path) -> Proof:
    """Compare a merged folder with the adapter on its base. The models are loaded one after the other."""
    from transformers import AutoTokenizer

    recipe = run.recipe()
    remote_code = recipe.model.trust_remote_code
    tokenizer = AutoTokenizer.from_pretrained(run.adapter, trust_remote_code=remote_code)
    probes, probe_source = compare_answers.probes(recipe, tokenizer, source.path)
    end_ids = stop_ids(tokenizer, source.path, PromptOptions(recipe.data.thinking, recipe.data.template_options))
    proof = Proof(numbers={"prompts": len(probes), "prompts_are": probe_source})
    check_tensors(proof, plan, folder, devices(run)[0].device)
    check_text(proof, tokenizer, folder, probes, remote_code)
    check_ends(proof, tokenizer, folder, end_ids)
    if not proof.failed:
        check_answers(proof, run, plan, source, folder, probes, end_ids)
    return proof


def check_tensors(proof: Proof, plan: MergePlan, folder: Path, device: str) -> None:
    """Check that every tensor of the base is there, changed as the adapter changes it, or else unchanged."""
    try:
        merged = locate_tensors(folder)
    except UserError as error:
        return proof.add("files", "all of them, whole", str(error), False)
    wrong = [name for name, location in plan.layout.items() if not _alike(location, merged.get(name))]
    wrong += [name for name in merged if name not in plan.layout]
    proof.add("tensors", f"{len(plan.layout)}, of the base's shapes", _count(len(merged), wrong, "wrong"), not wrong)
    if wrong:
        return None
    different: dict[str, None] = {}
    differing: dict[str, None] = {}
    for comparison in run_in_order(_comparisons(plan, merged, device)):
        different |= {} if comparison.right else {comparison.name: None}
        differing |= {comparison.name: None} if comparison.moved else {}
    not_changed = [name for name in different if name in plan.changes]
    got = _count(len(plan.changes) - len(not_changed), not_changed, "not") + f"; {len(differing)} differ from the base"
    proof.add("changed by the adapter", f"{len(plan.changes)} tensors", got, bool(differing) and not not_changed)
    others = [name for name in plan.layout if name not in plan.changes]
    altered = [name for name in different if name not in plan.changes]
    return proof.add(
        "left as they were", f"{len(others)} tensors", _count(len(others) - len(altered), altered, "not"), not altered
    )


def check_text(
    proof: Proof, tokenizer: Any, folder: Path, probes: list[compare_answers.Probe], remote_code: bool
) -> None:
    """Check that the folder's tokenizer encodes and decodes as the adapter's, with the training's chat template."""
    from transformers import AutoTokenizer

    expected = f"as in training, on {len(probes)} rows"
    try:
        loaded = AutoTokenizer.from_pretrained(folder, trust_remote_code=remote_code)
    except (OSError, ValueError) as error:
        return proof.add("tokenizer", expected, f"can't be loaded: {error}", False)
    texts = [tokenizer.decode(probe.ids) for probe in probes]
    encodes_same = [loaded(text)["input_ids"] for text in texts] == [tokenizer(text)["input_ids"] for text in texts]
    decodes_same = [loaded.decode(probe.ids) for probe in probes] == texts
    same = encodes_same and decodes_same and loaded.eos_token_id == tokenizer.eos_token_id
    proof.add("tokenizer", expected, "the same" if same else "another", same)
    same_template = loaded.chat_template == tokenizer.chat_template
    return proof.add(
        "chat template", "the one of the training", "the same" if same_template else "another", same_template
    )


def check_ends(proof: Proof, tokenizer: Any, folder: Path, end_ids: list[int]) -> None:
    """Check that the folder's settings name every token that ends an answer, and no other."""
    configured = eos_ids(folder)
    wrong = [f"without {tokenizer.decode([token])}" for token in end_ids if token not in configured]
    wrong += [f"with {tokenizer.decode([token])}" for token in sorted(configured.difference(end_ids))]
    expected = ", ".join(tokenizer.decode([token]) for token in end_ids)
    proof.add("marks that end an answer", expected, ", ".join(wrong) or "the same", not wrong)


def check_answers(
    proof: Proof,
    run: Run,
    plan: MergePlan,
    source: ModelFiles,
    folder: Path,
    probes: list[compare_answers.Probe],
    end_ids: list[int],
) -> None:
    """Check that the merged model, loaded by transformers alone, answers as the base with its adapter does."""
    from peft import PeftModel

    remote_code = run.recipe().model.trust_remote_code
    weights = sum(location.weights for location in plan.base.values())
    choice = choose_device(devices(run), weights)
    if choice is None:
        missing = f"{2 * weights / GIB:.0f} GiB of memory are not free on card or host"
        return proof.add("its answers", "as those of the adapter", f"not checked: {missing}", None)
    device, dtype = choice
    proof.numbers |= {"device": device.name, "dtype": str(dtype).removeprefix("torch.")}
    base, info = _load(source.path, device, dtype, remote_code)
    before = compare_answers.logits_of(base, probes)
    tuned = PeftModel.from_pretrained(base, run.adapter)
    expected = compare_answers.answers_of(tuned, probes, end_ids)
    drift = compare_answers.drift(expected, before)
    limits = limits_of(tuned, plan, probes, expected)
    del base, tuned, before
    compare_answers.free()
    merged, merged_info = _load(folder, device, dtype, remote_code)
    different_keys = sorted(set(merged_info["missing_keys"]) ^ set(info["missing_keys"]))
    proof.add(
        "loads in transformers",
        "every weight found",
        _count(0, different_keys, "not") if different_keys else "yes",
        not different_keys,
    )
    return compare_answers.compare(proof, expected, compare_answers.answers_of(merged, probes), drift, limits)


@torch.no_grad()
def limits_of(
    tuned: Any, plan: MergePlan, probes: list[compare_answers.Probe], expected: compare_answers.Answers
) -> ProofLimits:
    """LIMITS, or the effect of rounding alone on these answers if that is more (a small model, short answers).

    tuned: the base with its adapter, which PEFT merges here into the base.
    """
    dtype = DTYPES[plan.layout[next(iter(plan.changes))].dtype]
    model = tuned.merge_and_unload()
    for weight in model.parameters():
        weight.copy_(weight.to(dtype))
    rounded = compare_answers.similarity(expected, replace(expected, logits=compare_answers.logits_of(model, probes)))
    return replace(
        LIMITS,
        kl=max(LIMITS.kl, ROUNDING_FACTORS.kl * rounded.kl_mean),
        top1=min(LIMITS.top1, rounded.top1 - ROUNDING_FACTORS.top1),
    )


def answers_of_merged(run: Run, probes: list[compare_answers.Probe]) -> compare_answers.Answers | None:
    """The merged model's answers; None if there is too little memory for it."""
    choice = choose_device(devices(run), sum(location.weights for location in locate_tensors(run.merged).values()))
    if choice is None:
        return None
    model, _ = _load(run.merged, *choice, run.recipe().model.trust_remote_code)
    answers: compare_answers.Answers = compare_answers.answers_of(model, probes)
    del model
    compare_answers.free()
    return answers


def choose_device(devices: list[Device], weights: int) -> tuple[Device, torch.dtype] | None:
    """The first device with memory for so many weights, at fp32 if possible: then only the merge's rounding shows."""
    for device in devices:
        for dtype, item_bytes in ((torch.float32, 4), (torch.bfloat16, 2)):
            if device.free_bytes > item_bytes * weights + MARGIN_BYTES:
                return device, dtype
    return None


def _load(folder: Path, device: Device, dtype: torch.dtype, remote_code: bool) -> tuple[Any, dict[str, Any]]:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, trust_remote_code=remote_code)
    return model_class(config).from_pretrained(  # type: ignore[no-any-return]
        folder,
        dtype=dtype,
        device_map={"": device.device},
        trust_remote_code=remote_code,
        use_safetensors=True,
        output_loading_info=True,
    )


def _alike(location: TensorLocation, other: TensorLocation | None) -> bool:
    return other is not None and (location.dtype, location.shape) == (other.dtype, other.shape)


class TensorComparison(NamedTuple):
    """The comparison of some rows of a merged tensor."""

    name: str
    right: bool
    """True if they are as the adapter makes them, or the base's own."""
    moved: bool
    """True if they differ from the base's, as changed rows should."""


def _comparisons(
    plan: MergePlan, merged: dict[str, TensorLocation], device: str
) -> Iterator[Callable[[], TensorComparison]]:
    for name, location in plan.base.items():
        change = plan.changes.get(name)
        for (block, block_change), (merged_block, _) in zip(
            blocks_of(location, change), blocks_of(merged[name], change), strict=True
        ):
            yield partial(_compare, name, block, block_change, merged_block, plan.config, device)


def _compare(
    name: str, location: TensorLocation, change: TensorChange | None, merged: TensorLocation, config: Any, device: str
) -> TensorComparison:
    if change:
        merged_rows = read(merged)
        right = _close(merged_rows, with_change(location, change, config, merged_rows.dtype, device))
        return TensorComparison(name, right, not torch.equal(merged_rows, read(location).to(merged_rows.dtype)))
    if location.dtype != merged.dtype:
        return TensorComparison(name, torch.equal(read(location).to(DTYPES[merged.dtype]), read(merged)), False)
    return TensorComparison(name, torch.equal(read_bytes(location), read_bytes(merged)), False)


def _close(actual: torch.Tensor, expected: torch.Tensor) -> bool:
    """True if two 16-bit tensors are the same up to the last bit, which may round differently on another device."""
    if torch.equal(actual, expected):
        return True
    reference = expected.float()
    return bool(torch.allclose(actual.float(), reference, rtol=2**-7, atol=1e-6 * float(reference.abs().max())))


def _count(right: int, wrong: list[str], how: str) -> str:
    return f"{right}, but {len(wrong)} {how}, such as {wrong[0]}" if wrong else str(right)
