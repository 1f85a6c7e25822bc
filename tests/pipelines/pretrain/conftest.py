"""What the later trainings start from."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.pretrain import material
from pipelines.pretrain.aligner.align import even_bounds
from pipelines.pretrain.codec.data import Crops, Letters
from pipelines.pretrain.corpus import Clip, Shard, read_side
from pipelines.pretrain.run import fit, save
from pipelines.pretrain.speaker.data import Voices
from pipelines.pretrain.speaker.train import Trainer as SpeakerTrainer
from tests.pipelines.pretrain import test_codec, test_speaker
from tests.pipelines.pretrain.shapes import SPEAKER_SHAPE, TEXTS
from tests.sounds import silence, spoken_by
from voice.audio import to_pcm16


def crops_of(work: Path) -> Crops:
    """What a codec learns from."""
    [shard] = read_side(work / "corpus", "train")
    letters = Letters(shard, [even_bounds(1, 8, len(clip.text)) for clip in shard.clips])
    return Crops([(1.0, [(shard, letters)])], seed=0)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus, a codec and a speaker encoder, all hardly trained, and the material that they make."""
    folder = tmp_path_factory.mktemp("pretrain")
    clips, parts, start = [], [], 0
    for speaker, formants in test_speaker.FORMANTS.items():
        for number, text in enumerate(TEXTS):
            speech = spoken_by(formants, seed=number, seconds=0.5 + 0.2 * number)
            part = to_pcm16(np.concatenate([silence(0.1), speech]))
            clips.append(Clip(f"{speaker}{number}", speaker, start, len(part), text))
            parts.append(part)
            start += len(part)
    shard = Shard(folder / "corpus" / "train-0000", tuple(clips))
    shard.folder.parent.mkdir()
    shard.write(np.concatenate(parts))
    codec = test_codec.trainer(crops_of(folder))
    fit(codec, folder / "codec", test_codec.SCHEDULE)
    speaker = SpeakerTrainer(SPEAKER_SHAPE, Voices([shard], seed=0), test_speaker.SCHEDULE)
    speaker.take_step()
    save(speaker, folder / "speaker")
    with_codes = material.Material(
        corpus=str(folder / "corpus"), codec=str(folder / "codec"), speaker=str(folder / "speaker"),
        recordings=None, sides=["train"], out=str(folder / "material"), processes=1,
    )  # fmt: skip
    list(material.encode_corpus(with_codes))
    return folder
