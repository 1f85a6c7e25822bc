"""Projections as the engine holds them: those that share an input in one matrix."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from voice.processor import has_bfloat16_products

Linear = Callable[[Tensor], Tensor]

LEVELS = (-127, -100, -80, -63, -49, -35, -22, -10, 2, 13, 24, 36, 50, 65, 83, 107)
FINE = 32  # weights of a 4-bit matrix that share a scale
# Scales that are tried for a block, over the one at which its largest weight meets the lowest level; negative: the
# highest instead
REACHES = (1.0, 0.95, 1.05, -1.15)
PACKED = 2 * FINE  # lie together: a byte holds one of the first half and one of the second

# For so many PyTorch's products in bfloat16 are slow where the processor does not make them. There, without kernels,
# what is rounded depends on how many rows are multiplied at once
MANY_ROWS = 8


class Precision(StrEnum):
    """How matrices are held; what is computed in is another matter."""

    float32 = "float32"  # lower case: OmegaConf reads the names
    bfloat16 = "bfloat16"
    int8 = "int8"
    int4 = "int4"  # of the code predictor's layers, which a frame reads once a codebook; all else is in int8


class Dense:
    """A matrix of floats. Inputs of another dtype are rounded to it, outputs come back in theirs."""

    def __init__(self, modules: Sequence[Any], dtype: torch.dtype) -> None:
        self.weight = torch.cat([weight_of(module) for module in modules]).to(dtype).contiguous()
        self.bias = _bias_of(modules, dtype)

    def __call__(self, x: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        dtype = product_dtype(self.weight, x)
        bias = None if self.bias is None else self.bias.to(dtype)
        return functional.linear(x.to(dtype), self.weight.to(dtype), bias).to(x.dtype)


class Int8:
    """A matrix of int8 with a scale for each output: half of bfloat16's bytes."""

    def __init__(self, modules: Sequence[Any]) -> None:
        weight = torch.cat([weight_of(module) for module in modules]).float()
        self.scale = weight.abs().amax(1).clamp(min=1e-12) / 127
        self.weight = (weight / self.scale[:, None]).round().to(torch.int8)
        self.bias = _bias_of(modules, torch.float32)

    def __call__(self, x: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs); the matrix is widened for it, which pays for many rows only."""
        dtype = product_dtype(self.weight, x)
        y = functional.linear(x.to(dtype), self.weight.to(dtype)).to(x.dtype) * self.scale
        return y if self.bias is None else y + self.bias


class Int4:
    """A matrix of 16 levels with a scale for each 32 inputs of an output: 0.56 of int8's bytes.

    The levels lie where they cost normally distributed weights least (Lloyd-Max, each block with the best of its
    scales): 7.5 % of the weights' spread is lost, by sixteen equal steps 8.1 % (docs/log.md).
    """

    def __init__(self, modules: Sequence[Any]) -> None:
        weight = torch.cat([weight_of(module) for module in modules]).float()
        self._levels = torch.tensor(LEVELS, dtype=torch.float32, device=weight.device)
        self.weight, self.scale = _quantised(weight, self._levels)
        self.bias = _bias_of(modules, torch.float32)

    @staticmethod
    def holds(inputs: int) -> bool:
        """Whether rows of that length are whole blocks."""
        return inputs % PACKED == 0

    @property
    def widened(self) -> Tensor:
        """The matrix in float32, (outputs, inputs)."""
        codes = torch.stack([self.weight & 15, self.weight >> 4], -2)  # (outputs, parts, 2, FINE)
        return (self._levels[codes.long()] * self.scale.float()[..., None]).flatten(1)

    def __call__(self, x: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs); the matrix is widened for it."""
        dtype = product_dtype(self.weight, x)
        y = functional.linear(x.to(dtype), self.widened.to(dtype)).to(x.dtype)
        return y if self.bias is None else y + self.bias


Matrix = Dense | Int8 | Int4
MakeLinear = Callable[[Sequence[Any]], Matrix]


def maker(precision: Precision) -> MakeLinear:
    """How to hold matrices in a precision."""
    match precision:
        case Precision.float32:
            return partial(Dense, dtype=torch.float32)
        case Precision.bfloat16:
            return partial(Dense, dtype=torch.bfloat16)
        case Precision.int8 | Precision.int4:  # of which the code predictor's layers are apart: predictor.py
            return Int8


def in_four_bits(modules: Sequence[Any]) -> Matrix:
    """A matrix in 4 bits, or in int8 where its rows are not whole blocks."""
    return (Int4 if Int4.holds(modules[0].weight.shape[1]) else Int8)(modules)


def product_dtype(weight: Tensor, x: Tensor) -> torch.dtype:
    """What PyTorch multiplies x (..., inputs) by a matrix in: for many rows it pays to widen what is rounded first."""
    if weight.dtype == torch.float32:
        return torch.float32
    many = x.shape[:-1].numel() >= MANY_ROWS
    slow = weight.device.type == "cpu" and not has_bfloat16_products()
    return torch.float32 if many and slow else torch.bfloat16


def _quantised(weight: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
    """(outputs, inputs) -> bytes (outputs, inputs / 64, 32) and scales in bfloat16 (outputs, inputs / 64, 2)."""
    blocks = weight.unflatten(1, (-1, 2, FINE))
    between = (levels[1:] + levels[:-1]) / 2
    most = blocks.gather(-1, blocks.abs().argmax(-1, keepdim=True))
    scale, least = torch.full_like(most, 1e-12), torch.full_like(most, torch.inf)
    for rate in REACHES:
        tried = (most * (rate / LEVELS[0])).bfloat16().float()
        tried = torch.where(tried == 0, 1e-12, tried)
        lost = (levels[torch.bucketize(blocks / tried, between)] * tried - blocks).square().sum(-1, keepdim=True)
        scale, least = torch.where(lost < least, tried, scale), torch.minimum(lost, least)
    codes = torch.bucketize(blocks / scale, between).to(torch.uint8)
    packed = codes[:, :, 0] | codes[:, :, 1] << 4
    return packed.contiguous(), scale[..., 0].bfloat16().contiguous()


def _bias_of(modules: Sequence[Any], dtype: torch.dtype) -> Tensor | None:
    biases = [module.bias for module in modules]
    return None if biases[0] is None else torch.cat([bias.detach() for bias in biases]).to(dtype)


def weight_of(module: Any) -> Tensor:
    """A linear layer's matrix, with the adapters that training may have put on it."""
    weight = module.weight.detach()
    for adapter in getattr(module, "active_adapters", ()):
        weight = weight + module.get_delta_weight(adapter).detach().to(weight.dtype)
    return weight
