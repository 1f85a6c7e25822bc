"""roundtrip: the owner's held-out clips through the speech tokenizer and back: the best that any system could sound.

python -m pipelines.eval.roundtrip voice=demo
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from datasets import Dataset, load_from_disk
from tqdm import tqdm

from pipelines.eval.settings import CODEC
from pipelines.eval.takes import Take, write_takes
from pipelines.eval.texts import HELD_OUT
from pipelines.model import Model
from voice import checkpoint
from voice.audio import Waveform, encode, seconds
from voice.codec import Codec, Codes
from voice.publish import publish
from voice.stage import output_root, stage

log = logging.getLogger(__name__)


@dataclass
class Roundtrip:  # conf/roundtrip.yaml
    """Settings of the stage."""

    voice: str
    model: Model


class Decoder(Protocol):
    """Codes to audio."""

    def decode(self, codes: Codes) -> Waveform:
        """Return 1920 samples a frame."""
        ...


def decode_clips(clips: Dataset, decoder: Decoder, out: Path) -> Iterator[Take]:
    """Decode the clips of an encoded voice."""
    for clip in tqdm(clips, "roundtrip", unit="clip"):
        waveform = decoder.decode(np.array(clip["codes"], np.int16))
        name = f"{clip['id']}.flac"
        (out / name).write_bytes(encode(waveform, container="flac"))
        yield Take(clip["id"], HELD_OUT, "", clip["text"], "", 0, 0, audio=name, seconds=seconds(waveform))


@stage(Roundtrip)
def main(config: Roundtrip) -> None:
    """Decode the held-out clips of one voice."""
    base = checkpoint.resolve(config.model.source, config.model.revision)
    codec = Codec(base.path, device=checkpoint.default_device())
    clips = load_from_disk(Path("data/codes") / config.voice)["eval"]
    with publish(output_root() / "reports" / config.voice / "audio" / CODEC) as draft:
        draft.mkdir()
        takes = list(decode_clips(clips, codec, draft))
        write_takes(draft, takes)
    log.info("%d clips", len(takes))


if __name__ == "__main__":
    main()
