"""nano: what the three trainings left -> one checkpoint that stock `qwen_tts` loads.

python -m pipelines.pretrain.nano                # also while they go on: the newest averages
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipelines.pretrain.codec.checkpoint import export
from pipelines.pretrain.pieces import merges
from pipelines.pretrain.run import read_state
from pipelines.pretrain.speaker.checkpoint import encoder_of, read_speaker
from pipelines.pretrain.weights import save_weights
from voice.engine.sampling import of_checkpoint
from voice.fresh import TalkerShape, base_config, write_config, write_generation_config, write_text_tokenizer
from voice.publish import publish
from voice.stage import stage
from voice.upstream import Qwen3TTSForConditionalGeneration

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Nano:  # conf/nano.yaml
    """Settings of the stage."""

    shape: TalkerShape
    codec: str
    speaker: str
    talker: str
    generation: dict[str, Any]
    out: str


def fresh(
    folder: Path, shape: TalkerShape, speaker_encoder: dict[str, Any], generation: Mapping[str, Any] | None = None
) -> Any:
    """A model with random weights; its text tokenizer and configs are written to `folder`."""
    of_checkpoint(generation)  # refuses what draws nothing
    vocabulary, ids = write_text_tokenizer(folder, merges())
    config = base_config(shape, speaker_encoder, text_vocabulary=vocabulary, ids=ids)
    write_config(config.to_dict(), folder)
    write_generation_config(folder, generation)
    return Qwen3TTSForConditionalGeneration(config)


def assemble(config: Nano, folder: Path) -> None:
    """Write the whole checkpoint. Weights are stored in 16 bits: bfloat16, as published, for all but the codec."""
    folder.mkdir(parents=True)
    speaker = read_speaker(Path(config.speaker))
    encoder, settings = encoder_of(speaker)
    model = fresh(folder, config.shape, settings, config.generation)
    talker = read_state(Path(config.talker), command="python -m pipelines.pretrain.talker")
    model.talker.load_state_dict(talker["average"], strict=True)
    model.speaker_encoder.load_state_dict(encoder.state_dict())
    tensors = {name: t.detach().to(torch.bfloat16).contiguous().clone() for name, t in model.state_dict().items()}
    save_weights(tensors, folder, talker=talker["step"], speaker=speaker["step"])
    export(read_state(Path(config.codec), command="python -m pipelines.pretrain.codec"), folder / "speech_tokenizer")


@stage(Nano)
def main(config: Nano) -> None:
    """Put the checkpoint together."""
    with publish(Path(config.out)) as draft:
        assemble(config, draft)
    size = sum(path.stat().st_size for path in Path(config.out).rglob("*") if path.is_file())
    log.info("%s: %.1f MB", config.out, size / 1e6)


if __name__ == "__main__":
    main()
