from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import load_from_disk

from pipelines.data.encode import encode_clips, medoid_embedding
from voice.audio import write_wav
from voice.codec import Codec
from voice.manifest import Utterance


@pytest.fixture(scope="module")
def codec(tiny_folder: Path) -> Codec:
    return Codec(tiny_folder, device="cpu")


def noise(seed: int, samples: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


@pytest.mark.parametrize("samples", [1_920, 1_921, 30_000])
def test_a_clip_has_one_frame_for_each_1920_samples_begun(codec: Codec, samples: int):
    [codes] = codec.encode([noise(0, samples)])
    assert codes.shape == (-(-samples // 1_920), 4)
    assert codes.dtype == np.int16
    assert len(codec.decode(codes)) == codes.shape[0] * 1_920


def test_codes_of_a_clip_do_not_depend_on_its_neighbours(codec: Codec):
    clips = [noise(0, 9_000), noise(1, 40_000)]
    together = codec.encode(clips)
    for clip, codes in zip(clips, together, strict=True):
        np.testing.assert_array_equal(codec.encode([clip])[0], codes)


def test_an_encoded_dataset_keeps_text_and_codes_and_no_audio(codec: Codec, tmp_path: Path):
    write_wav(tmp_path / "a.wav", noise(0, 24_000))
    dataset = encode_clips([Utterance("a", "Hällo.")], tmp_path, codec, language="de")
    dataset.save_to_disk(tmp_path / "codes")
    [row] = load_from_disk(tmp_path / "codes")
    assert (row["id"], row["text"], row["language"]) == ("a", "Hällo.", "de")
    assert np.array(row["codes"]).shape == (13, 4)
    assert set(row) == {"id", "text", "language", "codes"}


def test_the_medoid_is_a_real_clips_embedding_and_never_the_odd_one():
    class Encoder:
        def extract_speaker_embedding(self, waveform: np.ndarray, rate: int) -> torch.Tensor:
            return torch.tensor(waveform)

    like, odd = (
        [np.array(v, np.float32) for v in ([1, 0, 0], [0.9, 0.1, 0], [1, 0.05, 0])],
        np.array([0, 0, 5], np.float32),
    )
    chosen: Any = medoid_embedding(Encoder(), [odd, *like])
    assert any(np.array_equal(chosen, vector) for vector in like)
