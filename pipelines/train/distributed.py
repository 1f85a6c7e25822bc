"""Sums over the processes of `accelerate launch`. With one process they are the values themselves.

Not DistributedDataParallel: it averages per process, so that an update's mean would weigh clips by how they were dealt
out, and it hangs where one process has a forward pass more than another. Here each process adds its share of one sum.
"""

from collections.abc import Iterable, Iterator

import torch
from accelerate import Accelerator
from torch import Tensor, distributed, nn

BUCKET = 64 * 2**20  # elements; large enough for the link's full rate, small beside the gradients


def sum_gradients(parameters: Iterable[nn.Parameter], accelerator: Accelerator) -> None:
    """Add up every parameter's gradient over all processes, in place."""
    if accelerator.num_processes == 1:
        return
    for bucket in _buckets(parameters):
        flat = torch.cat([g.flatten() for g in bucket])
        distributed.all_reduce(flat)
        for gradient, summed in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
            gradient.copy_(summed.view_as(gradient))


def sum_over_processes(values: Tensor, accelerator: Accelerator) -> Tensor:
    """Add up a tensor over all processes."""
    if accelerator.num_processes > 1:
        distributed.all_reduce(values)
    return values


def said_by_first(number: int, accelerator: Accelerator) -> int:
    """What the first process decided, after all have come this far."""
    if accelerator.num_processes == 1:
        return number
    said = torch.tensor(number, device=accelerator.device)
    distributed.broadcast(said, src=0)
    return int(said)


def _buckets(parameters: Iterable[nn.Parameter]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    size = 0
    for parameter in parameters:
        if parameter.grad is None:  # this process had no clip in the update
            parameter.grad = torch.zeros_like(parameter)
        bucket.append(parameter.grad)
        size += parameter.numel()
        if size >= BUCKET:
            yield bucket
            bucket, size = [], 0
    if bucket:
        yield bucket
