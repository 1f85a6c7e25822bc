"""Streaming the codec: any chunking is the whole decode."""

import gc
import weakref
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Tensor, nn

from voice.engine import convolution
from voice.engine.convolution import FEW_STEPS, MANY_INPUTS, CausalConv
from voice.engine.memory import Memory
from voice.engine.vocoder import StreamingDecoder
from voice.upstream import Qwen3TTSTokenizerV2Decoder, Qwen3TTSTokenizerV2DecoderConfig

FRAMES = 85  # longer than the windows


def wide_decoder() -> Any:
    """Random, wider than tiny, with rates, window and head counts that no published model has."""
    config = Qwen3TTSTokenizerV2DecoderConfig(
        codebook_size=512, codebook_dim=64, hidden_size=96, latent_dim=80, num_attention_heads=4, num_key_value_heads=2,
        head_dim=24, intermediate_size=160, num_hidden_layers=3, num_quantizers=12, decoder_dim=96, sliding_window=24,
        upsampling_ratios=[2, 1, 2, 1, 2, 1], upsample_rates=[3, 4, 4, 5], layer_scale_initial_scale=0.5,
    )  # fmt: skip
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        decoder = Qwen3TTSTokenizerV2Decoder._from_config(config).eval()
        for name, parameter in decoder.named_parameters():
            if name.endswith(("embedding_sum", "gamma", "alpha", "beta")):
                nn.init.normal_(parameter, std=0.5)
        last = decoder.decoder[-1].conv
        last.weight.mul_(0.1 / decoder(torch.randint(512, (1, 12, 30))).std())
    return decoder


@pytest.fixture(scope="module", params=["tiny", "wide"])
def decoder(request: pytest.FixtureRequest, tiny: Any) -> Any:
    return tiny.model.speech_tokenizer.model.decoder if request.param == "tiny" else wide_decoder()


def codes_for(decoder: Any, *, seed: int, frames: int = FRAMES) -> Tensor:
    config = decoder.config
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(config.codebook_size, (1, frames, config.num_quantizers), generator=generator)


@torch.no_grad()
def whole(decoder: Any, codes: Tensor) -> Tensor:
    return decoder(codes.transpose(1, 2))[:, 0]


def streamed(streaming: StreamingDecoder, codes: Tensor, sizes: list[int], slot: int = 0) -> Tensor:
    chunks, at = [], 0
    for size in sizes:
        chunks.append(streaming.decode(codes[:, at : at + size], [slot]))
        at += size
    return torch.cat([*chunks, streaming.decode(codes[:, at:], [slot])] if at < codes.shape[1] else chunks, dim=1)


@hypothesis_settings(max_examples=5)
@given(
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=8).filter(lambda s: sum(s) < FRAMES), seed=st.integers(0, 9)
)
def test_any_chunking_is_the_whole_decode(decoder: Any, sizes: list[int], seed: int):
    codes = codes_for(decoder, seed=seed)
    expected = whole(decoder, codes)
    assert expected.std() > 0.01
    heard = streamed(StreamingDecoder(decoder, slots=1), codes, sizes)
    torch.testing.assert_close(heard, expected, atol=1e-5, rtol=0)


def test_frame_by_frame_is_the_whole_decode(decoder: Any):
    codes = codes_for(decoder, seed=0)
    heard = streamed(StreamingDecoder(decoder, slots=1), codes, [1] * FRAMES)
    assert heard.shape[1] == FRAMES * 1_920
    torch.testing.assert_close(heard, whole(decoder, codes), atol=1e-5, rtol=0)


def test_streams_in_other_slots_change_nothing(decoder: Any):
    streaming = StreamingDecoder(decoder, slots=3)
    one, other = codes_for(decoder, seed=1, frames=40), codes_for(decoder, seed=2, frames=40)
    ahead = streaming.decode(one[:, :7], [2])
    both = [streaming.decode(torch.cat([one[:, at + 7 : at + 12], other[:, at : at + 5]]), [2, 0]) for at in (0, 5, 10)]
    torch.testing.assert_close(
        torch.cat([ahead, *(b[:1] for b in both)], 1), whole(decoder, one[:, :22]), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(torch.cat([b[1:] for b in both], 1), whole(decoder, other[:, :15]), atol=1e-5, rtol=0)


def test_a_saved_stream_goes_on_where_it_was_in_any_slot(decoder: Any):
    streaming, codes = StreamingDecoder(decoder, slots=2), codes_for(decoder, seed=3, frames=30)
    begun = streaming.decode(codes[:, :20], [0])
    saved = streaming.save(0)
    streaming.decode(codes[:, :9], [0])
    streaming.decode(codes[:, :9], [1])
    streaming.load(1, saved)
    ended = streaming.decode(codes[:, 20:], [1])
    torch.testing.assert_close(torch.cat([begun, ended], 1), whole(decoder, codes), atol=1e-5, rtol=0)


def test_a_slot_begins_anew_after_reset(decoder: Any):
    streaming, codes = StreamingDecoder(decoder, slots=1), codes_for(decoder, seed=4, frames=10)
    streaming.decode(codes_for(decoder, seed=5, frames=30), [0])
    streaming.reset(0)
    torch.testing.assert_close(streaming.decode(codes, [0]), whole(decoder, codes), atol=1e-5, rtol=0)


def noise_db(decoder: Any, *, seed: int, sizes: list[int]) -> float:
    """How loud what rounding adds is beside the sound."""
    codes = codes_for(decoder, seed=seed)
    expected = whole(decoder, codes)
    rounded = streamed(StreamingDecoder(decoder, slots=1, dtype=torch.bfloat16), codes, sizes)
    assert rounded.dtype == torch.float32
    return float(10 * torch.log10((rounded - expected).square().mean() / expected.square().mean()))


@pytest.mark.parametrize("sizes", [[12] * 7, [1, 2, 4, 8], [1] * FRAMES])
def test_products_in_bfloat16_add_little_noise_for_any_chunking(decoder: Any, sizes: list[int]):
    assert -90 < noise_db(decoder, seed=5, sizes=sizes) < -35


def test_what_the_last_convolution_reads_is_not_rounded(decoder: Any, monkeypatch: pytest.MonkeyPatch):
    streaming, read = StreamingDecoder(decoder, slots=1, dtype=torch.bfloat16), []
    last = streaming._layers[-1]
    assert isinstance(last, CausalConv)
    convolve = CausalConv.__call__

    def listen(conv: CausalConv, x: Tensor, memory: Memory) -> Tensor:
        if conv is last:
            read.append(x)
        return convolve(conv, x, memory)

    monkeypatch.setattr(CausalConv, "__call__", listen)
    streaming.decode(codes_for(decoder, seed=8, frames=4), [0])
    assert read[0].dtype == torch.float32
    assert (read[0] != read[0].bfloat16().float()).float().mean() > 0.9


def test_without_a_compiler_it_is_the_same(decoder: Any, monkeypatch: pytest.MonkeyPatch):
    codes = codes_for(decoder, seed=9, frames=20)
    compiled = [StreamingDecoder(decoder, slots=1, dtype=d).decode(codes, [0]) for d in (torch.float32, torch.bfloat16)]
    monkeypatch.setattr(convolution, "native_snake", lambda: None)
    exact, rounded = (
        StreamingDecoder(decoder, slots=1, dtype=d).decode(codes, [0]) for d in (torch.float32, torch.bfloat16)
    )
    torch.testing.assert_close(exact, whole(decoder, codes), atol=1e-5, rtol=0)
    torch.testing.assert_close(compiled[0], exact, atol=1e-5, rtol=0)
    noise = (compiled[1] - rounded).square().mean() / exact.square().mean()
    assert noise < 10 ** (-35 / 10)


def test_no_rounded_matrix_is_held_twice():
    decoder = wide_decoder()
    streaming = StreamingDecoder(decoder, slots=1, dtype=torch.bfloat16)
    matrices = [
        m
        for m in decoder.modules()
        if isinstance(m, nn.Linear | nn.Conv1d | nn.ConvTranspose1d) and m.weight.shape[1] > 1
    ]
    held = [weakref.ref(m) for m in matrices]
    last = weakref.ref(decoder.decoder[-1].conv)
    del decoder, matrices
    gc.collect()
    assert [ref() for ref in held if ref() is not None] == [last()]
    assert streaming.frame_samples > 0


def test_streams_beside_each_other_are_rounded_alike(decoder: Any):
    streaming = StreamingDecoder(decoder, slots=2, dtype=torch.bfloat16)
    one, other = codes_for(decoder, seed=6, frames=20), codes_for(decoder, seed=7, frames=20)
    both = streaming.decode(torch.cat([one, other]), [0, 1])
    for row, codes in enumerate((one, other)):
        alone = StreamingDecoder(decoder, slots=1, dtype=torch.bfloat16).decode(codes, [0])
        torch.testing.assert_close(both[row : row + 1], alone)


@pytest.mark.parametrize("steps", [1, FEW_STEPS, FEW_STEPS + 1])
def test_a_convolution_of_many_inputs_is_the_librarys(steps: int):
    conv = nn.Conv1d(MANY_INPUTS, 8, kernel_size=7)
    x, memory = torch.randn(2, MANY_INPUTS, steps), Memory([torch.randn(3, MANY_INPUTS, 6)])
    memory.open(slice(0, 2))
    before = memory.take()
    with torch.no_grad():
        y = CausalConv(SimpleNamespace(conv=conv, padding=6))(x, memory)
        torch.testing.assert_close(y, conv(torch.cat([before, x], dim=-1)), atol=1e-5, rtol=1e-5)
