"""Codes back to waveforms, whole."""

import numpy as np
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
