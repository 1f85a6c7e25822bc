"""The recogniser in training."""

from dataclasses import asdict, dataclass
from typing import Any

import jiwer
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from pipelines.pretrain.aligner.data import Batch, Clips, read
from pipelines.pretrain.aligner.model import Recogniser, Shape
from pipelines.pretrain.device import Device
from pipelines.pretrain.run import Log, Pace, Row
from voice.bounds import within


@dataclass(kw_only=True)
class Schedule(Pace, Log):  # conf/aligner.yaml
    """How long, how fast and on how much at a time."""

    frames: int = within(low=1)  # of a batch
    weight_decay: float = within(low=0)
    clip_norm: float = within(above=0)
    seed: int


def loss_of(scores: Float[Tensor, "B outputs symbols"], batch: Batch) -> Float[Tensor, ""]:
    """Nats a letter; a clip that has more letters than outputs counts nothing."""
    lengths = batch.real.sum(dim=1)
    summed = F.ctc_loss(
        scores.transpose(0, 1), batch.symbols, lengths, batch.counts, reduction="sum", zero_infinity=True
    )
    return summed / batch.counts.sum()


def letters(scores: Float[Tensor, "B outputs symbols"], batch: Batch) -> list[str]:
    """What is most probable at each output, read as text."""
    best, lengths = scores.argmax(dim=-1), batch.real.sum(dim=1)
    runs = [row[:length].unique_consecutive() for row, length in zip(best, lengths.tolist(), strict=True)]
    return [read(run[run > 0]) for run in runs]


class Trainer:
    """A recogniser in training."""

    def __init__(self, shape: Shape, clips: Clips, held_out: Batch, schedule: Schedule, device: Device) -> None:
        torch.manual_seed(schedule.seed)
        self.shape, self.clips, self.held_out, self.schedule, self.device = shape, clips, held_out, schedule, device
        self.recogniser = Recogniser(shape).to(device.name)
        self.step, self.seconds = 0, 0.0
        self._optimizer = torch.optim.AdamW(
            self.recogniser.parameters(), betas=(0.9, 0.98), weight_decay=schedule.weight_decay, fused=True
        )

    @property
    def steps(self) -> int:
        """When it is done."""
        return self.schedule.steps

    def take_step(self) -> Row:
        """Learn from one batch."""
        for group in self._optimizer.param_groups:
            group["lr"] = self.schedule.learning_rate(self.step)
        torch.manual_seed(self.schedule.seed + self.step)  # of the dropout: a resumed training draws the same
        batch = self.clips.draw(self.step, frames=self.schedule.frames)
        self.recogniser.train()
        loss = loss_of(self.hear(batch), batch)
        loss.backward()
        nn.utils.clip_grad_norm_(self.recogniser.parameters(), self.schedule.clip_norm)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return {"loss": float(loss.detach())}

    def hear(self, batch: Batch) -> Float[Tensor, "B outputs symbols"]:
        """Log-probabilities of a batch, on the CPU: what is made of them is little work."""
        with self.device.autocasting():
            return self.recogniser(batch.audio.to(self.device.name), batch.real.to(self.device.name)).cpu()

    @torch.no_grad()
    def notes(self) -> Row:
        """The rate of the next step, and what is made of held-out clips: nats a letter, and letter errors."""
        self.recogniser.eval()
        batch = self.held_out
        scores = self.hear(batch)
        written = [read(text) for text in batch.symbols.split(batch.counts.tolist())]
        return {
            "lr": self.schedule.learning_rate(self.step),
            "held_out": float(loss_of(scores, batch)),
            "letter_errors": float(jiwer.cer(written, letters(scores, batch))),
        }

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on. Batches are functions of the step's number."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "shape": asdict(self.shape),
            "recogniser": self.recogniser.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state()`."""
        self.recogniser.load_state_dict(state["recogniser"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]
