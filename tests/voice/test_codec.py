"""Codes back to waveforms, whole."""

from pathlib import Path

import numpy as np
import pytest
import torch

from voice.audio import FRAME_SAMPLES
from voice.codec import Codec
from voice.engine.vocoder import STRETCH


def test_a_clip_of_any_length_decodes_as_in_one_pass(tiny_folder, tiny):
    """Upstream's own decoding begins anew every 300 frames, after 25 frames of what was before."""
    codec, decoder = Codec(tiny_folder, device="cpu"), tiny.model.speech_tokenizer.model.decoder
    groups, size = decoder.config.num_quantizers, decoder.config.codebook_size
    for frames in (1, STRETCH, STRETCH + 1, 310):
        codes = np.random.default_rng(frames).integers(size, size=(frames, groups)).astype(np.int16)
        with torch.no_grad():
            whole = decoder(torch.from_numpy(codes.astype(np.int64)).T[None])[0, 0].numpy()
        decoded = codec.decode(codes)
        assert decoded.shape == (frames * FRAME_SAMPLES,)
        assert decoded.dtype == np.float32
        np.testing.assert_allclose(decoded, whole, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("tf32", "atol"),
    [(False, 5e-5), (True, 1e-3)],  # PyTorch's own choice is True: rounding on the CPU alike, samples are off by 1.5e-4
    ids=["float32", "tf32"],
)
def test_on_cuda_codes_become_what_they_become_on_the_cpu(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, tf32: bool, atol: float
):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", tf32)
    on_cpu, on_cuda = Codec(tiny_folder, device="cpu"), Codec(tiny_folder, device="cuda:0")
    groups, size = on_cpu._decoder.code_groups, on_cpu._decoder.codebook_size
    assert on_cuda._decoder.device.type == "cuda"
    for frames in (1, STRETCH + 1, 310):
        codes = np.random.default_rng(frames).integers(size, size=(frames, groups)).astype(np.int16)
        expected, decoded = on_cpu.decode(codes), on_cuda.decode(codes)
        assert decoded.dtype == np.float32
        assert np.abs(expected).max() > 0.05  # else silence would do
        np.testing.assert_allclose(decoded, expected, atol=atol, rtol=0)
