"""Widths of a layer's tensors between its matrices, in elements a token: what its activations grow with."""

from dataclasses import dataclass
from functools import lru_cache

from fitune.core.memory.shapes import Layer, Linear, Mixer, Shape

MLP_PATHS = ("mlp", "feed_forward", "ffn", "fc1", "fc2", "expert", "moe")
"""Parts of a path that stand in the MLP; all else mixes tokens."""
LAST_NAMES = ("o_proj", "out_proj", "dense", "c_proj", "wo")
"""Names of the matrix with which the mixing of tokens ends."""
DOWN_NAMES = ("down_proj", "w2", "fc2", "c_proj", "dense_4h_to_h", "output_linear")
JOINT_NAMES = ("gate_up_proj", "qkv_proj", "input_linear", "query_key_value", "c_attn", "Wqkv", "W_pack")
"""Names of matrices that stand for several."""


@dataclass(frozen=True, slots=True)
class Widths:
    """Widths of one layer. For Llama: I, Q + 2 K and Q."""

    mlp: float
    """Half of all that the MLP's first matrices give: gate and up, each of the MLP's width."""
    into: int
    """What the matrices before the mixing of tokens give: queries, keys, values and kin."""
    out: int
    """What the matrix after it takes."""
    norms: int = 0
    """What passes through norms."""
    routed: float = 0
    """As `mlp`, of the routed experts that a token is sent to."""
    sent: int = 0
    """The hidden width, once for each of these experts: a token goes to them as so many copies."""
    joint: int = 0
    """What matrices give that stand for several: their parts are cut out, and the gradients of these are joined."""
    mixer: Mixer = "full"
    scan: int = 0
    """Elements that Mamba multiplies in one piece."""
    copied: int = 0
    """What keys and values take beyond themselves where they are copied for each head of the queries."""
    uncut: int = 0
    """Queries and keys, where one matrix gives these and the values: as long as the values are kept, so are they."""


@lru_cache(maxsize=4096)
def widths_of(layer: Layer, hidden: int) -> Widths:
    """The widths of a layer in a model of this hidden width."""
    mlp = [linear for linear in layer.linears if _is_mlp(layer, linear)]
    mixer = [linear for linear in layer.linears if not _is_mlp(layer, linear)]
    last = _last(mixer, hidden)
    dense = sum(linear.outputs for linear in mlp if linear.inputs == hidden and linear.name not in DOWN_NAMES)
    routed = sum(
        min(layer.used, experts.count) * experts.inputs * experts.outputs / hidden
        for experts in layer.routed
        if experts.name not in DOWN_NAMES
    )
    into = sum(linear.outputs for linear in mixer if linear is not last)
    sent = layer.used * hidden if layer.routed else 0
    joint = sum(linear.outputs for linear in layer.linears if linear.name in JOINT_NAMES)
    out = last.inputs if last else 0
    copied, uncut = _keys_and_values(layer, mixer, into, out)
    return Widths(dense / 2, into, out, layer.norms, routed / 2, sent, joint, layer.mixer, layer.scan, copied, uncut)


def _keys_and_values(layer: Layer, mixer: list[Linear], into: int, out: int) -> tuple[int, int]:
    """`copied` and `uncut` of a layer. One that has queries alone takes the keys and values of an earlier layer."""
    if layer.mixer not in ("full", "window"):
        return 0, 0
    if any(linear.name in JOINT_NAMES for linear in mixer):
        keys = (into - out) // 2
        return 2 * (out - keys), out + keys
    names = {linear.name: linear.outputs for linear in mixer}
    takes_others = "q_proj" in names and not any(name.startswith("k") for name in names)
    keys = 0 if takes_others else names.get("k_proj", out)
    return 2 * max(0, out - keys), 0


def mlp_params(shape: Shape) -> int:
    """Weights of the MLPs of all layers, without routed experts."""
    return sum(linear.weights for layer in shape.layers for linear in layer.linears if _is_mlp(layer, linear))


def _is_mlp(layer: Layer, linear: Linear) -> bool:
    return layer.mixer == "none" or any(part in linear.path for part in MLP_PATHS)


def _last(mixer: list[Linear], hidden: int) -> Linear | None:
    named = [linear for linear in mixer if linear.name in LAST_NAMES]
    return next(reversed(named or [linear for linear in mixer if linear.outputs == hidden]), None)
