"""Bytes a token that any layer keeps for its backward pass, and that this pass needs: sums over the parts in its graph.

autograd keeps the input of each norm in fp32, that of each adapted matrix once, queries, keys and values, the output of
the attention, and what the MLP multiplies with each other. What mixes tokens in other ways keeps more.
"""

from dataclasses import dataclass, replace

from fitune.core.memory.plan import FAST_UNSLOTH, MemoryPlan
from fitune.core.memory.shapes.widths import Widths


@dataclass(frozen=True, slots=True)
class PartBytes:
    """Bytes for each element a token of a layer's parts, in the terms of `Widths`."""

    mlp: float
    hidden: float
    norms: float
    into: float
    out: float
    routed: float
    """As `mlp`. A frozen expert's input is not kept."""
    sent: float
    joint: float = 0
    scan: float = 0

    def of(self, layer: Widths, hidden: int) -> float:
        """Bytes a token of a layer."""
        into = self.into + (CONV_BYTES if layer.mixer == "conv" else 0)
        out = self.out + (LINEAR_BYTES if layer.mixer == "linear" else 0)
        experts = self.routed * layer.routed + self.sent * layer.sent
        mixer = into * layer.into + out * layer.out + self.joint * layer.joint + self.scan * layer.scan
        return self.mlp * layer.mlp + self.hidden * hidden + self.norms * layer.norms + mixer + experts


CONV_BYTES = 1.6
"""Bytes more for each element before a short convolution, which keeps its inputs and output (LFM2). Fitted, as all
below, to rows of an H200 (bench/results/families_h200_2026-11-29.jsonl)."""
LINEAR_BYTES = 89
"""Bytes more for each element that linear attention gives: transformers' own chunks are in fp32, and queries and keys
are repeated for as many heads as the values have (Qwen3.5, without flash-linear-attention). Fitted to four layers of
the 9B; the whole 0.8B, 2B, 4B, 9B and 27B allocated within 0.05 GiB (presets_h200_2026-12-01.jsonl)."""
SCAN_BYTES = 10
"""The fp32 product of inputs and states of a chunk with its gradient, in transformers' own Mamba, and a quarter more
that is lost between these: 21 MB for each of 1,024 to 4,096 tokens of Granite 4 H."""
TRL_KEPT = PartBytes(mlp=8, hidden=4.1, norms=4, into=2, out=2.1, routed=6, sent=2)
TRL_BACKWARD = PartBytes(
    mlp=12, hidden=8.2, norms=4, into=2, out=2.1, routed=15.5, sent=4.8, joint=1.25, scan=SCAN_BYTES
)
"""TRL 1.15 + PEFT on a 4- or 8-bit model: counted with saved-tensor hooks on a CPU; on a card a backward pass holds 5 H
less, fitted to Llama and Qwen2.5 rows of 0.5B to 8B. Experts are fitted to the rows of Qwen3-30B-A3B and
LFM2 8B-A1B, joint matrices to those of Phi-4 mini, Granite 4 micro and GLM-4: what torch allocates is met within 10 MiB
(families_h200_2026-11-30b.jsonl)."""
BF16_KEPT = PartBytes(mlp=8, hidden=10.1, norms=4, into=2, out=4.1, routed=6, sent=2)
BF16_BACKWARD = PartBytes(mlp=14, hidden=22.3, norms=4, into=2, out=4.1, routed=12, sent=7, scan=SCAN_BYTES)
"""16-bit LoRA: a fp32 adapter takes copies of its inputs. Counted and corrected as above."""
CPU_KEPT = PartBytes(mlp=14, hidden=10.1, norms=4, into=2, out=2.1, routed=10, sent=4)
CPU_BACKWARD = PartBytes(mlp=24, hidden=12.2, norms=4, into=2, out=2.1, routed=20, sent=14, scan=SCAN_BYTES)
CPU_BF16_KEPT = PartBytes(mlp=11.2, hidden=14.1, norms=5.6, into=2.8, out=5.7, routed=8.4, sent=2.8)
CPU_BF16_BACKWARD = PartBytes(mlp=28, hidden=54.4, norms=8, into=4, out=8.2, routed=24, sent=14, scan=SCAN_BYTES)
"""On a CPU: counted there, all in fp32 where the base has 16 bits. Of what is kept then seven tenths are held, as some
tensors share their storage: fitted to the six rows without checkpoints of bench/results/cpu_2026-11-29.jsonl."""
COMPILED_KEPT = replace(TRL_KEPT, mlp=6)
"""A compiled layer keeps gate, up and their product, and computes the activation again: with it, six rows of Phi-4 mini
and Granite 4 micro are met within 3 % (families_h200_2026-11-30b.jsonl)."""
COMPILED_BACKWARD = PartBytes(
    mlp=10.1, hidden=4.4, norms=2.6, into=2, out=2.1, routed=12.5, sent=8.7, joint=1.25, scan=SCAN_BYTES
)
"""Layers of transformers that Unsloth compiles, fitted to one row of 4,096 tokens of Ministral 3, SmolLM3, Qwen2.5-VL,
Qwen3-VL and GLM-4 (families_h200_2026-11-30b.jsonl)."""
MORE_END_TO_END = 4
"""Bytes more for each element before and after the mixing of tokens where several rows lie end to end: the kernel for
many lengths takes copies. Met by 2 x 1,024 and packed 4 x 2,048 tokens of the same models."""
GPT_OSS = PartBytes(mlp=7.7, hidden=10, norms=7, into=2, out=2.1, routed=12.5, sent=8.7, joint=0.7, scan=SCAN_BYTES)
GPT_OSS_4BIT = replace(GPT_OSS, sent=13.4)
"""gpt-oss with experts in 4 bits: their outputs are in fp32 (unsloth_zoo gpt_oss_grouped_qlora.py). Fitted to the rows
of 1,024, 2,048 and 4,096 tokens of four layers and of the whole 20B, which it meets within 0.01 GiB
(bench/results/families_h200_2026-11-30b.jsonl, whole_h200_2026-12-01.jsonl)."""
GRANITE = replace(COMPILED_BACKWARD, joint=3.5)
"""Granite 4 micro: fitted to three rows of 4,096 and 8,192 tokens (families_h200_2026-11-30b.jsonl); the cause is not
known, as Phi-4 mini and GLM-4 have such an MLP, too, and need less."""
COMPILED_MEASURED = frozenset({
    "cohere2", "gemma3", "glm4", "gpt_oss", "granitemoehybrid", "lfm2", "ministral3", "mistral3", "olmo3", "phi3",
    "qwen2_5_vl", "qwen3_vl", "smollm3",
})  # fmt: skip
HAND_WRITTEN_MEASURED = frozenset({"llama", "mistral", "qwen2", "qwen3"})
TRL_MEASURED = HAND_WRITTEN_MEASURED | {
    "cohere2", "gemma2", "gemma3", "gemma4", "glm4", "granitemoehybrid", "lfm2", "ministral3", "mistral3",
    "muse_glimmer", "olmo3", "phi3", "qwen2_5_vl", "qwen3_5", "qwen3_5_moe", "qwen3_moe", "qwen3_vl", "smollm3",
}  # fmt: skip
"""Model types with measured rows in bench/results."""
HAND_WRITTEN_DOUBT, MEASURED_DOUBT, PLAIN_DOUBT, OTHER_DOUBT = 0.02, 0.05, 0.12, 0.35
"""Shares by which a layer's bytes may be off: of Unsloth's own layers, of another measured model type, of one that was
not measured with attention and one MLP, and of one with experts or another way to mix tokens."""


def is_measured(plan: MemoryPlan) -> bool:
    """True if activations of this architecture were measured with this backend."""
    unsloth = HAND_WRITTEN_MEASURED if plan.hand_written else COMPILED_MEASURED
    return plan.shape.model_type.removesuffix("_text") in (unsloth if plan.unsloth else TRL_MEASURED)


def doubt(plan: MemoryPlan) -> float:
    """The share by which the bytes of a layer may be off."""
    if is_measured(plan) and plan.card and not plan.tiles:
        return HAND_WRITTEN_DOUBT if plan.hand_written else MEASURED_DOUBT
    plain = all(layer.mixer in ("full", "window") and not layer.routed for layer in plan.shape.kinds)
    return PLAIN_DOUBT if plain else OTHER_DOUBT


def part_bytes(plan: MemoryPlan) -> tuple[PartBytes, PartBytes]:
    """What a layer keeps for its backward pass, and what that pass needs in a layer that is recomputed."""
    if plan.unsloth and plan.shape.model_type not in FAST_UNSLOTH:
        return COMPILED_KEPT, _compiled_backward(plan)
    if plan.unsloth or plan.quant == "bf16":  # with DoRA Unsloth leaves its own layers to transformers and peft
        return (BF16_KEPT, BF16_BACKWARD) if plan.card else (CPU_BF16_KEPT, CPU_BF16_BACKWARD)
    return (TRL_KEPT, TRL_BACKWARD) if plan.card else (CPU_KEPT, CPU_BACKWARD)


def _compiled_backward(plan: MemoryPlan) -> PartBytes:
    """The same of a layer that Unsloth compiles."""
    if plan.shape.model_type == "gpt_oss":
        return GPT_OSS_4BIT if plan.quant == "nf4" else GPT_OSS
    own = GRANITE if plan.shape.model_type == "granitemoehybrid" else COMPILED_BACKWARD
    if not plan.shape.keeps_rows_apart:  # they are padded
        return own
    end_to_end = plan.recipe.train.micro_batch > 1 or plan.recipe.data.packing is True
    return replace(own, into=own.into + MORE_END_TO_END, out=own.out + MORE_END_TO_END) if end_to_end else own
