"""What a training needs of memory, computed before it starts: weights, gradients, moments, activations, listening."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import psutil
import torch
from torch import Tensor, nn

from pipelines.train.dataset import Batch
from pipelines.train.loss import Objective
from pipelines.train.settings import Optimizer, Train
from voice.engine.engine import POSITIONS
from voice.errors import InputError

MOMENT_BYTES = {Optimizer.adamw: 8.0, Optimizer.adamw_8bit: 2.1}  # two moments a weight; 8-bit with block scales
# What comes on top of what is counted: the backward pass's own tensors and fragmentation, beside the activations; work
# space of kernels. benchmarks/train.py prints the budget beside the peak that was measured.
OVERHEAD, WORK_SPACE = 1.25, 0.5e9
GB = 1e9
LISTENING_SLOTS = 4  # sentences said at a time; at 1.7B each slot's cache takes 0.24 GB in bf16
LORA, EIGHT_BIT = "lora", "adamw_8bit"


@dataclass(frozen=True, slots=True)
class Budget:
    """Bytes on the device that trains."""

    weights: float
    gradients: float
    moments: float
    activations: float
    available: float  # for all of this, the model's own included
    listening: float = 0.0  # between updates, when there are neither gradients nor activations
    frugal: frozenset[str] = frozenset()  # what is done already: LORA, EIGHT_BIT

    @property
    def update(self) -> float:
        """What an update adds to weights and moments."""
        return self.gradients + self.activations * OVERHEAD

    @property
    def total(self) -> float:
        """The peak to expect."""
        return self.weights + self.moments + max(self.update, self.listening) + WORK_SPACE

    def __str__(self) -> str:
        parts = f"weights {self.weights / GB:.2f} + moments {self.moments / GB:.2f} + "
        if self.update >= self.listening:
            parts += f"gradients {self.gradients / GB:.2f} + activations {self.activations * OVERHEAD / GB:.2f}"
        else:
            parts += f"listening {self.listening / GB:.2f}"
        parts += f" + work space {WORK_SPACE / GB:.2f}"
        return f"needs {self.total / GB:.2f} GB of {self.available / GB:.2f} GB ({parts})"

    def require_fit(self) -> None:
        """Raise InputError with what helps if it does not fit."""
        if self.total <= self.available:
            return
        raise InputError(f"the training does not fit: it {self}. {self._remedy()}")

    def _remedy(self) -> str:
        if self.listening > self.update and self.total - self.listening + self.update <= self.available:
            return "Set train.listen=null: then the last weights are kept unheard."
        if self.activations > max(self.gradients + self.moments, self.weights):
            return "Lower train.max_positions, or set train.gradient_checkpointing=auto."
        lighter = self.total - self.moments * (1 - MOMENT_BYTES[Optimizer.adamw_8bit] / MOMENT_BYTES[Optimizer.adamw])
        lora = "" if LORA in self.frugal else "train=lora, "
        if EIGHT_BIT not in self.frugal and lighter < self.available:
            return f"Set train.optimizer=adamw_8bit, or use {lora or 'a smaller model, '}or more memory."
        return f"Use {lora}a smaller model, or a machine with more memory."


def compute_budget(
    talker: nn.Module, train: Train, *, activations: float, listening: float, others: float, available: float
) -> Budget:
    """Add up a talker's training; `others` is what the rest of the model takes."""
    moving = sum(p.numel() for p in talker.parameters() if p.requires_grad)
    held = sum(p.numel() * p.element_size() for p in talker.parameters())
    done = {LORA: train.lora is not None, EIGHT_BIT: train.optimizer is Optimizer.adamw_8bit}
    frugal = frozenset(name for name, is_done in done.items() if is_done)
    moments = MOMENT_BYTES[train.optimizer] * moving
    return Budget(held + others, 4.0 * moving, moments, activations, available, listening, frugal)


def listening_bytes(talker: Any, device: torch.device) -> float:
    """Bytes that the engine takes of its own to let a talker in training speak: its layers' weights, and its cache."""
    width = 2.0 if device.type == "cuda" else 4.0
    shared = ("embedding", "lora_")  # tables are looked up where they are, adapters are merged
    copied = sum(p.numel() for name, p in talker.named_parameters() if not any(part in name for part in shared))
    config = talker.config
    cached = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
    beside = config.hidden_size  # text beside the frames
    return width * (copied + LISTENING_SLOTS * POSITIONS * (cached + beside))


def available_memory(device: torch.device, *, held: float) -> float:
    """Bytes that a training on a device may take, `held` being what its model takes already."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return float(free + cached + held)
    return float(psutil.virtual_memory().available + held)


def model_bytes(model: nn.Module) -> float:
    """Bytes of a module's parameters and buffers."""
    tensors: Iterable[Tensor] = [*model.parameters(), *model.buffers()]
    return float(sum(t.numel() * t.element_size() for t in tensors))


Autocast = Callable[[], AbstractContextManager[None]]


def measure_activations(
    objective: Objective, probes: tuple[Batch, Batch], *, positions: int, autocast: Autocast
) -> tuple[float, float]:
    """Bytes that a forward pass of `positions` padded positions keeps for the backward one: all; with checkpointing.

    Measured, not guessed: two batches of different sizes are run each way, and what autograd saves is counted. Two,
    because under autocast a part does not grow with the batch: the weights' copies in bf16. With gradient checkpointing
    only what stands between layers is kept, and while the backward pass is in a layer, that layer's own.
    """
    talker = objective.talker
    objective.train()
    talker.gradient_checkpointing_disable()
    kept = _grow([_saved_bytes(objective, p, autocast) for p in probes], probes, positions)
    enable_checkpointing(talker)
    between = _grow([_saved_bytes(objective, p, autocast) for p in probes], probes, positions)
    talker.gradient_checkpointing_disable()
    return kept, between + kept * _largest_layer(talker.config, probes[1])


def _grow(sizes: list[float], probes: tuple[Batch, Batch], positions: int) -> float:
    small, large = (p.text.numel() for p in probes)
    slope = (sizes[1] - sizes[0]) / (large - small)
    return sizes[1] + slope * (positions - large)


def enable_checkpointing(talker: Any) -> None:
    """Keep activations only between layers."""
    # not reentrant: with adapters no input of a layer needs a gradient, and the reentrant kind then gives none
    talker.gradient_checkpointing_enable({"use_reentrant": False})


def _largest_layer(config: Any, batch: Batch) -> float:
    # the code predictor runs over all codebooks of each frame: its few layers weigh more than the talker's many
    predictor = config.code_predictor_config
    layer = batch.text.numel() * config.hidden_size
    small = len(batch.predicted) * batch.frames.shape[1] * predictor.hidden_size
    return max(layer, small) / (layer * config.num_hidden_layers + small * predictor.num_hidden_layers)


def _saved_bytes(objective: nn.Module, batch: Batch, autocast: Autocast) -> float:
    parameters = {p.untyped_storage().data_ptr() for p in objective.parameters()}
    seen: dict[int, Tensor] = {}  # kept alive, so that no address is used twice

    def pack(tensor: Tensor) -> Tensor:
        address = tensor.untyped_storage().data_ptr()
        if address not in parameters:
            seen.setdefault(address, tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), autocast():
        objective(batch)
    return float(sum(t.untyped_storage().nbytes() for t in seen.values()))
