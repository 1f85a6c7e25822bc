"""The training loop of the codec and what it needs to go on exactly where it stopped."""

import csv
import logging
import math
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipelines.pretrain.codec.data import Crops
from pipelines.pretrain.codec.loss import Spectra
from pipelines.pretrain.codec.model import TrainableCodec, perplexity
from voice.bounds import within
from voice.errors import InputError
from voice.publish import publish

log = logging.getLogger(__name__)

STATE_FILE, LOG_FILE = "state.pt", "training.csv"


@dataclass(kw_only=True)
class Crop:  # conf/codec.yaml
    """One kind of batch: how many crops of how many frames."""

    count: int = within(low=1)
    frames: int = within(low=1)


@dataclass(kw_only=True)
class Phase:  # conf/codec.yaml
    """How long and how fast it learns one thing, and from what batches, in turns."""

    steps: int = within(low=1)
    lr: float = within(above=0)
    final_lr_share: float = within(low=0, high=1)
    warmup_steps: int = within(low=0)
    decay_steps: int = within(low=0)
    crops: list[Crop]

    def learning_rate(self, step: int) -> float:
        """Warm-up, plateau, and a straight line down (arXiv:2405.18392: as good as cosine, and extendable)."""
        up = min(1.0, (step + 1) / max(1, self.warmup_steps))
        left = min(1.0, (self.steps - step) / max(1, self.decay_steps))
        return self.lr * up * (self.final_lr_share + (1 - self.final_lr_share) * left)


@dataclass(kw_only=True)
class Schedule:  # conf/codec.yaml
    """First the features, with encoder and codebooks; then the sound, while encoder and codebooks stay as they are.

    So codes are final after the first phase: what is trained on them need not wait for the sound, and a decoder that
    went on learning takes the place of the one before.
    """

    features: Phase
    sound: Phase
    weight_decay: float = within(low=0)
    clip_norm: float = within(above=0)
    average_decay: float = within(low=0, high=1)
    autoencoder_steps: int = within(low=1)
    kmeans_seconds: float = within(above=0)
    kmeans_iterations: int = within(low=1)
    commitment: float = within(low=0)
    envelope: float = within(low=0)
    convergence: float = within(low=0)
    save_minutes: float = within(above=0)
    log_every: int = within(low=1)
    seed: int


@dataclass(kw_only=True)
class Device:  # conf/device/
    """What it runs on."""

    name: str
    autocast: str | None
    fuse: bool
    batch_factor: int = within(low=1)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of training.csv: means since the line before."""

    step: int
    hours: float  # spent in steps, over all runs
    loss: float
    envelope: float  # nats
    mel: float  # nats; 0 while there is no waveform yet
    convergence: float
    commitment: float
    gradient_norm: float
    lr: float
    used_codes: float  # mean perplexity of the codebooks; 0 before they are
    least_used: float  # of the codebook with the lowest


class Trainer:
    """A codec in training: everything that a checkpoint holds, and the step."""

    def __init__(self, codec: TrainableCodec, crops: Crops, schedule: Schedule, device: Device) -> None:
        self.codec, self.crops, self.schedule, self.device = codec.to(device.name), crops, schedule, device
        if schedule.features.steps <= schedule.autoencoder_steps:
            raise InputError(
                "schedule.features.steps must exceed schedule.autoencoder_steps: codes come with features."
            )
        self.step, self.seconds = 0, 0.0
        self.steps = schedule.features.steps + schedule.sound.steps
        self._spectra = Spectra().to(device.name)
        self._parameters = [p for p in [*codec.stock.parameters(), *codec.teller.parameters()] if p.requires_grad]
        self._optimizer = torch.optim.AdamW(
            self._parameters, lr=schedule.features.lr, betas=(0.9, 0.99), weight_decay=schedule.weight_decay, fused=True
        )
        self.average = {name: p.detach().clone() for name, p in codec.stock.named_parameters()}

    @property
    def sounding(self) -> bool:
        """Whether the features are done."""
        return self.step >= self.schedule.features.steps

    def learning_rate(self) -> float:
        """The rate of the next step."""
        features, sound = self.schedule.features, self.schedule.sound
        return sound.learning_rate(self.step - features.steps) if self.sounding else features.learning_rate(self.step)

    def take_step(self) -> dict[str, float]:
        """Learn from one batch. Returns what it measured."""
        started = time.monotonic()
        if self.step == self.schedule.autoencoder_steps and not self.codec.quantising:
            self._start_quantising()
        if self.step == self.schedule.features.steps:
            self._settle_codes()
        for group in self._optimizer.param_groups:
            group["lr"] = self.learning_rate()
        sound = self.sounding
        self.codec.stock.encoder.requires_grad_(not sound)
        crops = self.schedule.sound.crops if sound else self.schedule.features.crops
        crop = crops[self.step % len(crops)]
        audio = self._draw(self.step, crop)
        self.codec.train()
        with self._autocast():
            out = self.codec(audio, quantise=bool(self.codec.quantising), sound=sound)
        weight = self.schedule
        envelope = self.codec.envelope(out.envelope, audio)
        loss = weight.envelope * envelope + weight.commitment * out.commitment
        mel = convergence = torch.zeros(())
        if out.audio is not None:
            mel, convergence = self._spectra(out.audio.float(), audio)
            loss = loss + mel + weight.convergence * convergence
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self._parameters, weight.clip_norm)
        if norm.isfinite():  # a rare batch overflows in bf16; one such gradient would stay in the moments for good
            self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._follow_average()
        self.step += 1
        names = ("loss", "envelope", "mel", "convergence", "commitment", "gradient_norm")
        parts = (loss, envelope, mel, convergence, out.commitment, norm)
        values = torch.stack([part.detach().float().to(loss.device) for part in parts]).tolist()
        if not math.isfinite(values[0]):
            raise RuntimeError(f"the loss is {values[0]} at step {self.step}; the last checkpoint is from before")
        self.seconds += time.monotonic() - started
        return dict(zip(names, values, strict=True))

    def _draw(self, number: int, crop: Crop) -> Tensor:
        batch = self.crops.draw(number, count=crop.count * self.device.batch_factor, frames=crop.frames)
        return batch.to(self.device.name)

    @contextmanager
    def _autocast(self) -> Iterator[None]:
        kind = self.device.name.partition(":")[0]
        dtype = getattr(torch, self.device.autocast or "bfloat16")
        with torch.autocast(kind, dtype, enabled=self.device.autocast is not None):
            yield

    @torch.no_grad()
    def _follow_average(self) -> None:
        # a short memory at first, so that the average is of use from the start
        decay = min(self.schedule.average_decay, (1 + self.step) / (10 + self.step))
        parameters = dict(self.codec.stock.named_parameters())
        torch._foreach_lerp_(list(self.average.values()), [parameters[n] for n in self.average], 1 - decay)

    @torch.no_grad()
    def _start_quantising(self) -> None:
        self.codec.eval()
        vectors, seconds, number = [], 0.0, 0
        crop = self.schedule.features.crops[0]
        while seconds < self.schedule.kmeans_seconds:
            audio = self._draw(-1 - number & 0x7FFFFFFF, crop)  # batches that training will not see
            with self._autocast():
                vectors.append(self.codec.latents(audio).float().flatten(0, 1))
            seconds, number = seconds + audio.numel() / 24_000, number + 1
        self.codec.start_quantising(torch.cat(vectors), iterations=self.schedule.kmeans_iterations)
        # the projections were rescaled: so must be their average and their optimiser's memory
        for name, parameter in self.codec.stock.named_parameters():
            if "quantizer" in name and name.endswith("_proj.weight"):
                self.average[name].copy_(parameter)
                self._optimizer.state.pop(parameter, None)
        log.info("step %d: quantising from here on", self.step)

    @torch.no_grad()
    def _settle_codes(self) -> None:
        # from here on the encoder does not move: its average must not, either, or it would give other codes
        for name, parameter in self.codec.stock.named_parameters():
            if name.startswith("encoder."):
                self.average[name].copy_(parameter)
        log.info("step %d: codes are final from here on", self.step)

    def code_usage(self) -> list[float]:
        """Perplexity of each codebook."""
        if not self.codec.quantising:
            return []
        usage = torch.cat([self.codec.first.usage, self.codec.rest.usage])
        return [perplexity(row) for row in usage]

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on. Batches are functions of the step's number."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "codec": self.codec.state_dict(),
            "average": self.average,
            "optimizer": self._optimizer.state_dict(),
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state() if self.device.name.startswith("cuda") else None,
            "shape": asdict(self.codec.shape),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state()`."""
        self.codec.load_state_dict(state["codec"])
        for name, tensor in state["average"].items():
            self.average[name].copy_(tensor)
        self._optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"].cpu())
        if self.device.name.startswith("cuda") and state["cuda_rng"] is not None:
            torch.cuda.set_rng_state(state["cuda_rng"].cpu())
        self.step, self.seconds = state["step"], state["seconds"]


def save(trainer: Trainer, folder: Path) -> None:
    """Write the checkpoint: whole, or not at all."""
    with publish(folder / STATE_FILE) as draft:
        torch.save(trainer.state(), draft)


def resume(trainer: Trainer, folder: Path) -> bool:
    """Go on from the checkpoint in `folder`, if there is one; lines that the log is ahead by are dropped."""
    path = folder / STATE_FILE
    if not path.is_file():
        return False
    trainer.restore(torch.load(path, map_location=trainer.device.name, weights_only=True))
    kept = [line for line in read_log(folder / LOG_FILE) if line.step <= trainer.step]
    (folder / LOG_FILE).unlink(missing_ok=True)
    _append(folder / LOG_FILE, kept)
    return True


def read_log(path: Path) -> list[Line]:
    """The lines of training.csv; a last line that was cut off is left out."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if all(row.get(f.name) for f in fields(Line))]
    return [Line(int(row["step"]), *(float(row[f.name]) for f in fields(Line)[1:])) for row in rows]


def _append(path: Path, lines: Sequence[Line]) -> None:
    new = not path.is_file()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Line)])
        if new:
            writer.writeheader()
        for line in lines:
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in asdict(line).items()})


def fit(trainer: Trainer, folder: Path, *, report: Callable[[Line], None]) -> None:
    """Train to the schedule's last step; save now and then, at the end and when asked to stop (SIGTERM, SIGINT)."""
    folder.mkdir(parents=True, exist_ok=True)
    stopping: list[int] = []
    before = {s: signal.signal(s, lambda number, _: stopping.append(number)) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        _fit(trainer, folder, report, stopping)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if stopping:
        log.info("stopped at step %d; the same command goes on", trainer.step)
        os.kill(os.getpid(), stopping[0]) if stopping[0] == signal.SIGTERM else None


def _fit(trainer: Trainer, folder: Path, report: Callable[[Line], None], stopping: Sequence[int]) -> None:
    saved, sums, count = time.monotonic(), dict[str, float](), 0
    while trainer.step < trainer.steps and not stopping:
        rate = trainer.learning_rate()
        for name, value in trainer.take_step().items():
            sums[name] = sums.get(name, 0.0) + value
        count += 1
        if trainer.step % trainer.schedule.log_every == 0:
            means = {name: value / count for name, value in sums.items()}
            usage = trainer.code_usage() or [0.0]
            line = Line(
                step=trainer.step,
                hours=trainer.seconds / 3_600,
                lr=rate,
                used_codes=sum(usage) / len(usage),
                least_used=min(usage),
                **means,
            )
            _append(folder / LOG_FILE, [line])
            report(line)
            sums, count = {}, 0
        if time.monotonic() - saved > trainer.schedule.save_minutes * 60:
            save(trainer, folder)
            saved = time.monotonic()
    save(trainer, folder)
