"""The 12.5 Hz speech tokenizer: waveforms to codes (frames, codebooks) and back."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int16

from voice.audio import FRAME_SAMPLES, SAMPLE_RATE, Waveform
from voice.engine.vocoder import StreamingDecoder
from voice.upstream import Qwen3TTSTokenizer

Codes = Int16[np.ndarray, "frames codebooks"]


class Codec:
    """The speech tokenizer of a checkpoint: upstream encodes, the engine's decoder decodes. For one thread."""

    def __init__(self, checkpoint: Path, *, device: str) -> None:
        # float32: encoding happens once, and bf16 would change codes
        folder = str(checkpoint / "speech_tokenizer")
        self._tokenizer = Qwen3TTSTokenizer.from_pretrained(folder, device_map=device, dtype=torch.float32)

    def encode(self, waveforms: Sequence[Waveform]) -> list[Codes]:
        """Encode clips of any lengths. A clip of n samples gives ceil(n / 1920) frames."""
        # One at a time: in a padded batch the encoder's attention sees the padding and codes depend on the neighbours.
        return [self._encode_one(waveform) for waveform in waveforms]

    def _encode_one(self, waveform: Waveform) -> Codes:
        codes = self._tokenizer.encode(waveform, sr=SAMPLE_RATE).audio_codes[0].cpu().numpy()
        frames = -(-len(waveform) // FRAME_SAMPLES)
        if codes.shape[0] != frames:
            raise ValueError(f"the speech tokenizer gave {codes.shape[0]} frames for {frames}")
        return codes.astype(np.int16)

    @torch.inference_mode()
    def decode(self, codes: Codes) -> Waveform:
        """Decode codes; 1920 samples per frame. Upstream would begin anew every 300 frames."""
        self._decoder.reset(0)
        stretches = self._decoder.in_stretches(torch.from_numpy(codes.astype(np.int64)), 0)
        return torch.cat(list(stretches)).cpu().numpy()

    @cached_property
    def _decoder(self) -> StreamingDecoder:
        return StreamingDecoder(self._tokenizer.model.decoder, slots=1)
