"""Upstream's training step, restated: sft_12hz.py of QwenLM/Qwen3-TTS 022e286, for its cost, not for its objective.

What it does each step is kept: weights in pure bf16, every parameter in torch's default AdamW, a batch in random order
padded to its longest clip, the speaker encoder run on the reference of every clip, all hidden states returned, both
losses by the library, clipping. Two things differ, because it would not run otherwise: text goes through the projection
(without it the 0.6B shape fails on its widths), and attention is sdpa where flash-attn is not installed.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.shapes import CODE_GROUPS
from pipelines.train.dataset import Example
from voice.upstream import Qwen3TTSSpeakerEncoder, Qwen3TTSSpeakerEncoderConfig

REFERENCE_FRAMES = 470  # mel frames of 5 s at hop 256
SPEAKER_SLOT, PREFIX, IGNORED = 6, 8, -100


class UpstreamTrainer:
    """Talker, speaker encoder and optimiser as upstream has them."""

    def __init__(self, talker: Any, *, device: str, lr: float = 2e-5) -> None:
        self._talker, self._device = talker, device
        with torch.device(device):
            encoder = Qwen3TTSSpeakerEncoder(Qwen3TTSSpeakerEncoderConfig(enc_dim=talker.config.hidden_size))
        self._encoder = encoder.to(next(talker.parameters()).dtype)
        self._parameters = [*talker.parameters(), *self._encoder.parameters()]
        self._optimizer = torch.optim.AdamW(self._parameters, lr=lr, weight_decay=0.01)

    def update(self, batches: Sequence[Sequence[Example]]) -> float:
        """One optimiser step over so many accumulated batches. Returns the loss, which means little."""
        total = 0.0
        for clips in batches:
            loss = self._loss(clips) / len(batches)
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad()
        return total

    def _loss(self, clips: Sequence[Example]) -> Tensor:
        talker, text, codec, codes = self._talker, *self._lay_out(clips)
        mels = torch.zeros(len(clips), REFERENCE_FRAMES, 128, device=self._device, dtype=self._parameters[0].dtype)
        speaker = self._encoder(mels).detach()
        frames = codes[..., 0] >= 0
        inputs = talker.text_projection(talker.get_text_embeddings()(text))
        rows = talker.get_input_embeddings()(codec.clamp(min=0)) * (codec >= 0)[..., None]
        rows[:, SPEAKER_SLOT] = speaker
        inputs = inputs + rows
        for book in range(1, CODE_GROUPS):
            table = talker.code_predictor.get_input_embeddings()[book - 1]
            inputs = inputs + table(codes[..., book].clamp(min=0)) * frames[..., None]
        labels = torch.where(frames | (codec == talker.config.codec_eos_token_id), codec, IGNORED)
        outputs = talker(
            inputs_embeds=inputs[:, :-1], attention_mask=(text >= 0).long()[:, :-1], labels=labels[:, 1:],
            output_hidden_states=True,
        )  # fmt: skip
        hidden = outputs.hidden_states[0][-1][frames[:, :-1]]
        _, predictor = talker.forward_sub_talker_finetune(codes[frames], hidden)
        return outputs.loss + 0.3 * predictor

    def _lay_out(self, clips: Sequence[Example]) -> tuple[Tensor, Tensor, Tensor]:
        longest = max(PREFIX + len(c.text) + 2 + len(c.codes) + 1 for c in clips)
        text = torch.zeros(len(clips), longest, dtype=torch.int64)
        codec = torch.full((len(clips), longest), -1)
        codes = torch.full((len(clips), longest, CODE_GROUPS), -1)
        for row, clip in enumerate(clips):
            start = PREFIX + len(clip.text) + 2
            end = start + len(clip.codes)
            text[row, PREFIX : PREFIX + len(clip.text)] = torch.tensor(clip.text)
            codec[row, 3:start] = self._talker.config.codec_pad_id
            codec[row, start:end] = clip.codes[:, 0]
            codec[row, end] = self._talker.config.codec_eos_token_id
            codes[row, start:end] = clip.codes
        return text.to(self._device), codec.to(self._device), codes.to(self._device)
