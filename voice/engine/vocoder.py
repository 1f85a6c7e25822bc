"""Codes to samples, a few frames at a time: the official decoder with its past kept instead of computed again.

Every convolution keeps the inputs that its next output still needs, every attention layer the keys and values of its
window. So whatever the chunks, their concatenation is `decoder(all codes)`, in constant time and memory per frame.
(`chunked_decode` of the library starts each chunk from 25 frames of context, less than the window: that is audible.)
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

Rows = slice | Int64[Tensor, " rows"]
SavedCodec = list[Tensor]


class Memory:
    """What the layers remember of each slot, and the order in which a chunk passes them."""

    def __init__(self, tensors: list[Tensor]) -> None:
        self._tensors = tensors  # each (slots, ...)
        self._rows: Rows = slice(0)
        self._new: list[Tensor] = []

    def open(self, rows: Rows) -> None:
        """Start at the first layer, with the slots of the chunk's rows."""
        self._rows, self._new = rows, []

    def take(self) -> Tensor:
        """What the next layer remembers."""
        return self._tensors[len(self._new)][self._rows]

    def put(self, past: Tensor) -> None:
        """What it shall remember once the chunk is through: one that fails half way leaves no trace."""
        self._new.append(past)

    def close(self) -> None:
        """The chunk is through."""
        for tensor, past in zip(self._tensors, self._new, strict=False):
            tensor[self._rows] = past
        self._new = []

    def reset(self, slot: int) -> None:
        """Forget everything: zeros are what the decoder pads the past with."""
        for tensor in self._tensors:
            tensor[slot].zero_()

    def save(self, slot: int) -> SavedCodec:
        """A copy of what is remembered of one slot."""
        return [tensor[slot].clone() for tensor in self._tensors]

    def load(self, slot: int, saved: SavedCodec) -> None:
        """Go on in a slot from a copy."""
        for tensor, past in zip(self._tensors, saved, strict=True):
            tensor[slot].copy_(past)


class CausalConv:
    """A convolution that remembers the inputs its next outputs will need."""

    def __init__(self, module: Any) -> None:
        self._conv: nn.Conv1d = module.conv
        if self._conv.stride != (1,):
            raise ValueError("a causal convolution of the decoder has a stride")
        self.context = module.padding

    def past(self, slots: int) -> list[Tensor]:
        """The memory it wants."""
        return [self._conv.weight.new_zeros(slots, self._conv.in_channels, self.context)] if self.context else []

    def __call__(self, x: Tensor, memory: Memory) -> Tensor:
        """(rows, channels, n) -> (rows, channels, n)."""
        if self.context:
            x = torch.cat([memory.take(), x], dim=-1)
            memory.put(x[..., -self.context :])
        return self._conv(x)


class CausalUpsampling:
    """A transposed convolution as one product: output s * t + j is made of inputs t, t - 1, ... alone.

    PyTorch's own on the CPU takes several times as long; kernels longer than their stride also need earlier inputs.
    """

    def __init__(self, module: Any) -> None:
        conv: nn.ConvTranspose1d = module.conv
        (self._stride,), (kernel,) = conv.stride, conv.kernel_size
        self._context = -(-kernel // self._stride) - 1
        taps = self._context + 1
        weight = functional.pad(conv.weight.detach(), (0, taps * self._stride - kernel))
        # (inputs, outputs, tap, stride) -> (stride, outputs, tap, inputs), the oldest input first as in the memory
        weight = weight.unflatten(2, (taps, self._stride)).flip(2).permute(3, 1, 2, 0)
        self._weight = weight.flatten(2).flatten(0, 1).contiguous()
        self._bias = None if conv.bias is None else conv.bias.detach().repeat(self._stride)
        self._inputs, self._outputs = conv.in_channels, conv.out_channels

    def past(self, slots: int) -> list[Tensor]:
        """The memory it wants."""
        return [self._weight.new_zeros(slots, self._inputs, self._context)] if self._context else []

    def __call__(self, x: Tensor, memory: Memory) -> Tensor:
        """(rows, channels, n) -> (rows, channels, n * stride)."""
        rows, _, n = x.shape
        if self._context:
            x = torch.cat([memory.take(), x], dim=-1)
            memory.put(x[..., -self._context :])
        taps = [x[..., tap : tap + n] for tap in range(self._context + 1)]
        y = functional.linear(
            torch.cat(taps, 1).transpose(1, 2), self._weight, self._bias
        )  # (rows, n, stride * outputs)
        return y.view(rows, n * self._stride, self._outputs).transpose(1, 2)


class Snake:
    """x + sin(x a)^2 / b, with the constants of the official SnakeBeta worked out once."""

    def __init__(self, module: Any) -> None:
        self._rate = module.alpha.detach().exp()[None, :, None]
        self._gain = 1.0 / (module.beta.detach().exp() + module.no_div_by_zero)[None, :, None]

    def __call__(self, x: Tensor) -> Tensor:
        """Elementwise on (rows, channels, n)."""
        return torch.addcmul(x, self._gain, (x * self._rate).sin_().square_())


class ConvNext:
    """The residual block behind each upsampling of frames."""

    def __init__(self, module: Any) -> None:
        self._module, self._conv = module, CausalConv(module.dwconv)

    def past(self, slots: int) -> list[Tensor]:
        """The memory it wants."""
        return self._conv.past(slots)

    def __call__(self, x: Tensor, memory: Memory) -> Tensor:
        """(rows, channels, n) -> the same."""
        block = self._module
        hidden = block.norm(self._conv(x, memory).transpose(1, 2))
        hidden = block.gamma * block.pwconv2(block.act(block.pwconv1(hidden)))
        return x + hidden.transpose(1, 2)


class ResidualUnit:
    """Two convolutions with snakes before them, beside a bypass."""

    def __init__(self, module: Any) -> None:
        self._first, self._second = (
            (Snake(module.act1), CausalConv(module.conv1)),
            (
                Snake(module.act2),
                CausalConv(module.conv2),
            ),
        )

    def past(self, slots: int) -> list[Tensor]:
        """The memory it wants."""
        return [*self._first[1].past(slots), *self._second[1].past(slots)]

    def __call__(self, x: Tensor, memory: Memory) -> Tensor:
        """(rows, channels, n) -> the same."""
        hidden = x
        for snake, conv in (self._first, self._second):
            hidden = conv(snake(hidden), memory)
        return hidden + x


class WindowAttention:
    """Sliding-window attention of one layer; remembers the keys (rotated) and values of its window."""

    def __init__(self, module: Any, window: int) -> None:
        self._attention, self._window = module, window
        self._head_dim = module.head_dim

    def past(self, slots: int) -> list[Tensor]:
        """The memory it wants."""
        weight = self._attention.k_proj.weight
        heads = weight.shape[0] // self._head_dim
        return [weight.new_zeros(slots, heads, self._window - 1, self._head_dim) for _ in ("keys", "values")]

    def __call__(self, x: Tensor, memory: Memory, turn: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
        """(rows, n, width) -> the same."""
        a = self._attention
        shape = (*x.shape[:2], -1, self._head_dim)
        query, key, value = (p(x).view(shape).transpose(1, 2) for p in (a.q_proj, a.k_proj, a.v_proj))
        key = self._remembered(rotate(key, *turn), memory)
        value = self._remembered(value, memory)
        mixed = functional.scaled_dot_product_attention(
            rotate(query, *turn), key, value, attn_mask=mask, scale=a.scaling, enable_gqa=key.shape[1] != query.shape[1]
        )
        return a.o_proj(mixed.transpose(1, 2).flatten(2))

    def _remembered(self, new: Tensor, memory: Memory) -> Tensor:
        both = torch.cat([memory.take(), new], dim=2)
        memory.put(both[:, :, both.shape[2] - (self._window - 1) :])
        return both


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding of (rows, heads, n, head_dim)."""
    half = x.shape[-1] // 2
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], dim=-1) * sin


class FrameTransformer:
    """The transformer over frames in front of the upsampling."""

    def __init__(self, module: Any) -> None:
        self._module, self._window = module, module.window_size
        self._attention = [WindowAttention(layer.self_attn, self._window) for layer in module.layers]

    def past(self, slots: int) -> list[Tensor]:
        """The memory it wants."""
        return [tensor for attention in self._attention for tensor in attention.past(slots)]

    def __call__(self, x: Tensor, memory: Memory, seen: Int64[Tensor, " rows"]) -> Tensor:
        """(rows, n, latent) -> the same; `seen` frames came before in each row."""
        model, n = self._module, x.shape[1]
        positions = seen[:, None] + torch.arange(n, device=x.device)
        x = model.input_proj(x)
        cos, sin = (t[:, None] for t in model.rotary_emb(x, positions))
        mask = self._mask(positions)
        for layer, attention in zip(model.layers, self._attention, strict=True):
            x = x + layer.self_attn_layer_scale(attention(layer.input_layernorm(x), memory, (cos, sin), mask))
            x = x + layer.mlp_layer_scale(layer.mlp(layer.post_attention_layernorm(x)))
        return model.output_proj(model.norm(x))

    def _mask(self, positions: Int64[Tensor, "rows n"]) -> Tensor:
        """Which of the window's and the chunk's keys each frame sees: (rows, 1, n, window - 1 + n)."""
        n, past = positions.shape[1], self._window - 1
        keys = positions[:, :1] + torch.arange(-past, n, device=positions.device)
        distance = positions[:, :, None] - keys[:, None]
        return ((keys[:, None] >= 0) & (distance >= 0) & (distance < self._window))[:, None]


class StreamingDecoder:
    """The official decoder over slots: each a stream of its own, decoded in chunks of any size."""

    def __init__(self, decoder: Any, *, slots: int) -> None:
        self._tables = code_tables(decoder)
        self._pre = CausalConv(decoder.pre_conv)
        self._transformer = FrameTransformer(decoder.pre_transformer)
        self._upsampling = [part for up, block in decoder.upsample for part in (CausalUpsampling(up), ConvNext(block))]
        self._layers = [part for module in decoder.decoder for part in layers_of(module)]
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


def layers_of(module: Any) -> list[Any]:
    """The parts of one entry of `decoder.decoder`, in order, each with its memory."""
    match type(module).__name__:
        case "SnakeBeta":
            return [Snake(module)]
        case "Qwen3TTSTokenizerV2CausalConvNet":
            return [CausalConv(module)]
        case "Qwen3TTSTokenizerV2CausalTransConvNet":
            return [CausalUpsampling(module)]
        case "Qwen3TTSTokenizerV2DecoderDecoderResidualUnit":
            return [ResidualUnit(module)]
        case _:
            return [part for child in module.block for part in layers_of(child)]
