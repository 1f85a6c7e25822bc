"""The moving average of a model's weights: what is judged and exported."""

import torch
from torch import Tensor, nn


def weights(model: nn.Module) -> dict[str, Tensor]:
    """A copy of a model's weights, by name: where an average begins."""
    return {name: p.detach().clone() for name, p in model.named_parameters()}


@torch.no_grad()
def follow(average: dict[str, Tensor], model: nn.Module, *, step: int, decay: float) -> None:
    """Move an average towards a model, in place."""
    # a short memory at first, so that the average is of use from the start
    decay = min(decay, (1 + step) / (10 + step))
    parameters = dict(model.named_parameters())
    torch._foreach_lerp_(list(average.values()), [parameters[n] for n in average], 1 - decay)


@torch.no_grad()
def restore(average: dict[str, Tensor], saved: dict[str, Tensor]) -> None:
    """Go back to an average that was saved, in place."""
    for name, tensor in saved.items():
        average[name].copy_(tensor)
