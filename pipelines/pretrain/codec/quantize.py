"""Residual vector quantisation in training: codebooks are moving averages of what chose them (arXiv:1711.00937, A.1).

The stock classes only look codes up. Here the codebooks live while they learn; `model.py` writes them into both halves.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

Vectors = Float[Tensor, "count dimensions"]


class Quantised(NamedTuple):
    """What a stack of codebooks made of vectors."""

    vectors: Vectors  # gradients pass straight through
    codes: Int[Tensor, "count levels"]
    commitment: Tensor  # mean squared distance to the codes chosen, over all levels


class Codebooks(nn.Module):
    """A stack of codebooks, each for what the ones before it left."""

    sums: Tensor
    usage: Tensor

    def __init__(self, levels: int, size: int, dimensions: int, *, decay: float, revive_below: float) -> None:
        super().__init__()
        self._decay, self._revive_below = decay, revive_below
        self.register_buffer("sums", torch.randn(levels, size, dimensions))
        self.register_buffer("usage", torch.ones(levels, size))

    @property
    def vectors(self) -> Float[Tensor, "levels size dimensions"]:
        """The code vectors."""
        return self.sums / self.usage.clamp(min=1e-5).unsqueeze(-1)

    def forward(self, x: Vectors, *, learn: bool, levels: Int[Tensor, " count"] | None = None) -> Quantised:
        """Quantise, level after level; with `learn` the codebooks follow.

        The sum is of the first `levels` of each vector (quantiser dropout, arXiv:2107.03312), by default of all.
        """
        residual, total, codes, commitment = x, torch.zeros_like(x), [], x.new_zeros(())
        for level, book in enumerate(self.vectors):
            with torch.no_grad():
                chosen = nearest(residual, book)
                vectors = book[chosen]
                if learn:
                    self._follow(level, residual.detach(), chosen)
            commitment = commitment + (residual - vectors).square().mean()
            residual = residual - vectors
            total = total + (vectors if levels is None else vectors * (level < levels)[:, None])
            codes.append(chosen)
        return Quantised(x + (total - x).detach(), torch.stack(codes, dim=1), commitment / len(codes))

    def look_up(self, codes: Int[Tensor, "*rows levels"]) -> Float[Tensor, "*rows dimensions"]:
        """What codes stand for, all levels together."""
        return torch.stack([book[codes[..., level]] for level, book in enumerate(self.vectors)]).sum(dim=0)

    def _follow(self, level: int, x: Vectors, chosen: Int[Tensor, " count"]) -> None:
        usage, sums = self.usage[level], self.sums[level]
        usage.mul_(self._decay).index_add_(0, chosen, torch.full_like(x[:, 0], 1 - self._decay))
        sums.mul_(self._decay).index_add_(0, chosen, (1 - self._decay) * x)
        # a code that hardly anything chooses starts again at a vector of this batch
        dead = usage < self._revive_below
        others = x[torch.randint(len(x), dead.shape, device=x.device)]
        usage.copy_(torch.where(dead, torch.ones_like(usage), usage))
        sums.copy_(torch.where(dead[:, None], others, sums))

    @torch.no_grad()
    def fit(self, x: Vectors, *, iterations: int) -> None:
        """Start from k-means, level by level, on what the levels before leave."""
        residual = x
        size = self.usage.shape[1]
        for level in range(len(self.usage)):
            book = residual[torch.randperm(len(x), device=x.device)[:size]].clone()
            for _ in range(iterations):
                chosen = nearest(residual, book)
                count = torch.bincount(chosen, minlength=size)
                total = torch.zeros_like(book).index_add_(0, chosen, residual)
                lost = residual[torch.randint(len(x), (size,), device=x.device)]
                book = torch.where((count > 0)[:, None], total / count.clamp(min=1)[:, None], lost)
            # as much weight as a stationary moving average would have for a batch of average use
            self.usage[level] = 1.0
            self.sums[level] = book
            residual = residual - book[nearest(residual, book)]


def nearest(x: Vectors, book: Vectors) -> Int[Tensor, " count"]:
    """Index of the closest code vector."""
    return (book.square().sum(1) - 2 * x @ book.T).argmin(dim=1)
