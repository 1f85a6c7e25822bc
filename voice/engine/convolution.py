"""The codec's layers between its frames and its samples, each going on where its last chunk ended.

Their `dtype` is what products of matrices read and give; they add up in float32, and residuals, snakes and all else
are in float32. In bfloat16, where the processor multiplies it, a convolution takes half of the time.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from voice.engine.linear import Dense
from voice.engine.memory import Memory
from voice.engine.native import native_snake

# In float32 the library's convolution takes two to nine times as long as one product where many inputs meet few steps.
MANY_INPUTS, FEW_STEPS = 1_024, 64


class CausalConv:
    """A convolution that remembers the inputs its next outputs will need."""

    def __init__(self, module: Any, dtype: torch.dtype = torch.float32) -> None:
        conv: nn.Conv1d = module.conv
        if conv.stride != (1,):
            raise ValueError("a causal convolution of the decoder has a stride")
        self.context, self._inputs, self._dtype = module.padding, conv.in_channels, dtype
        rounds = dtype != torch.float32
        self._taps = Taps(conv, dtype) if rounds or _is_slow(conv) else None
        self._conv = None if rounds else conv  # in float32 the library's own serves chunks of many steps
        self._like = conv.weight.new_empty(0, dtype=dtype)

    def past(self, slots: int) -> list[Tensor]:
        """The memory it wants."""
        return [self._like.new_zeros(slots, self._inputs, self.context)] if self.context else []

    def __call__(self, x: Tensor, memory: Memory) -> Tensor:
        """(rows, channels, n) -> (rows, channels, n)."""
        steps, x = x.shape[-1], x.to(self._dtype)
        if self.context:
            x = torch.cat([memory.take(), x], dim=-1)
            memory.put(x[..., -self.context :])
        if self._taps and (self._conv is None or steps <= FEW_STEPS):
            return self._taps(x, steps)
        assert self._conv is not None
        return self._conv(x)


def _is_slow(conv: nn.Conv1d) -> bool:
    on_cpu = conv.weight.device.type == "cpu"
    return on_cpu and conv.groups == 1 and conv.in_channels >= MANY_INPUTS and conv.kernel_size[0] > 1


class Taps:
    """A convolution as one product: the inputs of all taps of an output below each other."""

    def __init__(self, conv: nn.Conv1d, dtype: torch.dtype) -> None:
        (self._dilation,), (self._kernel,) = conv.dilation, conv.kernel_size
        self._weight = conv.weight.detach().permute(0, 2, 1).flatten(1).to(dtype).contiguous()
        self._bias = None if conv.bias is None else conv.bias.detach()[:, None]

    def __call__(self, x: Float[Tensor, "rows inputs before_n"], steps: int) -> Float[Tensor, "rows outputs n"]:
        """`before_n`: the context, then the steps that there is an output for."""
        taps = [x[..., tap * self._dilation :][..., :steps] for tap in range(self._kernel)]
        y = times(self._weight, torch.cat(taps, 1) if len(taps) > 1 else x).float()
        return y if self._bias is None else y.add_(self._bias)


def times(
    weight: Float[Tensor, "outputs inputs"], x: Float[Tensor, "rows inputs n"]
) -> Float[Tensor, "rows outputs n"]:
    """The matrix times each row's steps."""
    if x.device.type != "cpu":  # there launches cost, here PyTorch copies the matrix for each row of a batch
        return functional.linear(x.transpose(1, 2), weight).transpose(1, 2)
    return torch.stack([weight @ row for row in x]) if len(x) > 1 else (weight @ x[0])[None]


class CausalUpsampling:
    """A transposed convolution as one product: output s * t + j is made of inputs t, t - 1, ... alone.

    PyTorch's own on the CPU takes several times as long; kernels longer than their stride also need earlier inputs.
    """

    def __init__(self, module: Any, dtype: torch.dtype = torch.float32) -> None:
        conv: nn.ConvTranspose1d = module.conv
        (self._stride,), (kernel,) = conv.stride, conv.kernel_size
        self._context = -(-kernel // self._stride) - 1
        taps = self._context + 1
        weight = functional.pad(conv.weight.detach(), (0, taps * self._stride - kernel))
        # (inputs, outputs, tap, stride) -> (outputs, stride, tap, inputs), the oldest input first as in the memory
        weight = weight.unflatten(2, (taps, self._stride)).flip(2).permute(1, 3, 2, 0)
        self._weight = weight.flatten(2).flatten(0, 1).to(dtype).contiguous()
        self._bias = None if conv.bias is None else conv.bias.detach()[:, None]
        self._inputs, self._outputs = conv.in_channels, conv.out_channels

    def past(self, slots: int) -> list[Tensor]:
        """The memory it wants."""
        return [self._weight.new_zeros(slots, self._inputs, self._context)] if self._context else []

    def __call__(self, x: Tensor, memory: Memory) -> Tensor:
        """(rows, channels, n) -> (rows, channels, n * stride)."""
        (rows, _, n), x = x.shape, x.to(self._weight.dtype)
        if self._context:
            x = torch.cat([memory.take(), x], dim=-1)
            memory.put(x[..., -self._context :])
        taps = [x[..., tap : tap + n] for tap in range(self._context + 1)]
        y = times(self._weight, torch.cat(taps, 1)).view(rows, self._outputs, self._stride, n).transpose(2, 3)
        y = y.reshape(rows, self._outputs, n * self._stride).float()
        return y if self._bias is None else y.add_(self._bias)


class Snake:
    """x + sin(x a)^2 / b, with the constants of the official SnakeBeta worked out once."""

    def __init__(self, module: Any, dtype: torch.dtype = torch.float32) -> None:
        self._rate = module.alpha.detach().exp()
        self._gain = 1.0 / (module.beta.detach().exp() + module.no_div_by_zero)
        self._dtype = dtype
        self._native = native_snake() if self._rate.device.type == "cpu" else None

    def __call__(self, x: Float[Tensor, "rows channels n"]) -> Float[Tensor, "rows channels n"]:
        """In `dtype`: what the next convolution reads."""
        if self._native:
            return self._native(x, self._rate, self._gain, self._dtype)
        rate, gain = self._rate[None, :, None], self._gain[None, :, None]
        return torch.addcmul(x, gain, (x * rate).sin_().square_()).to(self._dtype)


class ConvNext:
    """The residual block behind each upsampling of frames."""

    def __init__(self, module: Any, dtype: torch.dtype = torch.float32) -> None:
        self._conv = CausalConv(module.dwconv)  # a channel each: no matrix
        self._norm, self._act, self._gamma = module.norm, module.act, module.gamma.detach()
        self._first, self._second = product(module.pwconv1, dtype), product(module.pwconv2, dtype)

    def past(self, slots: int) -> list[Tensor]:
        """The memory it wants."""
        return self._conv.past(slots)

    def __call__(self, x: Tensor, memory: Memory) -> Tensor:
        """(rows, channels, n) -> the same."""
        hidden = self._norm(self._conv(x, memory).transpose(1, 2))
        hidden = self._gamma * self._second(self._act(self._first(hidden)))
        return x + hidden.transpose(1, 2)


def product(linear: nn.Linear, dtype: torch.dtype) -> Any:
    """A linear layer that reads and gives `dtype`; the layer itself where it does so anyway."""
    return linear if linear.weight.dtype == dtype else Dense([linear], dtype)


class ResidualUnit:
    """Two convolutions with snakes before them, beside a bypass."""

    def __init__(self, module: Any, dtype: torch.dtype = torch.float32) -> None:
        self._parts = [
            (Snake(module.act1, dtype), CausalConv(module.conv1, dtype)),
            (Snake(module.act2, dtype), CausalConv(module.conv2, dtype)),
        ]

    def past(self, slots: int) -> list[Tensor]:
        """The memory it wants."""
        return [tensor for _, conv in self._parts for tensor in conv.past(slots)]

    def __call__(self, x: Tensor, memory: Memory) -> Tensor:
        """(rows, channels, n) -> the same."""
        hidden = x
        for snake, conv in self._parts:
            hidden = conv(snake(hidden), memory)
        return hidden + x
