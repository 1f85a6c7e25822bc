"""Projections as the engine holds them: those that share an input in one matrix."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Linear = Callable[[Tensor], Tensor]
MakeLinear = Callable[[Sequence[Any]], Linear]


class Dense:
    """A matrix in the engine's dtype."""

    def __init__(self, modules: Sequence[Any], dtype: torch.dtype) -> None:
        self.weight = torch.cat([weight_of(module) for module in modules]).to(dtype)
        biases = [module.bias for module in modules]
        self.bias = None if biases[0] is None else torch.cat([b.detach() for b in biases]).to(dtype)

    def __call__(self, x: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        return functional.linear(x, self.weight, self.bias)


def weight_of(module: Any) -> Tensor:
    """A linear layer's matrix, with the adapters that training may have put on it."""
    weight = module.weight.detach()
    for adapter in getattr(module, "active_adapters", ()):
        weight = weight + module.get_delta_weight(adapter).detach().to(weight.dtype)
    return weight
