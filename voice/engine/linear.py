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

# For so many PyTorch's products in bfloat16 are slow where the processor does not make them. There, without kernels,
# what is rounded depends on how many rows are multiplied at once
MANY_ROWS = 8


class Precision(StrEnum):
    """How matrices are held; what is computed in is another matter."""

    float32 = "float32"  # lower case: OmegaConf reads the names
    bfloat16 = "bfloat16"
    int8 = "int8"


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


Matrix = Dense | Int8
MakeLinear = Callable[[Sequence[Any]], Matrix]


def maker(precision: Precision) -> MakeLinear:
    """How to hold matrices in a precision."""
    match precision:
        case Precision.float32:
            return partial(Dense, dtype=torch.float32)
        case Precision.bfloat16:
            return partial(Dense, dtype=torch.bfloat16)
        case Precision.int8:
            return Int8


def product_dtype(weight: Tensor, x: Tensor) -> torch.dtype:
    """What PyTorch multiplies x (..., inputs) by a matrix in: for many rows it pays to widen what is rounded first."""
    if weight.dtype == torch.float32:
        return torch.float32
    many = x.shape[:-1].numel() >= MANY_ROWS
    slow = weight.device.type == "cpu" and not has_bfloat16_products()
    return torch.float32 if many and slow else torch.bfloat16


def _bias_of(modules: Sequence[Any], dtype: torch.dtype) -> Tensor | None:
    biases = [module.bias for module in modules]
    return None if biases[0] is None else torch.cat([bias.detach() for bias in biases]).to(dtype)


def weight_of(module: Any) -> Tensor:
    """A linear layer's matrix, with the adapters that training may have put on it."""
    weight = module.weight.detach()
    for adapter in getattr(module, "active_adapters", ()):
        weight = weight + module.get_delta_weight(adapter).detach().to(weight.dtype)
    return weight
