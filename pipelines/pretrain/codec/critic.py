"""Who can tell renderings from originals, and learns to (a discriminator).

Whatever averages spectra ends up between all that could be: muffled, a little of every harmonic, neither voice nor
breath. A network that is shown both finds what originals never look like; the decoder learns to avoid it (adversarial
training: targets as in arXiv:1611.04076, features as in arXiv:2010.05646, spectra at several windows as in
arXiv:2106.07889).
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import l1_loss, leaky_relu
from torch.nn.utils.parametrizations import weight_norm

from pipelines.pretrain.codec.loss import Audio, amplitudes
from voice.audio import SAMPLE_RATE

WINDOWS = (1_024, 384)  # samples: harmonics apart; pulses apart
TOP = 8_000.0  # Hz: voices; above, each frame is noise
FLOOR = 1e-3  # amplitude, added before the logarithm
CENTRE, SPREAD = -4.0, 2.0  # of the logarithms, about
CHANNELS = (8, 16, 32)
SLOPE = 0.1


class Criticism(NamedTuple):
    """What a rendering is to be blamed for."""

    told: Tensor  # mean squared distance of its verdicts from that on originals
    features: Tensor  # mean distance of its features from the original's, layer by layer


class Critic(nn.Module):
    """Networks that each see log spectra at one window, and say of every patch if it is an original (1) or not (0)."""

    def __init__(self) -> None:
        super().__init__()
        self._networks = nn.ModuleList(_Patches() for _ in WINDOWS)
        for size in WINDOWS:
            self.register_buffer(f"window_{size}", torch.hann_window(size), persistent=False)

    def criticise(self, rendered: Audio, original: Audio) -> Criticism:
        """What the decoder learns from. Gradients reach the rendering only."""
        self.requires_grad_(False)
        told, features = [], []
        for of_one, of_other in zip(self._look(rendered), self._look(original), strict=True):
            told.append((of_one[-1].float() - 1).square().mean())
            features += [
                l1_loss(a.float(), b.float().detach()) for a, b in zip(of_one[:-1], of_other[:-1], strict=True)
            ]
        self.requires_grad_(True)
        return Criticism(torch.stack(told).mean(), torch.stack(features).mean())

    def mistaken(self, rendered: Audio, original: Audio) -> Tensor:
        """What the critic learns from: its verdicts' mean squared distance from the truth; 0.25 if it knows nothing."""
        wrong = [
            0.5 * (of_one[-1].float().square().mean() + (of_other[-1].float() - 1).square().mean())
            for of_one, of_other in zip(self._look(rendered.detach()), self._look(original), strict=True)
        ]
        return torch.stack(wrong).mean()

    def _look(self, audio: Audio) -> Iterator[list[Tensor]]:
        """What each network makes of it, layer by layer; the verdicts come last."""
        for size, network in zip(WINDOWS, self._networks, strict=True):
            yield network(self._spectra(audio, size))

    def _spectra(self, audio: Audio, size: int) -> Float[Tensor, "batch 1 time bins"]:
        with torch.autocast(audio.device.type, enabled=False):
            linear = amplitudes(audio.float(), getattr(self, f"window_{size}"))
            kept = linear[:, :, 1 : int(TOP * size / SAMPLE_RATE) + 1]
            scaled = ((kept + FLOOR).log() - CENTRE) / SPREAD
        return scaled[:, None].to(memory_format=torch.channels_last)


class _Patches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        first, second, third = CHANNELS
        convolutions = [
            nn.Conv2d(1, first, (3, 9), stride=(1, 2), padding=(1, 4)),
            nn.Conv2d(first, second, (3, 9), stride=(2, 2), padding=(1, 4)),
            nn.Conv2d(second, third, (3, 9), stride=(2, 2), padding=(1, 4)),
            nn.Conv2d(third, third, (3, 5), stride=(1, 2), padding=(1, 2)),
        ]
        self._convolutions = nn.ModuleList(weight_norm(convolution) for convolution in convolutions)
        self._verdict = weight_norm(nn.Conv2d(third, 1, 3, padding=1))

    def forward(self, x: Float[Tensor, "batch 1 time bins"]) -> list[Tensor]:
        """The features of every layer, and last the verdicts."""
        features = []
        for convolution in self._convolutions:
            x = leaky_relu(convolution(x), SLOPE)
            features.append(x)
        return [*features, self._verdict(x)]


class Rivalry:
    """A critic that keeps up with what it is shown: its own optimiser, one step for each of the decoder's."""

    def __init__(self, critic: Critic) -> None:
        self.critic = critic
        self._optimizer = torch.optim.AdamW(critic.parameters(), betas=(0.8, 0.99), weight_decay=0.0, fused=True)

    def learn(self, mistaken: Tensor, *, lr: float) -> None:
        """One step away from its mistakes."""
        mistaken.backward()
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        if nn.utils.get_total_norm([p.grad for p in self.critic.parameters() if p.grad is not None]).isfinite():
            self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Any]:
        """Everything that its next step depends on."""
        return {"critic": self.critic.state_dict(), "optimizer": self._optimizer.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state()`."""
        self.critic.load_state_dict(state["critic"])
        self._optimizer.load_state_dict(state["optimizer"])
