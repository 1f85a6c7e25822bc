"""encode: clips -> codes (frames, codebooks) in an Arrow dataset, and the voice's speaker embedding.

python -m pipelines.data.encode voice=demo model=qwen3_tts_0_6b
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset, DatasetDict, Features, List, Value, disable_progress_bars
from safetensors.numpy import save_file
from tqdm import tqdm

from pipelines.model import Model
from voice import checkpoint
from voice.audio import SAMPLE_RATE, Waveform, read_waveform
from voice.codec import Codec
from voice.manifest import Utterance, read_metadata
from voice.publish import publish
from voice.stage import output_root, stage
from voice.text import language_name

log = logging.getLogger(__name__)

SPEAKER_FILE = "speaker.safetensors"
# no audio column: `datasets` would need torchcodec for it
FEATURES = Features(
    {"id": Value("string"), "text": Value("string"), "language": Value("string"), "codes": List(List(Value("int16")))}
)


@dataclass
class Encode:  # conf/encode.yaml
    """Settings of the stage."""

    voice: str
    language: str
    model: Model


def encode_clips(utterances: list[Utterance], wavs: Path, codec: Codec, *, language: str) -> Dataset:
    """Encode the clips of a manifest."""

    def rows() -> Iterator[dict[str, Any]]:
        for utterance in tqdm(utterances, "encode", unit="clip"):
            [codes] = codec.encode([read_waveform(wavs / f"{utterance.id}.wav")])
            yield {"id": utterance.id, "text": utterance.text, "language": language, "codes": codes.tolist()}

    return Dataset.from_list(list(rows()), features=FEATURES)


def medoid_embedding(model: Any, waveforms: list[Waveform]) -> np.ndarray:
    """The embedding of the clip closest to all others: a real one, unlike a mean, and no odd clip can be it.

    `model` is a base Qwen3-TTS in float32: in bf16 the encoder's pooling loses digits.
    """
    embeddings = torch.stack([model.extract_speaker_embedding(w, SAMPLE_RATE).float() for w in waveforms])
    directions = torch.nn.functional.normalize(embeddings, dim=1)
    return embeddings[(directions @ directions.T).sum(dim=1).argmax()].cpu().numpy()


@stage(Encode)
def main(config: Encode) -> None:
    """Encode one voice with one model's codec and speaker encoder."""
    processed = Path("data/processed") / config.voice
    disable_progress_bars()  # ours is enough
    language_name(config.language)  # refuse a wrong code before the work
    device = checkpoint.default_device()
    base = checkpoint.resolve(config.model.source, config.model.revision)
    model = checkpoint.load(base.path, device=device, dtype=torch.float32, cloning=True).model
    codec = Codec(base.path, device=device)
    train = read_metadata(processed / "metadata_train.csv")
    held_out = read_metadata(processed / "metadata_eval.csv")
    sides = DatasetDict(
        {
            "train": encode_clips(train, processed / "wavs", codec, language=config.language),
            "eval": encode_clips(held_out, processed / "wavs", codec, language=config.language),
        }
    )
    embedding = medoid_embedding(model, [read_waveform(processed / "wavs" / f"{u.id}.wav") for u in train])
    with publish(output_root() / "data/codes" / config.voice) as draft:
        sides.save_to_disk(draft)
        save_file({"speaker_embedding": embedding}, draft / SPEAKER_FILE)
    frames = sum(len(codes) for side in sides.values() for codes in side["codes"])
    log.info("%d clips, %d frames", sum(len(side) for side in sides.values()), frames)


if __name__ == "__main__":
    main()
