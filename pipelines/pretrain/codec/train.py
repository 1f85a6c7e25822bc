"""The codec in training: features first, then sound, then what the talker says (`Schedule`)."""

import logging
import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pipelines.pretrain import average
from pipelines.pretrain.codec.critic import Critic, Rivalry
from pipelines.pretrain.codec.data import Crops, Drawn
from pipelines.pretrain.codec.forced import ForcedCrops, Said
from pipelines.pretrain.codec.likeness import Likeness
from pipelines.pretrain.codec.listener import Listener
from pipelines.pretrain.codec.loss import Spectra
from pipelines.pretrain.codec.model import TrainableCodec, perplexity
from pipelines.pretrain.device import Device
from pipelines.pretrain.run import Log, Pace, Row
from voice.bounds import within
from voice.errors import InputError

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Crop:  # conf/codec.yaml
    """One kind of batch: how many crops of how many frames, and how many more with codes of the talker's."""

    count: int = within(low=1)
    frames: int = within(low=1)
    forced: int = 0


@dataclass(kw_only=True)
class Phase(Pace):  # conf/codec.yaml
    """How long and how fast it learns one thing, and from what batches, in turns."""

    crops: list[Crop]
    heard: float = within(low=0)  # weights beside 1 for log-mel of the waveform
    likeness: float = within(low=0)
    critic: float = within(low=0)
    dropout: float = within(low=0, high=1)  # of codebooks: how often some are left out


@dataclass(kw_only=True)
class Schedule(Log):  # conf/codec.yaml
    """First the features, with encoder and codebooks; then the sound, while encoder and codebooks stay as they are.

    So codes are final after the first phase: what is trained on them need not wait for the sound, and a decoder that
    went on learning takes the place of the one before. In the last phase the decoder is also given codes of which the
    talker has said all but the first: it learns to hold on to the words that the first tells where the others waver.
    """

    features: Phase
    sound: Phase
    forced: Phase
    weight_decay: float = within(low=0)
    clip_norm: float = within(above=0)
    average_decay: float = within(low=0, high=1)
    autoencoder_steps: int = within(low=1)
    kmeans_seconds: float = within(above=0)
    kmeans_iterations: int = within(low=1)
    commitment: float = within(low=0)
    envelope: float = within(low=0)
    periods: float = within(low=0)
    letters: float = within(low=0)
    convergence: float = within(low=0)
    critic_features: float = within(low=0)  # beside 1 for the critic's verdict
    critic_pace: float = within(above=0)  # its rate, of the decoder's
    seed: int

    def with_larger_batches(self, factor: int) -> "Schedule":
        """As much to learn from in fewer steps; what remembers steps remembers as much speech."""
        return replace(
            self,
            features=self.features.with_larger_batches(factor),
            sound=self.sound.with_larger_batches(factor),
            forced=self.forced.with_larger_batches(factor),
            autoencoder_steps=-(-self.autoencoder_steps // factor),
            average_decay=self.average_decay**factor,
        )


class Trainer:
    """A codec in training: everything that a checkpoint holds, and the step."""

    def __init__(
        self,
        codec: TrainableCodec,
        crops: Crops,
        listener: Listener,
        likeness: Likeness,
        schedule: Schedule,
        device: Device,
        forced: ForcedCrops | None = None,
    ) -> None:
        self.codec, self.crops, self.schedule, self.device = codec.to(device.name), crops, schedule, device
        self._forced = forced
        self._listener, self._likeness = listener.to(device.name), likeness.to(device.name)
        if schedule.features.steps <= schedule.autoencoder_steps:
            raise InputError(
                "schedule.features.steps must exceed schedule.autoencoder_steps: codes come with features."
            )
        self.step, self.seconds = 0, 0.0
        self._since = 0  # the step at which the optimiser began
        self._phases = [schedule.features, schedule.sound, *([schedule.forced] if forced else [])]
        self.steps = sum(phase.steps for phase in self._phases)
        self._spectra = Spectra().to(device.name)
        learning = [codec.stock, codec.teller, codec.tuner, codec.reader]
        self._parameters = [p for module in learning for p in module.parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW(
            self._parameters, lr=schedule.features.lr, betas=(0.9, 0.99), weight_decay=schedule.weight_decay, fused=True
        )
        self._rivalry = Rivalry(Critic().to(device.name))
        self.average = average.weights(codec.stock)

    def phase(self) -> tuple[Phase, int]:
        """What the next step belongs to, and the step at which that began."""
        began = 0
        for phase in self._phases[:-1]:
            if self.step < began + phase.steps:
                return phase, began
            began += phase.steps
        return self._phases[-1], began

    def learning_rate(self) -> float:
        """The rate of the next step."""
        phase, began = self.phase()
        return phase.learning_rate(self.step - began, since=max(0, self._since - began))

    def take_step(self) -> Row:
        """Learn from one batch. Returns what it measured."""
        if self.step == self.schedule.autoencoder_steps and not self.codec.quantising:
            self._start_quantising()
        if self.step == self.schedule.features.steps:
            self._settle_codes()
        for group in self._optimizer.param_groups:
            group["lr"] = self.learning_rate()
        phase, _ = self.phase()
        self.codec.stock.encoder.requires_grad_(phase is self.schedule.features)
        self.codec.train()
        distances, mistaken = self._distances(phase)
        loss = torch.stack([weight * distances[name] for name, weight in self._weights(phase).items()]).sum()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self._parameters, self.schedule.clip_norm)
        if norm.isfinite():  # a rare batch overflows in bf16; one such gradient would stay in the moments for good
            self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        if mistaken is not None:
            self._rivalry.learn(mistaken, lr=self.schedule.critic_pace * self.learning_rate())
        average.follow(self.average, self.codec.stock, step=self.step, decay=self.schedule.average_decay)
        self.step += 1
        parts = {"loss": loss, **distances, "gradient_norm": norm}
        values = torch.stack([part.detach().float().to(loss.device) for part in parts.values()]).tolist()
        if not math.isfinite(values[0]):
            raise RuntimeError(f"the loss is {values[0]} at step {self.step}; the last checkpoint is from before")
        return dict(zip(parts, values, strict=True))

    def _distances(self, phase: Phase) -> tuple[dict[str, Tensor], Tensor | None]:
        """One batch, and all that is measured of it, 0 where there is no waveform yet; what the critic learns from."""
        crop = phase.crops[self.step % len(phase.crops)]
        drawn, said = self._draw(self.step, crop), self._say(self.step, crop)
        with self.device.autocasting():
            out = self.codec(
                drawn.audio,
                quantise=bool(self.codec.quantising),
                sound=phase is not self.schedule.features,
                kept=self._kept(len(drawn.audio), phase.dropout),
                forced=said.codes if said else None,
            )
        audio = torch.cat([drawn.audio, said.audio]) if said else drawn.audio
        measured, repeated = self.codec.envelope.measure(audio), self.codec.periods.measure(audio)
        rendered = out.envelope if out.audio is None else self.codec.envelope.measure(out.audio.float())
        with self.device.autocasting():
            heard = self._listener(rendered, measured)
            likeness = self._likeness(rendered, measured)
        sound, mistaken = self._hear(out.audio, audio, repeated, critic=phase.critic > 0)
        distances = {
            "envelope": self.codec.envelope(out.envelope, measured),
            "periods": self.codec.periods(out.periods, repeated),
            "heard": heard,
            "likeness": likeness,
            "letters": cross_entropy(out.letters.float().flatten(0, 2), drawn.letters.flatten()),
            **sound,
            "commitment": out.commitment,
        }
        return distances, mistaken

    def _hear(
        self, rendered: Tensor | None, audio: Tensor, repeated: Tensor, *, critic: bool
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """What is measured of a waveform, 0 where there is none; what the critic learns from, if it is asked."""
        names = ["mel", "convergence", "hoarse", "told_apart", "critic_features", "mistaken"]
        measured = dict.fromkeys(names, audio.new_zeros(()))
        if rendered is None:
            return measured, None
        measured["mel"], measured["convergence"] = self._spectra(rendered.float(), audio)
        measured["hoarse"] = self.codec.periods(self.codec.periods.measure(rendered.float()), repeated)
        if not critic:
            return measured, None
        with self.device.autocasting():
            criticism = self._rivalry.critic.criticise(rendered, audio)
            mistaken = self._rivalry.critic.mistaken(rendered, audio)
        measured["told_apart"], measured["critic_features"] = criticism
        measured["mistaken"] = mistaken.detach()
        return measured, mistaken

    def _weights(self, phase: Phase) -> dict[str, float]:
        """How much each distance counts in a phase; those not named, nothing."""
        weight = self.schedule
        always = {
            "envelope": weight.envelope,
            "periods": weight.periods,
            "heard": phase.heard,
            "likeness": phase.likeness,
        }
        if phase is weight.features:
            return {**always, "letters": weight.letters, "commitment": weight.commitment}
        sound = {"mel": 1.0, "convergence": weight.convergence, "hoarse": weight.periods}  # codes are final
        return {**always, **sound, "told_apart": phase.critic, "critic_features": phase.critic * weight.critic_features}

    def _draw(self, number: int, crop: Crop) -> Drawn:
        drawn = self.crops.draw(number, count=crop.count * self.device.batch_factor, frames=crop.frames)
        return Drawn(*(tensor.to(self.device.name) for tensor in drawn))

    def _say(self, number: int, crop: Crop) -> Said | None:
        if not crop.forced:
            return None
        if self._forced is None:
            raise InputError("only schedule.forced.crops can have `forced` ones: until then nobody has said any.")
        said = self._forced.draw(number, count=crop.forced * self.device.batch_factor, frames=crop.frames)
        return Said(*(tensor.to(self.device.name) for tensor in said))

    def _kept(self, count: int, dropout: float) -> Tensor:
        # all codebooks, or as many as a die says
        rng, books = np.random.default_rng([self.schedule.seed, self.step]), self.codec.shape.codebooks - 1
        some = rng.random(count) < dropout
        return torch.from_numpy(np.where(some, rng.integers(1, books, count, endpoint=True), books)).to(
            self.device.name
        )

    @torch.no_grad()
    def _start_quantising(self) -> None:
        self.codec.eval()
        vectors, seconds, number = [], 0.0, 0
        crop = self.schedule.features.crops[0]
        while seconds < self.schedule.kmeans_seconds:
            audio = self._draw(-1 - number & 0x7FFFFFFF, crop).audio  # batches that training will not see
            with self.device.autocasting():
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

    def notes(self) -> Row:
        """The rate of the next step, and the mean and least perplexity of the codebooks (0 before there are any)."""
        usage = torch.cat([self.codec.first.usage, self.codec.rest.usage])
        used = [perplexity(row) for row in usage] if self.codec.quantising else [0.0]
        return {"lr": self.learning_rate(), "used_codes": sum(used) / len(used), "least_used": min(used)}

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on. Batches are functions of the step's number."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "codec": self.codec.state_dict(),
            "average": self.average,
            "since": self._since,
            "optimizer": self._optimizer.state_dict(),
            "rivalry": self._rivalry.state(),
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state() if self.device.name.startswith("cuda") else None,
            "shape": asdict(self.codec.shape),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state()`."""
        self.codec.restore(state["codec"])
        average.restore(self.average, state["average"])
        if state["optimizer"]:
            self._optimizer.load_state_dict(state["optimizer"])
        if state.get("rivalry"):
            self._rivalry.restore(state["rivalry"])
        torch.set_rng_state(state["rng"].cpu())
        if self.device.name.startswith("cuda") and state["cuda_rng"] is not None:
            torch.cuda.set_rng_state(state["cuda_rng"].cpu())
        self.step, self.seconds, self._since = state["step"], state["seconds"], state.get("since", 0)
