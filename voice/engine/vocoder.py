"""Codes to samples, a few frames at a time: the official decoder with its past kept instead of computed again.

Every convolution keeps the inputs that its next output still needs, every attention layer the keys and values of its
window. So whatever the chunks, their concatenation is `decoder(all codes)`, in constant time and memory per frame.
(`chunked_decode` of the library starts each chunk from 25 frames of context, less than the window: that is audible.)
"""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from voice.engine.convolution import CausalConv, CausalUpsampling, ConvNext, ResidualUnit, Snake, product
from voice.engine.memory import Memory, Rows, SavedCodec

STRETCH = 50  # frames


class WindowAttention:
    """Sliding-window attention of one layer; remembers the keys (rotated) and values of its window."""

    def __init__(self, module: Any, window: int, dtype: torch.dtype) -> None:
        self._window, self._head_dim, self._scale = window, module.head_dim, module.scaling
        self._heads = module.k_proj.weight.shape[0] // module.head_dim
        self._like = module.k_proj.weight.new_empty(0)
        self._query, self._key, self._value, self._out = (
            product(p, dtype) for p in (module.q_proj, module.k_proj, module.v_proj, module.o_proj)
        )

    def past(self, slots: int) -> list[Tensor]:
        """The memory it wants."""
        shape = (slots, self._heads, self._window - 1, self._head_dim)
        return [self._like.new_zeros(shape) for _ in ("keys", "values")]

    def __call__(self, x: Tensor, memory: Memory, turn: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
        """(rows, n, width) -> the same."""
        shape = (*x.shape[:2], -1, self._head_dim)
        query, key, value = (p(x).view(shape).transpose(1, 2) for p in (self._query, self._key, self._value))
        key = self._remembered(rotate(key, *turn), memory)
        value = self._remembered(value, memory)
        mixed = functional.scaled_dot_product_attention(
            rotate(query, *turn),
            key,
            value,
            attn_mask=mask,
            scale=self._scale,
            enable_gqa=key.shape[1] != query.shape[1],
        )
        return self._out(mixed.transpose(1, 2).flatten(2))

    def _remembered(self, new: Tensor, memory: Memory) -> Tensor:
        both = torch.cat([memory.take(), new], dim=2)
        memory.put(both[:, :, both.shape[2] - (self._window - 1) :])
        return both


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding of (rows, heads, n, head_dim)."""
    half = x.shape[-1] // 2
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], dim=-1) * sin


class GatedMlp:
    """The feed-forward part of one layer."""

    def __init__(self, module: Any, dtype: torch.dtype) -> None:
        self._act = module.act_fn
        self._gate, self._up, self._down = (
            product(p, dtype) for p in (module.gate_proj, module.up_proj, module.down_proj)
        )

    def __call__(self, x: Tensor) -> Tensor:
        """(rows, n, width) -> the same."""
        return self._down(self._act(self._gate(x)) * self._up(x))


class FrameLayer:
    """One layer of the transformer over frames."""

    def __init__(self, module: Any, window: int, dtype: torch.dtype) -> None:
        self._before = module.input_layernorm, module.post_attention_layernorm
        self._scales = module.self_attn_layer_scale, module.mlp_layer_scale
        self._attention, self._mlp = WindowAttention(module.self_attn, window, dtype), GatedMlp(module.mlp, dtype)
        self.past = self._attention.past

    def __call__(self, x: Tensor, memory: Memory, turn: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
        """(rows, n, width) -> the same."""
        (before_attention, before_mlp), (scale_attention, scale_mlp) = self._before, self._scales
        x = x + scale_attention(self._attention(before_attention(x), memory, turn, mask))
        return x + scale_mlp(self._mlp(before_mlp(x)))


class FrameTransformer:
    """The transformer over frames in front of the upsampling."""

    def __init__(self, module: Any, dtype: torch.dtype) -> None:
        self._window, self._rotary, self._norm = module.window_size, module.rotary_emb, module.norm
        self._widen, self._narrow = product(module.input_proj, dtype), product(module.output_proj, dtype)
        self._layers = [FrameLayer(layer, self._window, dtype) for layer in module.layers]

    def past(self, slots: int) -> list[Tensor]:
        """The memory it wants."""
        return [tensor for layer in self._layers for tensor in layer.past(slots)]

    def __call__(self, x: Tensor, memory: Memory, seen: Int64[Tensor, " rows"]) -> Tensor:
        """(rows, n, latent) -> the same; `seen` frames came before in each row."""
        positions = seen[:, None] + torch.arange(x.shape[1], device=x.device)
        x = self._widen(x)
        cos, sin = (t[:, None] for t in self._rotary(x, positions))
        mask = self._mask(positions)
        for layer in self._layers:
            x = layer(x, memory, (cos, sin), mask)
        return self._narrow(self._norm(x))

    def _mask(self, positions: Int64[Tensor, "rows n"]) -> Tensor:
        """Which of the window's and the chunk's keys each frame sees: (rows, 1, n, window - 1 + n)."""
        n, past = positions.shape[1], self._window - 1
        keys = positions[:, :1] + torch.arange(-past, n, device=positions.device)
        distance = positions[:, :, None] - keys[:, None]
        return ((keys[:, None] >= 0) & (distance >= 0) & (distance < self._window))[:, None]


class StreamingDecoder:
    """The official decoder over slots: each a stream of its own, decoded in chunks of any size."""

    def __init__(self, decoder: Any, *, slots: int, dtype: torch.dtype = torch.float32) -> None:
        """`dtype` is what products of matrices read and give (convolution.py); the decoder's weights are in float32."""
        self._tables = code_tables(decoder)
        self._pre = CausalConv(decoder.pre_conv, dtype)
        self._transformer = FrameTransformer(decoder.pre_transformer, dtype)
        self._upsampling = [
            part for up, block in decoder.upsample for part in (CausalUpsampling(up, dtype), ConvNext(block, dtype))
        ]
        *blocks, snake, last = decoder.decoder
        self._layers = [part for module in blocks for part in layers_of(module, dtype)]
        self._layers += [Snake(snake), CausalConv(last)]  # samples: nothing hides what rounding would add here
        self.frame_samples = int(decoder.total_upsample)
        self.code_groups, self.codebook_size = self._tables.shape[:2]
        self.device = self._tables.device
        self.allocate(slots)

    def allocate(self, slots: int) -> None:
        """Begin anew with so many slots."""
        self._seen = torch.zeros(slots, dtype=torch.int64, device=self.device)
        stateful = [self._pre, self._transformer, *self._upsampling, *self._layers]
        pasts = [t for part in stateful if not isinstance(part, Snake) for t in part.past(slots)]
        self._memory = Memory([*pasts, self._seen[:, None]])

    def release(self) -> None:
        """Give the memory back; `allocate` makes it anew."""
        self._memory = Memory([])

    def alone(self) -> "StreamingDecoder":
        """The same weights with one slot of its own, for another thread."""
        other = copy.copy(self)
        other.allocate(1)
        return other

    def reset(self, slot: int) -> None:
        """Begin a new stream in a slot."""
        self._memory.reset(slot)

    def save(self, slot: int) -> SavedCodec:
        """A copy of a stream's state, to go on from later or often."""
        return self._memory.save(slot)

    def load(self, slot: int, saved: SavedCodec) -> None:
        """Go on in a slot from a copy."""
        self._memory.load(slot, saved)

    @torch.inference_mode()
    def decode(self, codes: Int64[Tensor, "rows frames codebooks"], slots: Sequence[int]) -> Float[Tensor, "rows n"]:
        """Decode the next frames of some slots: `frame_samples` samples a frame, in [-1, 1]."""
        if len(slots) == 1:
            return self.decode_rows(codes, slice(slots[0], slots[0] + 1))
        return self.decode_rows(codes, torch.tensor(slots, device=self.device))

    def in_stretches(self, codes: Int64[Tensor, "frames codebooks"], slot: int) -> Iterator[Float[Tensor, " n"]]:
        """Decode the next frames of a slot, `STRETCH` at a time: flat memory, however many they are."""
        for stretch in codes.to(self.device).split(STRETCH):
            yield self.decode(stretch[None], [slot])[0]

    def decode_rows(self, codes: Int64[Tensor, "rows frames codebooks"], rows: Rows) -> Float[Tensor, "rows n"]:
        """As `decode`, without a host synchronisation where rows are a tensor on the device."""
        memory = self._memory
        memory.open(rows)
        books = torch.arange(self.code_groups, device=self.device)
        hidden = self._tables[books, codes].sum(2)  # (rows, frames, codebook_dim)
        hidden = self._pre(hidden.transpose(1, 2), memory).transpose(1, 2)
        hidden = self._transformer(hidden, memory, self._seen[rows]).transpose(1, 2)
        for part in (*self._upsampling, *self._layers):
            hidden = part(hidden) if isinstance(part, Snake) else part(hidden, memory)
        memory.close()
        self._seen[rows] += codes.shape[1]
        return hidden[:, 0].clamp(-1, 1)


def code_vectors(book: Any) -> Float[Tensor, "size dimensions"]:
    """A codebook's rows."""
    return book.embedding_sum / book.cluster_usage.clamp(min=book.epsilon)[:, None]


def code_tables(decoder: Any) -> Float[Tensor, "codebooks size width"]:
    """What each code adds to its frame: its codebook's row after the quantizer's projection."""
    tables = []
    for quantizer in (decoder.quantizer.rvq_first, decoder.quantizer.rvq_rest):
        for layer in quantizer.vq.layers:
            rows = layer.project_out(code_vectors(layer._codebook))
            tables.append(quantizer.output_proj(rows.T[None])[0].T)
    return torch.stack(tables).detach()


def layers_of(module: Any, dtype: torch.dtype) -> list[Any]:
    """The parts of one entry of `decoder.decoder`, in order, each with its memory."""
    match type(module).__name__:
        case "SnakeBeta":
            return [Snake(module, dtype)]
        case "Qwen3TTSTokenizerV2CausalConvNet":
            return [CausalConv(module, dtype)]
        case "Qwen3TTSTokenizerV2CausalTransConvNet":
            return [CausalUpsampling(module, dtype)]
        case "Qwen3TTSTokenizerV2DecoderDecoderResidualUnit":
            return [ResidualUnit(module, dtype)]
        case _:
            return [part for child in module.block for part in layers_of(child, dtype)]
