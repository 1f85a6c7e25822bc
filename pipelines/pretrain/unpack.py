"""unpack: a checkpoint of `nano` -> the states of its trainings, so that they can go on without those that made it.

    python -m pipelines.pretrain.unpack checkpoint=pretrained/nano

Averages become the weights, and the optimisers begin anew, with a warm-up; a training that has a state keeps it. Corpus
and aligner are to be made again, and `material`, whose codes are those of the checkpoint. Then the talker goes on, and
the codec with its sound or, given what the talker makes of the codes, its last phase: once features are done, codes
stay.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from pipelines.pretrain import average
from pipelines.pretrain.codec.model import Shape as CodecShape
from pipelines.pretrain.codec.model import TrainableCodec
from pipelines.pretrain.run import STATE_FILE
from pipelines.pretrain.speaker.checkpoint import LENGTH
from pipelines.pretrain.speaker.train import Shape as SpeakerShape
from pipelines.pretrain.speaker.train import build
from pipelines.pretrain.weights import WEIGHTS_FILE, step_of
from voice.checkpoint import require_checkpoint
from voice.errors import InputError
from voice.publish import publish
from voice.stage import stage

log = logging.getLogger(__name__)

State = dict[str, Any]


@dataclass(kw_only=True)
class Unpack:  # conf/unpack.yaml
    """Settings of the stage."""

    checkpoint: str
    codec: CodecShape
    speaker: SpeakerShape
    out: str


def codec_state(folder: Path, shape: CodecShape) -> State:
    """Of `pipelines.pretrain.codec`, from a `speech_tokenizer` folder."""
    torch.manual_seed(0)  # of what tells spectra and the like, which a checkpoint does not hold
    codec = TrainableCodec(shape, decay=0.0, revive_below=0.0)
    with _named("codec"):
        codec.read(folder)
    return {
        **_fresh(step_of(folder, "codec")),
        "codec": codec.state_dict(),
        "average": average.weights(codec.stock),
        "rng": torch.get_rng_state(),
        "cuda_rng": None,
        "shape": asdict(shape),
    }


def speaker_state(tensors: dict[str, torch.Tensor], shape: SpeakerShape, *, step: int) -> State:
    """Of `pipelines.pretrain.speaker`."""
    encoder = _part(tensors, "speaker_encoder.")
    with _named("speaker"):
        build(shape).load_state_dict(encoder)
    for name in encoder:
        if name.startswith("fc."):
            encoder[name] = encoder[name] / LENGTH
    return {**_fresh(step), "encoder": encoder, "shape": asdict(shape)}


def talker_state(tensors: dict[str, torch.Tensor], *, step: int) -> State:
    """Of `pipelines.pretrain.talker`."""
    weights = _part(tensors, "talker.")
    guided = {f"objective.talker.{name}": tensor for name, tensor in weights.items()}
    return {**_fresh(step), "guided": guided, "average": weights}


def _fresh(step: int) -> State:
    return {"step": step, "seconds": 0.0, "since": step, "optimizer": None}


@contextmanager
def _named(part: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise InputError(
            f"the checkpoint's {part} has other widths than conf/nano/{part}.yaml. Set those it was made with."
        ) from error


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): t.float() for name, t in tensors.items() if name.startswith(prefix)}


def unpack(config: Unpack) -> None:
    """Write the states that are not there yet."""
    folder = require_checkpoint(Path(config.checkpoint))
    tensors = load_file(folder / WEIGHTS_FILE)
    states = {
        "codec": codec_state(folder / "speech_tokenizer", config.codec),
        "speaker": speaker_state(tensors, config.speaker, step=step_of(folder, "speaker")),
        "talker": talker_state(tensors, step=step_of(folder, "talker")),
    }
    for name, state in states.items():
        path = Path(config.out) / name / STATE_FILE
        if path.is_file():
            log.info("%s stays as it is", path)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        with publish(path) as draft:
            torch.save(state, draft)
        log.info("%s: step %d", path, state["step"])


@stage(Unpack)
def main(config: Unpack) -> None:
    """Take a checkpoint apart."""
    unpack(config)


if __name__ == "__main__":
    main()
