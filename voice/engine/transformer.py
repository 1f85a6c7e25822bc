"""A decoder stack of Qwen3-TTS over a static cache: grouped queries, normalised heads, rotary positions.

Talker and code predictor share it; they differ in where keys are written and which are read, so that is passed in.
"""

from collections.abc import Callable
from copy import copy
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor

from voice.engine.linear import Linear, MakeLinear, Matrix

# (layer, query (rows, kv heads, group * n, head_dim), key and value (rows, kv heads, n, head_dim)) -> mixed values
Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]


class Rotary:
    """Cosines and sines of every position, worked out once as the library does: in float32, then rounded.

    The talker's three position grids hold the same numbers for speech, so interleaving them changes nothing.
    """

    def __init__(self, module: Any, positions: int, dtype: torch.dtype) -> None:
        if module.rope_type != "default":
            raise ValueError(f"rotary positions of type {module.rope_type!r} are not supported")
        rate = module.inv_freq.detach().float()
        angles = torch.outer(torch.arange(positions, device=rate.device, dtype=torch.float32), rate)
        cos, sin = (f(angles) * module.attention_scaling for f in (torch.cos, torch.sin))
        self.cos = torch.cat([cos, cos], -1).to(dtype)
        self.sin = torch.cat([-sin, sin], -1).to(dtype)  # signed: then rotating is rolling


class Stack:
    """The layers with their final norm. `attend` does what lies between the projections."""

    def __init__(self, model: Any, config: Any, make: MakeLinear, dtype: torch.dtype) -> None:
        self.layers = [Layer(layer, config, make, dtype) for layer in model.layers]
        self.norm, self.epsilon = model.norm.weight.detach().to(dtype), config.rms_norm_eps

    def __call__(self, x: Float[Tensor, "rows n width"], cos: Tensor, sin: Tensor, attend: Attend) -> Tensor:
        """Run all layers; cos and sin broadcast to (rows, n, heads, head_dim)."""
        for index, layer in enumerate(self.layers):
            x = layer(index, x, cos, sin, attend)
        return rms_norm(x, self.norm, self.epsilon)

    def multiplied_by(self, multiply: Callable[[Matrix], Linear]) -> Self:
        """The same weights, with products made in another way."""
        other = copy(self)
        other.layers = [layer.multiplied_by(multiply) for layer in self.layers]
        return other


class Layer:
    """One layer: attention, then the gated MLP."""

    def __init__(self, module: Any, config: Any, make: MakeLinear, dtype: torch.dtype) -> None:
        attention, mlp = module.self_attn, module.mlp
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.head_dim, self.epsilon = attention.head_dim, config.rms_norm_eps
        self.qkv = make([attention.q_proj, attention.k_proj, attention.v_proj])
        self.out = make([attention.o_proj])
        self.gate_up, self.down, self.act = make([mlp.gate_proj, mlp.up_proj]), make([mlp.down_proj]), mlp.act_fn
        before = (module.input_layernorm.weight, module.post_attention_layernorm.weight)
        self.before_attention, self.before_mlp = (weight.detach().to(dtype) for weight in before)
        norms = [attention.q_norm.weight] * self.heads + [attention.k_norm.weight] * self.kv_heads
        self.head_norms = torch.stack([weight.detach() for weight in norms]).to(dtype)  # (heads + kv heads, head_dim)

    def __call__(self, index: int, x: Tensor, cos: Tensor, sin: Tensor, attend: Attend) -> Tensor:
        """(rows, n, width) -> the same."""
        rows, n, _ = x.shape
        projected = self.qkv(rms_norm(x, self.before_attention, self.epsilon))
        heads = projected.view(rows, n, -1, self.head_dim)
        turned = heads[:, :, : -self.kv_heads]  # queries and keys share their norm's and rotation's kernels
        turned = rotate(rms_norm(turned, self.head_norms, self.epsilon), cos, sin)
        query = turned[:, :, : self.heads].view(rows, n, self.kv_heads, -1, self.head_dim)
        query = query.permute(0, 2, 3, 1, 4).flatten(2, 3)  # the heads of a group are queries of one key
        key, value = turned[:, :, self.heads :].transpose(1, 2), heads[:, :, -self.kv_heads :].transpose(1, 2)
        mixed = attend(index, query, key, value)
        mixed = mixed.unflatten(2, (-1, n)).permute(0, 3, 1, 2, 4).reshape(rows, n, -1)
        x = x + self.out(mixed)
        gate, up = self.gate_up(rms_norm(x, self.before_mlp, self.epsilon)).chunk(2, -1)
        return x + self.down(self.act(gate) * up)

    def multiplied_by(self, multiply: Callable[[Matrix], Linear]) -> Self:
        """As `Stack.multiplied_by`."""
        other = copy(self)
        for name in ("qkv", "out", "gate_up", "down"):
            setattr(other, name, multiply(getattr(self, name)))
        return other


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """As the library: in float32, rounded before it is scaled."""
    wide = x.float()
    return weight * (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + epsilon)).to(x.dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding; `sin` is signed."""
    return x * cos + x.roll(x.shape[-1] // 2, -1) * sin


class Cache:
    """Keys and values of a stack: (layers, slots, kv heads, positions, head_dim) each."""

    def __init__(self, stack: Stack, *, slots: int, positions: int, like: Tensor) -> None:
        layer = stack.layers[0]
        shape = (len(stack.layers), slots, layer.kv_heads, positions, layer.head_dim)
        self.keys, self.values = like.new_zeros(shape), like.new_zeros(shape)
