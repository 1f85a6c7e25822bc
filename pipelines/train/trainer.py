"""The training itself: updates, validations, and the state that makes it go on bit for bit."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil
import torch
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor, nn

from pipelines.train.batches import Draw, batches_per_epoch, draw_epoch, micro_batches
from pipelines.train.curve import EVAL, TRAIN, Step
from pipelines.train.dataset import Batch, Example, collate, lay_out
from pipelines.train.distributed import sum_gradients, sum_over_processes
from pipelines.train.history import FIRST_OWN, retold, wavering
from pipelines.train.loss import PREDICTOR_WEIGHT, Losses, Objective
from pipelines.train.optimizer import build_optimizer, build_schedule
from pipelines.train.parts import parameter_groups, trainable
from pipelines.train.settings import Train
from voice.errors import InputError
from voice.prompt import Vocabulary
from voice.tts import Layout

PROBE_CLIPS = 4
SAMPLED_MATRICES, SAMPLED_WEIGHTS = 24, 4_096  # what update_ratio is measured on: matrices, and weights of each


@dataclass(frozen=True, slots=True)
class Material:
    """What a voice is trained on."""

    train: Sequence[Example]
    held_out: Sequence[Example]
    vocabulary: Vocabulary
    speaker_embedding: Float[Tensor, " dimensions"]


@dataclass(frozen=True, slots=True)
class Own:
    """How often a clip is told what the model says itself, and at which temperatures that is drawn."""

    share: float
    temperature: float
    later: float  # of all codebooks but the first


class Trainer:
    """A talker in training. `step` counts finished updates.

    Its whole state is what moves, the optimiser's moments and `step`: the order of clips, their tags, the dice for what
    it says itself and dropout's noise all follow from the seed and the step, so nothing else has to be remembered, and
    whatever else draws random numbers meanwhile changes nothing.
    """

    def __init__(
        self, talker: Any, material: Material, train: Train, accelerator: Accelerator, *, own: Own | None = None
    ) -> None:
        self.parameters = trainable(talker)
        self.step = 0
        self.per_epoch = batches_per_epoch(len(material.train), train.batch_size)
        self.steps = train.epochs * self.per_epoch
        self._material, self._train, self._accelerator, self._own = material, train, accelerator, own
        self._lengths = [e.positions for e in material.train]
        self.objective = Objective(talker)
        groups = parameter_groups(talker, train.rates, lr=train.lr, weight_decay=train.weight_decay)
        self._optimizer = build_optimizer(train.optimizer, groups)
        self._schedule = build_schedule(
            self._optimizer, train.schedule, warmup_share=train.warmup_share, steps=self.steps
        )
        self._order: tuple[int, list[list[Draw]]] | None = None

    def state(self) -> dict[str, Any]:
        """What `restore` needs besides the weights that move."""
        return {"step": self.step, "optimizer": self._optimizer.state_dict(), "schedule": self._schedule.state_dict()}

    def restore(self, weights: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Go back to where `parameters` and `state()` were."""
        self.put_weights(weights)
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self.step = state["step"]

    def put_weights(self, weights: dict[str, Tensor]) -> None:
        """Overwrite what moves."""
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(weights[name])

    def update(self) -> Step:
        """Train on the next batch. Raises InputError if the loss is not plausible; the weights are then as before."""
        started = time.perf_counter()
        epoch, position = divmod(self.step, self.per_epoch)
        batch = self.draws(epoch)[position]
        targets = sum(len(self._material.train[d.index].codes) + 1 for d in batch)
        frames = sum(self._predicted(self._material.train[d.index]) for d in batch)
        torch.manual_seed(self._noise_seed())
        self.objective.train()
        padded = 0
        sums = self._zero_sums()
        for chosen in self._share(batch):
            inputs = self._collate(self._material.train, chosen, predicted=[self._choose_frames(d) for d in chosen])
            padded += inputs.text.numel()
            inputs = inputs.to(self._accelerator.device)
            with self._accelerator.autocast():
                losses: Losses = self.objective(inputs, history=self._history(inputs, chosen))
            losses.share(targets=targets, frames=frames).backward()
            sums += _sums(losses)
        tokens = sum(self._lengths[d.index] for d in batch)
        means = self._means(sums, targets=targets, frames=frames)
        self._require_plausible(means[0], batch)
        lr = float(max(self._schedule.get_last_lr()))
        norm, ratio = self._move(batch)
        self.step += 1
        return Step(
            TRAIN, epoch + 1, self.step, *means, lr=lr, gradient_norm=norm, update_ratio=ratio,
            tokens_per_second=tokens / (time.perf_counter() - started),
            padding_share=1 - tokens / max(padded * self._accelerator.num_processes, tokens),
            memory_gb=peak_memory(self._accelerator.device) / 1e9,
        )  # fmt: skip

    def validate(self) -> Step:
        """Losses over the held-out clips with their language tags, each target weighing the same."""
        clips = self._material.held_out
        lengths = [e.positions for e in clips]
        frames = sum(len(e.codes) for e in clips)
        sums = self._zero_sums()
        self.objective.eval()
        with torch.no_grad(), self._accelerator.autocast():
            for chosen in self._share([Draw(i, tagged=True) for i in range(len(clips))], lengths):
                sums += _sums(self.objective(self._collate(clips, chosen).to(self._accelerator.device)))
        means = self._means(sums, targets=frames + len(clips), frames=frames)
        return Step(EVAL, math.ceil(self.step / self.per_epoch), self.step, *means)

    def draws(self, epoch: int) -> list[list[Draw]]:
        """The batches of an epoch, in order."""
        if self._order is None or self._order[0] != epoch:
            drawn = draw_epoch(
                self._lengths,
                batch_size=self._train.batch_size,
                tag_probability=self._train.tag_probability,
                seed=self._train.seed,
                epoch=epoch,
            )
            self._order = (epoch, drawn)
        return self._order[1]

    def _share(self, batch: Sequence[Draw], lengths: Sequence[int] | None = None) -> Iterator[list[Draw]]:
        return micro_batches(
            batch,
            lengths or self._lengths,
            max_positions=self._train.max_positions,
            process=self._accelerator.process_index,
            processes=self._accelerator.num_processes,
        )

    def _predicted(self, clip: Example) -> int:
        return math.ceil(self._train.predictor_share * len(clip.codes))

    def _choose_frames(self, draw: Draw) -> Tensor:
        clip = self._material.train[draw.index]
        generator = np.random.default_rng([self._train.seed, self.step, draw.index])
        chosen = generator.choice(len(clip.codes), self._predicted(clip), replace=False)
        return torch.from_numpy(np.sort(chosen))

    def _history(self, inputs: Batch, chosen: Sequence[Draw]) -> Tensor | None:
        # what the first loss may be is known for true histories alone
        if self._own is None or (self.step == 0 and self._train.max_first_loss is not None):
            return None
        share = self._own.share
        since, dice = zip(*(self._waver(self._material.train[d.index], d.index, share) for d in chosen), strict=True)
        device = inputs.frames.device
        self.objective.eval()  # it says what it would say in earnest: without dropout, with its caches
        told = retold(
            self.objective, inputs, torch.cat(since).to(device),
            temperature=self._own.temperature, later=self._own.later, dice=torch.cat(dice).to(device),
        )  # fmt: skip
        self.objective.train()
        return told

    def _waver(self, clip: Example, index: int, share: float) -> tuple[Tensor, Tensor]:
        # a function of the clip and the step: not of the clips beside it
        rng = np.random.default_rng([self._train.seed, self.step, index, 1])
        frames, codebooks = clip.codes.shape
        since = torch.full((frames,), codebooks)
        if rng.random() < share:
            since = wavering(frames, codebooks, rng, first=FIRST_OWN)
        return since, torch.from_numpy(rng.random((frames, codebooks), dtype=np.float32))

    def _collate(
        self, side: Sequence[Example], chosen: Sequence[Draw], *, predicted: Sequence[Tensor] | None = None
    ) -> Batch:
        material, clips = self._material, [side[d.index] for d in chosen]
        prompts = [
            lay_out(clip, material.vocabulary, tagged=draw.tagged, layout=Layout.WHOLE)
            for clip, draw in zip(clips, chosen, strict=True)
        ]
        eos = material.vocabulary.codec_eos
        return collate(clips, prompts, material.speaker_embedding, codec_eos=eos, predicted=predicted)

    def largest_forward(self) -> int:
        """Padded positions of the largest forward pass of all epochs."""
        passes = (c for epoch in range(self._train.epochs) for batch in self.draws(epoch) for c in self._share(batch))
        return max(len(c) * self._lengths[c[0].index] for c in passes)

    def padding(self) -> float:
        """Share of the first epoch's positions that is padding."""
        passes = [c for batch in self.draws(0) for c in self._share(batch)]
        padded = sum(len(c) * self._lengths[c[0].index] for c in passes)
        return 1 - sum(self._lengths[d.index] for c in passes for d in c) / padded

    def probes(self) -> tuple[Batch, Batch]:
        """The shortest clip, and it with the next few: small batches as an update would see them."""
        order = sorted(range(len(self._lengths)), key=self._lengths.__getitem__)
        draws = [Draw(i, tagged=True) for i in order[:PROBE_CLIPS]]
        frames = [self._choose_frames(d) for d in draws]
        small, large = (self._collate(self._material.train, draws[:n], predicted=frames[:n]) for n in (1, len(draws)))
        return small, large

    def _noise_seed(self) -> int:
        key = [self._train.seed, self.step, self._accelerator.process_index]
        return int(np.random.SeedSequence(key).generate_state(1)[0])

    def _zero_sums(self) -> Tensor:
        # the talker's sum, then each later codebook's; float64, so that adding up many clips rounds nothing away
        return torch.zeros(self._material.vocabulary.code_groups, dtype=torch.float64, device=self._accelerator.device)

    def _means(self, sums: Tensor, *, targets: int, frames: int) -> tuple[float, float, float, tuple[float, ...]]:
        talker, *books = sum_over_processes(sums, self._accelerator).tolist()
        codebooks = tuple(b / frames for b in books)
        talker_loss, predictor_loss = talker / targets, sum(codebooks) / len(codebooks)
        return talker_loss + PREDICTOR_WEIGHT * predictor_loss, talker_loss, predictor_loss, codebooks

    def _move(self, batch: Sequence[Draw]) -> tuple[float, float]:
        moving = list(self.parameters.values())
        sum_gradients(moving, self._accelerator)
        norm = float(nn.utils.clip_grad_norm_(moving, self._train.clip_norm))
        if not math.isfinite(norm):
            self._optimizer.zero_grad(set_to_none=True)
            raise self._not_finite("gradient", norm, batch)
        before = self._sample()
        self._optimizer.step()
        self._schedule.step()
        self._optimizer.zero_grad(set_to_none=True)
        return norm, float((self._sample() - before).norm() / before.norm())

    def _sample(self) -> Float[Tensor, " sample"]:
        # no norms and biases: they start at 1 and 0, and a ratio to that says something else
        matrices = [p.detach().flatten() for p in self.parameters.values() if p.ndim > 1]
        chosen = matrices[:: max(1, len(matrices) // SAMPLED_MATRICES)]
        return torch.cat([m[:: max(1, m.numel() // SAMPLED_WEIGHTS)] for m in chosen])

    def _require_plausible(self, loss: float, batch: Sequence[Draw]) -> None:
        train = self._train
        if not math.isfinite(loss):
            self._optimizer.zero_grad(set_to_none=True)
            raise self._not_finite("loss", loss, batch)
        if self.step == 0 and train.max_first_loss is not None and loss > train.max_first_loss:
            raise InputError(
                f"the first batch's loss is {loss:.2f}, above train.max_first_loss={train.max_first_loss:g}: codes, "
                "texts and model do not belong together. Run `dvc repro -f encode`; an aligned stock base starts at "
                "2.5 to 3.0."
            )

    def _not_finite(self, what: str, value: float, batch: Sequence[Draw]) -> InputError:
        clips = ", ".join(self._material.train[d.index].id for d in batch)
        return InputError(
            f"the {what} is {value} at update {self.step + 1}, in clips {clips}. Listen to these clips and read their "
            f"texts, or lower train.lr (now {self._train.lr:g}), which starts anew; the states before are kept."
        )


def _sums(losses: Losses) -> Tensor:
    return torch.cat([losses.talker_sum.detach()[None], losses.codebook_sums.detach()]).double()


def peak_memory(device: torch.device) -> int:
    """Bytes: the most that was allocated on a CUDA device; what the process holds now elsewhere."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return int(psutil.Process().memory_info().rss)
