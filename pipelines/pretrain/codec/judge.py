"""Somebody who hears what is rendered beside its original, and learns nothing (a perceptual loss, arXiv:1603.08155)."""

from typing import Self

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

LogMels = Float[Tensor, "batch time bands"]


class Judge(nn.Module):
    """A trained network, frozen. `hop`: samples between the spectra that it is given (`loss.Envelope`)."""

    def __init__(self, network: nn.Module, *, hop: int) -> None:
        super().__init__()
        self._network = network.requires_grad_(False)
        self._hop = hop
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay as it is: no dropout."""
        return super().train(False)


def at_rate(spectra: LogMels, moments: int) -> LogMels:
    """As many spectra of the same stretch of time as a network expects."""
    return interpolate(spectra.transpose(1, 2), size=moments, mode="linear").transpose(1, 2)
