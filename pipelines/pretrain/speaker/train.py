"""Learning to tell speakers apart: of a batch's crops, which one is by the same speaker? (arXiv:2003.11982)"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from pipelines.pretrain.run import Log, Pace, Row
from pipelines.pretrain.speaker.data import LogMel, Voices, disguise, log_mel
from voice.bounds import within
from voice.upstream import Qwen3TTSSpeakerEncoder, Qwen3TTSSpeakerEncoderConfig

Embeddings = Float[Tensor, "crops dimensions"]
PAIR = 2  # crops of each speaker
LENGTH_WEIGHT = 0.1  # keeps the root mean square of an embedding's numbers near 1, which cosines leave open


@dataclass(kw_only=True)
class Shape:  # conf/nano/speaker.yaml
    """Widths of the encoder."""

    dimensions: int = within(low=1)  # of the embedding: the talker's hidden size
    channels: int = within(low=1)
    attention_channels: int = within(low=1)
    squeeze_channels: int = within(low=1)
    scale: int = within(low=2)  # of Res2Net: groups of channels


@dataclass(kw_only=True)
class Schedule(Pace, Log):  # conf/speaker.yaml
    """How long, how fast and on what it learns."""

    weight_decay: float = within(low=0)
    speakers: int = within(low=2)
    seconds: list[float]  # of a crop, from .. to
    undisguised_steps: int = within(low=1)  # until crops are fully disguised, from not at all
    clip_norm: float = within(above=0)
    sharpness: float = within(above=0)
    seed: int


def encoder_settings(shape: Shape) -> dict[str, Any]:
    """The `speaker_encoder_config` of a checkpoint."""
    width = shape.channels
    return {
        "enc_dim": shape.dimensions,
        "enc_channels": [width, width, width, width, 3 * width],
        "enc_attention_channels": shape.attention_channels,
        "enc_res2net_scale": shape.scale,
        "enc_se_channels": shape.squeeze_channels,
    }


def build(shape: Shape) -> Any:
    """A stock encoder with random weights."""
    return Qwen3TTSSpeakerEncoder(Qwen3TTSSpeakerEncoderConfig(**encoder_settings(shape)))


@torch.no_grad()
def standardise(encoder: Any, mel: LogMel) -> None:
    """Rescale every convolution so that each of its channels has mean 0 and deviation 1 on these spectra.

    The stock class has no normalisation. As it comes, the mean of log-mel spectra drowns what differs, all embeddings
    point the same way (cosines of 0.99), and scaling only the last layer up lets a few steps shift them all at once.
    """

    def rescale(conv: nn.Conv1d, _: Any, output: Tensor) -> Tensor:
        mean, deviation = output.mean(dim=(0, 2)), output.std(dim=(0, 2)).clamp(min=1e-3)
        conv.weight.div_(deviation[:, None, None])
        if conv.bias is not None:
            conv.bias.copy_((conv.bias - mean) / deviation)
        return (output - mean[:, None]) / deviation[:, None]

    hooks = [m.register_forward_hook(rescale) for m in encoder.modules() if isinstance(m, nn.Conv1d)]
    encoder(mel)
    for hook in hooks:
        hook.remove()


def contrast(embeddings: Embeddings, *, sharpness: float) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Cross-entropy of finding each crop's partner by its cosine, and the share that is found.

    Crops 0 and 1 are by one speaker, 2 and 3 by the next, and so on. Directions learnt for each known speaker, with or
    without a margin, were tried: with 300 of them, seen ten times each, nothing was learnt in 300 steps where this
    found 70 % of partners after 150.
    """
    directions = F.normalize(embeddings)
    cosines = (sharpness * directions @ directions.T).fill_diagonal_(-math.inf)
    partner = torch.arange(len(embeddings), device=embeddings.device) ^ 1
    return F.cross_entropy(cosines, partner), (cosines.argmax(dim=1) == partner).float().mean()


class Trainer:
    """An encoder in training."""

    def __init__(self, shape: Shape, voices: Voices, schedule: Schedule) -> None:
        torch.manual_seed(schedule.seed)
        self.shape, self.voices, self.schedule = shape, voices, schedule
        self.encoder = build(shape)
        audio = voices.draw(0, speakers=schedule.speakers, each=PAIR, seconds=schedule.seconds[0])
        standardise(self.encoder, log_mel(audio))
        self.step, self.seconds = 0, 0.0
        self._optimizer = torch.optim.AdamW(
            self.encoder.parameters(), lr=schedule.lr, weight_decay=schedule.weight_decay, fused=True
        )

    @property
    def steps(self) -> int:
        """When it is done."""
        return self.schedule.steps

    def take_step(self) -> Row:
        """Learn from one batch."""
        schedule = self.schedule
        for group in self._optimizer.param_groups:
            group["lr"] = schedule.learning_rate(self.step)
        generator = torch.Generator().manual_seed(schedule.seed + self.step)
        shortest, longest = schedule.seconds
        seconds = shortest + (longest - shortest) * float(torch.rand((), generator=generator))
        audio = self.voices.draw(self.step, speakers=schedule.speakers, each=PAIR, seconds=seconds)
        self.encoder.train()
        # from the first step on, a disguise would make partners less alike than strangers, and all embeddings one
        strength = min(1.0, self.step / schedule.undisguised_steps)
        embeddings = self.encoder(disguise(log_mel(audio), strength=strength, generator=generator))
        loss, found = contrast(embeddings, sharpness=schedule.sharpness)
        length = embeddings.square().mean(dim=1).sqrt()
        (loss + LENGTH_WEIGHT * (length - 1).square().mean()).backward()
        nn.utils.clip_grad_norm_(self.encoder.parameters(), schedule.clip_norm)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return {"loss": float(loss.detach()), "found": float(found), "length": float(length.detach().mean())}

    def notes(self) -> Row:
        """The rate of the next step."""
        return {"lr": self.schedule.learning_rate(self.step)}

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on. Batches are functions of the step's number."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "shape": asdict(self.shape),
            "encoder": self.encoder.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state()`."""
        self.encoder.load_state_dict(state["encoder"])
        if state["optimizer"]:
            self._optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]
