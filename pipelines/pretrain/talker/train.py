"""The talker in training: the trainer's objective, helped at first to find the place in the text."""

from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pipelines.pretrain import average
from pipelines.pretrain.device import Device
from pipelines.pretrain.run import Log, Pace, Row
from pipelines.pretrain.sounds import Sounds, embeddings
from pipelines.pretrain.talker.data import SILENT, Draws, HeldOut, Mixture, Taught
from pipelines.train.history import retold
from pipelines.train.loss import Losses, Objective
from voice.bounds import within


@dataclass(kw_only=True)
class Schedule(Pace, Log):  # conf/talker.yaml
    """How long, how fast and on what it learns."""

    weight_decay: float = within(low=0)
    clip_norm: float = within(above=0)
    average_decay: float = within(low=0, high=1)
    positions: int = within(low=1)  # of a step, padding included
    candidates: int = within(low=1)  # of which those of about the same length become a batch
    predictor: float = within(low=0)
    guidance: float = within(low=0)
    guided_steps: int = within(low=1)
    first_frames: int = within(low=1)  # of the longest example at first,
    added_frames: float = within(low=0)  # and how many more at each step: in short ones the place is easily found
    mixture: Mixture
    own_temperature: float = within(above=0)  # at which what it says itself is drawn
    seed: int

    def with_larger_batches(self, factor: int) -> Self:
        """As much to learn from in fewer steps; what remembers steps remembers as much speech."""
        shorter = super().with_larger_batches(factor)
        return replace(
            shorter,
            positions=self.positions * factor,
            candidates=self.candidates * factor,
            guided_steps=-(-self.guided_steps // factor),
            added_frames=self.added_frames * factor,
            average_decay=self.average_decay**factor,
        )


LAYER, HEADS = 2, 2  # which attention is shown the place: the layers before it may count, those after it may read
FRAME_RMS = 0.3  # of all codes of a frame together, at first; texts are smaller
SPREAD = 1.0  # tokens: what comes next is worth a look, too


class GuidedObjective(nn.Module):
    """The objective, and how far some heads' attention is from the text that is being spoken.

    To speak a text, attention has to find the place in it. Left alone, a small model does not discover that there is
    one; some heads are shown, and let go later (as in arXiv:1710.08969, but where speech really is).
    """

    def __init__(self, talker: Any) -> None:
        super().__init__()
        self.objective = Objective(talker)
        self._weights: list[Tensor] = []
        talker.model.layers[min(LAYER, len(talker.model.layers) - 1)].self_attn.register_forward_hook(self._keep)

    def _keep(self, _module: nn.Module, _inputs: Any, outputs: tuple[Tensor, Tensor]) -> None:
        self._weights = [outputs[1][:, :HEADS]]

    def forward(self, taught: Taught) -> tuple[Losses, Tensor]:
        """Losses, and the mean of -log(attention near the text that is spoken) over frames."""
        losses = self.objective(taught.batch, history=taught.history)
        return losses, self.distance(taught, self._weights.pop())

    def distance(self, taught: Taught, weights: Float[Tensor, "B heads S S"]) -> Float[Tensor, ""]:
        """How far attention is from the text that is spoken, in nats."""
        length = weights.shape[-1]
        before = taught.batch.frames_at % length - 1  # the position that a frame is predicted from
        known = (taught.place != SILENT) & (taught.place <= before)  # text beside the frames may not have come yet
        row, place, before = taught.row[known], taught.place[known], before[known]
        looks = weights[row, :, before].float()  # (frames, heads, S)
        away = torch.arange(length, device=place.device) - place[:, None]
        near = torch.exp(-0.5 * (away / SPREAD).square())
        return -torch.log((looks * near[:, None]).sum(dim=-1) + 1e-6).mean()


@torch.no_grad()
def initialise(talker: Any) -> None:
    """Weights that keep the power of what goes through; the library's N(0, 0.02) is for wide layers."""
    depth = {
        "model": talker.config.num_hidden_layers,
        "code_predictor": talker.config.code_predictor_config.num_hidden_layers,
    }
    for name, module in talker.named_modules():
        if isinstance(module, nn.Linear):
            std = module.in_features**-0.5
            if name.endswith(("o_proj", "down_proj")):  # they add to the residual stream
                std *= (2 * depth[name.partition(".")[0]]) ** -0.5
            if "head" in name:
                std *= 0.5
            nn.init.normal_(module.weight, std=std)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.05)


@torch.no_grad()
def embed_as_they_sound(talker: Any, sounds: Sounds) -> None:
    """Start the embeddings of codes from what the codes sound like."""
    tables = [talker.get_input_embeddings(), *talker.code_predictor.get_input_embeddings()]
    rows = embeddings(sounds, width=talker.config.hidden_size, frame_rms=FRAME_RMS)
    for table, embedding in zip(tables, rows, strict=True):
        table.weight[: len(embedding)] = embedding


class Trainer:
    """A talker in training."""

    def __init__(self, talker: Any, draws: Draws, held_out: HeldOut, schedule: Schedule, device: Device) -> None:
        self.draws, self.schedule, self.device = draws, schedule, device
        self._held_out = HeldOut(held_out.right.to(device.name), held_out.other.to(device.name))
        self.guided = GuidedObjective(talker).to(device.name)
        self.talker = talker
        self.step, self.seconds = 0, 0.0
        named = dict(self.guided.named_parameters())
        decays = {name: p.ndim > 1 and "embedding" not in name for name, p in named.items()}
        groups = [
            {"params": [p for n, p in named.items() if decays[n]], "weight_decay": schedule.weight_decay},
            {"params": [p for n, p in named.items() if not decays[n]], "weight_decay": 0.0},
        ]
        self._optimizer = torch.optim.AdamW(groups, lr=schedule.lr, betas=(0.9, 0.98), fused=True)
        self._since = 0  # the step at which it began
        self.average = average.weights(talker)

    @property
    def steps(self) -> int:
        """When it is done."""
        return self.schedule.steps

    def take_step(self) -> Row:
        """Learn from one batch."""
        schedule = self.schedule
        for group in self._optimizer.param_groups:
            group["lr"] = self.learning_rate()
        taught = self.draws.draw(
            self.step, positions=schedule.positions, candidates=schedule.candidates, longest=self.longest()
        )
        taught = taught.to(self.device.name)
        self.guided.train()
        with self.device.autocasting():
            losses, place = self.guided(self._retold(taught, self.step) if taught.own else taught)
        total = losses.talker + schedule.predictor * losses.predictor
        (total + self.guidance() * place).backward()
        norm = nn.utils.clip_grad_norm_(self.guided.parameters(), schedule.clip_norm)
        if norm.isfinite():
            self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        average.follow(self.average, self.talker, step=self.step, decay=schedule.average_decay)
        self.step += 1
        values = {"loss": total, "talker": losses.talker, "predictor": losses.predictor, "place": place}
        row = {name: float(value.detach()) for name, value in values.items()}
        return {**row, "gradient_norm": float(norm), "frames": float(losses.targets)}

    def learning_rate(self) -> float:
        """The rate of the next step."""
        return self.schedule.learning_rate(self.step, since=self._since)

    def guidance(self) -> float:
        """The weight of attention that is shown its place: a straight line down to nothing."""
        return self.schedule.guidance * max(0.0, 1 - self.step / self.schedule.guided_steps)

    def longest(self) -> float:
        """Frames of the longest example."""
        return self.schedule.first_frames + self.schedule.added_frames * self.step

    def _retold(self, taught: Taught, number: int) -> Taught:
        generator = torch.Generator().manual_seed(self.schedule.seed + number)
        dice = torch.rand(taught.batch.frames.shape, generator=generator).to(self.device.name)
        temperature = self.schedule.own_temperature
        history = retold(
            self.guided.objective, taught.batch, taught.since, temperature=temperature, later=temperature, dice=dice
        )
        return replace(taught, history=history)

    @torch.no_grad()
    def notes(self) -> Row:
        """The rate of the next step, and the talker's loss on held-out clips.

        With their texts, with others', and where it is told its own later codebooks as what it has said.
        """
        self.guided.eval()
        right, other = self._held_out.right, self._held_out.other
        with self.device.autocasting():
            own = self._retold(replace(right, since=torch.ones_like(right.since)), 0)
            told = {"held_out": right, "other_text": other, "own_history": own}
            losses = {name: float(self.guided(taught)[0].talker) for name, taught in told.items()}
        return {"lr": self.learning_rate(), **losses}

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on. Batches are functions of the step's number."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "guided": self.guided.state_dict(),
            "average": self.average,
            "since": self._since,
            "optimizer": self._optimizer.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state()`."""
        self.guided.load_state_dict(state["guided"])
        average.restore(self.average, state["average"])
        if state["optimizer"]:
            self._optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds, self._since = state["step"], state["seconds"], state.get("since", 0)
