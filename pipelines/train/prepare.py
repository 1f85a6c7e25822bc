"""From settings and files to a model that is ready to be trained."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from datasets import load_from_disk
from peft import PeftModel
from safetensors.torch import load_file

from pipelines.data.encode import SPEAKER_FILE
from pipelines.model import Model
from pipelines.train.budget import (
    Budget,
    available_memory,
    compute_budget,
    enable_checkpointing,
    listening_bytes,
    measure_activations,
    model_bytes,
)
from pipelines.train.dataset import read_examples, require_room
from pipelines.train.lora import add_adapters
from pipelines.train.parts import set_trainable
from pipelines.train.settings import Checkpointing, Train
from pipelines.train.speakers import add_speaker, speaker_name
from pipelines.train.trainer import Material, Own, Trainer
from voice import checkpoint
from voice.engine.sampling import drawings, of_checkpoint
from voice.errors import InputError
from voice.prompt import Vocabulary
from voice.upstream import Qwen3TTSModel

log = logging.getLogger(__name__)

FEWEST_CLIPS = 2


@dataclass(frozen=True, slots=True)
class Prepared:
    """A model with the new speaker in it, and what trains it."""

    base: checkpoint.Checkpoint
    tts: Qwen3TTSModel
    adapted: PeftModel | None
    material: Material
    trainer: Trainer
    train: Train
    speaker: str


def prepare(voice: str, model: Model, train: Train, codes: Path, accelerator: Accelerator) -> Prepared:
    """Load base and codes, add the speaker, freeze what does not move. Raises InputError for what cannot be trained."""
    if not model.stock:
        train = replace(train, max_first_loss=None)
    train = replace(train, lr=train.lr * model.lr_scale, epochs=train.epochs * model.epochs_scale)
    speaker = speaker_name(voice)
    if not codes.is_dir():
        raise InputError(f"{codes} is missing. Run `dvc repro encode`.")
    with accelerator.main_process_first():  # one fetches or makes it, the others find it
        base = checkpoint.resolve(model.source, model.revision)
    device = accelerator.device
    frozen = checkpoint.stored_dtype(base.path) if device.type == "cuda" else torch.float32
    # float32 master weights: in pure bf16 most updates at these rates round to nothing. With adapters the base does not
    # move, so it need not fit in float32.
    dtype = frozen if train.lora else torch.float32
    _require_loadable(base.path, device, dtype)
    tts = checkpoint.load(base.path, device=str(device), dtype=dtype)
    talker = tts.model.talker
    material = _read_material(codes, tts)
    clips = [*material.train, *material.held_out]
    require_room(clips, limit=talker.config.max_position_embeddings, setting="the model's limit")
    require_room(clips, limit=train.max_positions, setting="train.max_positions")
    add_speaker(tts.model, speaker, material.speaker_embedding)
    torch.manual_seed(train.seed)  # of the adapters' first weights
    adapted = add_adapters(talker, train.lora) if train.lora else None
    set_trainable(talker, train.rates, train.lora, frozen_dtype=frozen)
    first, later = drawings(of_checkpoint(tts.model.generate_config))
    own = Own(model.own_history, first.temperature, later.temperature) if model.own_history else None
    trainer = Trainer(talker, material, train, accelerator, own=own)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)  # loading is no part of the curve
    return Prepared(base, tts, adapted, material, trainer, train, speaker)


def _require_loadable(folder: Path, device: torch.device, dtype: torch.dtype) -> None:
    needed = float(dtype.itemsize * checkpoint.parameter_count(folder))
    available, name = available_memory(device, held=0.0), str(dtype).removeprefix("torch.")
    if needed > available:
        raise InputError(
            f"{folder.name} takes {needed / 1e9:.1f} GB in {name}, {available / 1e9:.1f} GB are free. Use a smaller "
            "model in params.yaml, or a machine with more memory."
        )


def _read_material(codes: Path, tts: Qwen3TTSModel) -> Material:
    vocabulary = Vocabulary.of(tts.model.config)
    sides = load_from_disk(codes)
    size = tts.model.talker.config.code_predictor_config.vocab_size
    train, held_out = (
        read_examples(sides[name], tts.processor.tokenizer, vocabulary, codebook_size=size)
        for name in ("train", "eval")
    )
    if len(train) < FEWEST_CLIPS or not held_out:
        raise InputError(
            f"{codes}: {len(train)} clips to train on and {len(held_out)} held out; a voice needs at least "
            f"{FEWEST_CLIPS} and 1, a good one 100. Record more sentences: `make record`."
        )
    return Material(train, held_out, vocabulary, load_file(codes / SPEAKER_FILE)["speaker_embedding"])


def fit_memory(prepared: Prepared, accelerator: Accelerator) -> Budget:
    """Compute the budget and decide on gradient checkpointing. The caller asks the budget whether it fits."""
    trainer, train, talker = prepared.trainer, prepared.train, prepared.tts.model.talker
    small, large = (probe.to(accelerator.device) for probe in trainer.probes())
    kept, checkpointed = measure_activations(
        trainer.objective, (small, large), positions=trainer.largest_forward(), autocast=accelerator.autocast
    )
    held = _whole_bytes(prepared.tts)
    available = available_memory(accelerator.device, held=held)
    listening = listening_bytes(talker, accelerator.device) if train.listen else 0.0

    def budget(activations: float) -> Budget:
        others = held - model_bytes(talker)
        return compute_budget(
            talker, train, activations=activations, listening=listening, others=others, available=available
        )

    plain = budget(kept)
    match train.gradient_checkpointing:
        case Checkpointing.never:
            return plain
        case Checkpointing.auto if plain.total <= available:
            return plain
        case _:
            enable_checkpointing(talker)
            return budget(checkpointed)


def _whole_bytes(tts: Any) -> float:
    return model_bytes(tts.model) + model_bytes(tts.model.speech_tokenizer.model)
