"""The stock codec's arithmetic in another layout: (batch, time, channels), channels last.

On a CPU most of a training step goes into convolutions and activations at 5 to 24 kHz with few channels. Channels last,
a convolution of kernel 1, one whose kernel is twice its stride, and a transposed one become matrix products without any
copying, and `torch.compile` fuses the activation. The modules are the stock ones and keep their weights; a test holds
that both layouts give the same numbers. Lengths must be whole frames.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Features = Float[Tensor, "batch time channels"]
Audio = Float[Tensor, "batch samples"]


# Strips that a sum over batch and time is cut into: summed in one go, no more threads work than there are channels.
STRIPS = 64
# From here on seven shifted copies and one matrix product beat the library's convolution (58 against 300 GFLOP/s).
WIDE = 192


class _Snake(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
        ctx.save_for_backward(x, alpha, beta)
        return _kernels[0](x, alpha, beta)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return _kernels[1](grad.contiguous(), *ctx.saved_tensors)


def _snake_forward(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    wave = torch.sin(x.float() * alpha.exp())
    return (x + wave * wave * (-beta).exp()).to(x.dtype)


def _snake_backward(grad: Tensor, x: Tensor, alpha: Tensor, beta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    grad_, x_ = grad.float(), x.float()
    phase, height = 2 * x_ * alpha.exp(), (-beta).exp()
    slope = grad_ * torch.sin(phase) * (alpha.exp() * height)
    lift = grad_ * (torch.cos(phase) - 1) * (0.5 * height)
    return (grad_ + slope).to(x.dtype), _sum_by_channel(slope * x_), _sum_by_channel(lift)


_kernels: list[Callable[..., Any]] = [_snake_forward, _snake_backward]


def fuse() -> None:
    """Compile the snake activation, in this process. It takes half of a step otherwise, in a dozen passes over memory.

    Not the whole decoder: there the compiler draws the padding of the next convolution into the same loop, which then
    is no longer vectorised (three times slower than this).
    """
    _kernels[:] = [torch.compile(kernel, dynamic=False) for kernel in (_snake_forward, _snake_backward)]


def _sum_by_channel(x: Float[Tensor, "rows channels"]) -> Float[Tensor, " channels"]:
    rows, channels = x.shape
    strips = STRIPS if rows % STRIPS == 0 else 1
    return x.reshape(strips, rows // strips, channels).sum(1).sum(0)


def convolve(x: Features, conv: nn.Conv1d, *, replicate: bool = False) -> Features:
    """A causal convolution: only the left is padded, with zeros or (`replicate`) with the first step."""
    (kernel,), (stride,), (dilation,) = conv.kernel_size, conv.stride, conv.dilation
    if kernel == 1:
        return F.linear(x, conv.weight[:, :, 0], conv.bias)
    if stride > 1:
        if kernel != 2 * stride:
            raise ValueError(f"a kernel of {kernel} is not twice the stride {stride}")
        batch, time, channels = x.shape
        blocks = x.reshape(batch, time // stride, stride * channels)
        first = x[:, :1].repeat(1, 1, stride) if replicate else torch.zeros_like(blocks[:, :1])
        before = torch.cat([first, blocks[:, :-1]], dim=1)
        weight = conv.weight.transpose(1, 2).reshape(conv.out_channels, -1)
        return F.linear(torch.cat([before, blocks], dim=2), weight, conv.bias)
    padded = F.pad(x, (0, 0, (kernel - 1) * dilation, 0))
    if conv.groups == 1 and conv.in_channels >= WIDE:
        time = x.shape[1]
        shifted = [padded[:, i * dilation : i * dilation + time] for i in range(kernel)]
        return F.linear(
            torch.cat(shifted, dim=2), conv.weight.transpose(1, 2).reshape(conv.out_channels, -1), conv.bias
        )
    padded = padded.transpose(1, 2).unsqueeze(2)
    out = F.conv2d(padded, conv.weight.unsqueeze(2), conv.bias, dilation=(1, dilation), groups=conv.groups)
    return out.squeeze(2).transpose(1, 2)


def upsample(x: Features, conv: nn.ConvTranspose1d) -> Features:
    """A causal transposed convolution whose kernel is its stride or twice that."""
    (kernel,), (stride,) = conv.kernel_size, conv.stride
    weight = conv.weight.permute(2, 1, 0)  # (kernel, out, in)
    if kernel == 2 * stride:
        before = F.pad(x, (0, 0, 1, 0))[:, :-1]
        x = torch.cat([x, before], dim=2)
        weight = torch.cat([weight[:stride], weight[stride:]], dim=2)
    elif kernel != stride:
        raise ValueError(f"a kernel of {kernel} is neither the stride {stride} nor twice that")
    bias = conv.bias.repeat(stride) if conv.bias is not None else None
    batch, time, _ = x.shape
    return F.linear(x, weight.reshape(stride * conv.out_channels, -1), bias).reshape(batch, time * stride, -1)


def snake(x: Features, module: Any) -> Features:
    """SnakeBeta: x + sin(a x)^2 / b, with the logarithms of a and b as parameters (the 1e-9 beside b is left out)."""
    rows: Tensor = _Snake.apply(x.reshape(-1, x.shape[-1]), module.alpha, module.beta)
    return rows.view_as(x)


def analyse(audio: Audio, encoder: Any) -> Features:
    """The encoder's convolutions: waveform to 25 feature vectors a second."""
    x = audio.unsqueeze(-1)
    for layer in encoder.encoder.layers:
        name = type(layer).__name__
        if name == "MimiConv1d":
            x = convolve(x, layer.conv)
        elif name == "MimiResnetBlock":
            _, first, _, second = layer.block
            x = x + convolve(F.elu(convolve(F.elu(x), first.conv)), second.conv)
        else:
            x = F.elu(x)
    return x


def contextualise(x: Features, encoder: Any) -> Features:
    """The encoder's transformer and its last step down: 25 to 12.5 a second."""
    return convolve(encoder.encoder_transformer(x)[0], encoder.downsample.conv, replicate=True)


def foresee(x: Features, decoder: Any) -> Features:
    """The decoder's first convolution and transformer, at 12.5 a second."""
    return decoder.pre_transformer(inputs_embeds=convolve(x, decoder.pre_conv.conv)).last_hidden_state


def refine(x: Features, decoder: Any) -> Features:
    """The decoder's ConvNeXt blocks, each after a step up."""
    for step, block in decoder.upsample:
        x = _convnext(upsample(x, step.conv), block)
    return x


def render(x: Features, decoder: Any) -> Audio:
    """The decoder's waveform blocks; not clamped, so that what is too loud still learns."""
    first, *blocks, last_snake, last = decoder.decoder
    x = convolve(x, first.conv)
    for block in blocks:
        act, step, *units = block.block
        x = upsample(snake(x, act), step.conv)
        for unit in units:
            hidden = convolve(snake(x, unit.act1), unit.conv1.conv)
            x = x + convolve(snake(hidden, unit.act2), unit.conv2.conv)
    return convolve(snake(x, last_snake), last.conv).squeeze(-1)


def _convnext(x: Features, block: Any) -> Features:
    hidden = block.norm(convolve(x, block.dwconv.conv))
    return x + block.gamma * block.pwconv2(block.act(block.pwconv1(hidden)))
