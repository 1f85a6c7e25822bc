"""Learning to tell speakers apart: cosines to one direction per speaker, with an angular margin (arXiv:1801.07698)."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from pipelines.pretrain.run import Log, Pace, Row
from pipelines.pretrain.speaker.data import LogMel, Voices, disguise, log_mel
from voice.bounds import within
from voice.upstream import Qwen3TTSSpeakerEncoder, Qwen3TTSSpeakerEncoderConfig

Embeddings = Float[Tensor, "crops dimensions"]


@dataclass(kw_only=True)
class Shape:  # conf/speaker.yaml
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
    each: int = within(low=1)
    seconds: list[float]  # of a crop, from .. to
    margin: float = within(low=0, high=1)
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
def centre(encoder: Any, mel: LogMel) -> None:
    """Shift the first and the last layer so that speech, not the mean of log-mel spectra, is what they tell.

    As they come, all embeddings point the same way (cosines of 0.99), and learning starts with undoing that.
    """
    first, last = encoder.blocks[0].conv, encoder.fc
    hidden = first(mel.transpose(1, 2))
    first.weight.div_(hidden.std())
    first.bias.copy_((first.bias - hidden.mean(dim=(0, 2))) / hidden.std())
    embeddings = encoder(mel)
    last.weight.div_(embeddings.std(dim=0).mean())
    last.bias.copy_((last.bias - embeddings.mean(dim=0)) / embeddings.std(dim=0).mean())


class Directions(nn.Module):
    """One direction for each speaker of the training."""

    def __init__(self, speakers: int, dimensions: int, *, margin: float, sharpness: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(speakers, dimensions))
        self._margin, self._sharpness = margin, sharpness

    def forward(self, embeddings: Embeddings, who: Int64[Tensor, " crops"]) -> tuple[Tensor, Tensor]:
        """Cross-entropy with the margin, and the share that is told right without it."""
        cosines = F.linear(F.normalize(embeddings), F.normalize(self.weight))
        right = F.one_hot(who, len(self.weight)).bool()
        # an angle wider by the margin; past pi it would come back, so it stops there
        angles = cosines.clamp(-1 + 1e-6, 1 - 1e-6).acos()
        harder = (angles + self._margin).clamp(max=math.pi).cos()
        loss = F.cross_entropy(self._sharpness * torch.where(right, harder, cosines), who)
        return loss, (cosines.argmax(dim=1) == who).float().mean()


class Trainer:
    """An encoder in training."""

    def __init__(self, shape: Shape, voices: Voices, schedule: Schedule) -> None:
        torch.manual_seed(schedule.seed)
        self.shape, self.voices, self.schedule = shape, voices, schedule
        self.encoder = build(shape)
        audio, _ = voices.draw(0, speakers=schedule.speakers, each=schedule.each, seconds=schedule.seconds[0])
        centre(self.encoder, log_mel(audio))
        self.directions = Directions(
            len(voices.speakers), shape.dimensions, margin=schedule.margin, sharpness=schedule.sharpness
        )
        self.step, self.seconds = 0, 0.0
        self._parameters = [*self.encoder.parameters(), *self.directions.parameters()]
        self._optimizer = torch.optim.AdamW(
            self._parameters, lr=schedule.lr, weight_decay=schedule.weight_decay, fused=True
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
        audio, who = self.voices.draw(self.step, speakers=schedule.speakers, each=schedule.each, seconds=seconds)
        self.encoder.train()
        loss, accuracy = self.directions(self.encoder(disguise(log_mel(audio), generator=generator)), who)
        loss.backward()
        nn.utils.clip_grad_norm_(self._parameters, 5.0)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return {"loss": float(loss.detach()), "accuracy": float(accuracy)}

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
            "directions": self.directions.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state()`."""
        self.encoder.load_state_dict(state["encoder"])
        self.directions.load_state_dict(state["directions"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]
