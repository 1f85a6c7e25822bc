"""Widths of a `nano` that is trained in a second."""

from pipelines.pretrain.speaker.train import Shape as SpeakerShape
from tests.pipelines.pretrain import test_codec
from voice.fresh import StackShape, TalkerShape

TEXTS = ("One.", "And two.", "Three of them.", "Four.")
TALKER_SHAPE = TalkerShape(
    codebooks=3, codebook_size=16, text_hidden=24,
    talker=StackShape(hidden=32, intermediate=48, layers=2, heads=2, kv_heads=1, head_dim=16),
    predictor=StackShape(hidden=24, intermediate=32, layers=1, heads=2, kv_heads=1, head_dim=8),
)  # fmt: skip
SPEAKER_SHAPE = SpeakerShape(
    dimensions=TALKER_SHAPE.talker.hidden, channels=16, attention_channels=8, squeeze_channels=8, scale=4
)
CODEC_SHAPE = test_codec.SHAPE
