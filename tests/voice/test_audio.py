from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from voice.audio import (
    SAMPLE_RATE,
    encode,
    from_pcm16,
    join,
    read_channels,
    read_waveform,
    resample,
    to_pcm16,
    write_wav,
)
from voice.errors import InputError

waveforms = arrays(np.float32, st.integers(1, 500), elements=st.floats(-1, 1, width=32))


def tone(rate: int, *, seconds: float = 1.0, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


@given(waveforms)
def test_pcm16_round_trip_is_within_one_quantisation_step(waveform: np.ndarray):
    np.testing.assert_allclose(from_pcm16(to_pcm16(waveform)), waveform, atol=1 / 32_767)


def test_waveforms_are_joined_with_silence_between_and_nothing_around():
    one, other = np.full(3, 0.5, np.float32), np.full(2, -0.5, np.float32)
    joined = join([one, other], pause_seconds=2 / SAMPLE_RATE)
    np.testing.assert_array_equal(joined, np.float32([0.5, 0.5, 0.5, 0, 0, -0.5, -0.5]))
    assert joined.dtype == np.float32
    np.testing.assert_array_equal(join([one], pause_seconds=1.0), one)


@given(arrays(np.float32, 20, elements=st.floats(-8, 8, width=32)))
def test_what_is_over_full_scale_is_clipped_and_never_wraps(waveform: np.ndarray):
    assert (np.sign(to_pcm16(waveform)) * np.sign(waveform) >= 0).all()


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000, 96_000])
def test_a_tone_keeps_its_pitch_and_level_at_24_khz(rate: int):
    waveform = resample(tone(rate), from_rate=rate)
    assert abs(len(waveform) - SAMPLE_RATE) <= 1
    np.testing.assert_allclose(waveform[2_000:-2_000], tone(SAMPLE_RATE)[2_000 : len(waveform) - 2_000], atol=2e-3)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_stereo_of_any_libsndfile_format_becomes_24_khz_mono(tmp_path: Path, suffix: str):
    stereo = np.stack([tone(44_100), tone(44_100)], axis=1)
    soundfile.write(tmp_path / f"a.{suffix}", stereo, 44_100)
    waveform = read_waveform(tmp_path / f"a.{suffix}")
    assert waveform.ndim == 1
    assert abs(len(waveform) / SAMPLE_RATE - 1.0) < 0.06
    assert abs(np.abs(waveform[6_000:18_000]).max() - 0.5) < 0.05


@pytest.mark.parametrize(("suffix", "codec"), [("m4a", "aac"), ("webm", "libopus")])
def test_formats_of_phones_and_browsers_are_decoded_without_a_system_package(tmp_path: Path, suffix: str, codec: str):
    path = tmp_path / f"a.{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=48_000, layout="mono")
        for start in range(0, 48_000, 960):
            block = tone(48_000)[None, start : start + 960]
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
            frame.rate, frame.pts = 48_000, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    channels, rate = read_channels(path)
    assert (rate, channels.shape[1]) == (48_000, 1)
    assert abs(len(channels) / rate - 1.0) < 0.1
    assert abs(np.abs(channels[12_000:36_000]).max() - 0.5) < 0.05


@pytest.mark.parametrize("content", [b"", b"not audio at all", b"RIFF\x00\x00"])
def test_what_is_no_audio_is_refused_by_name(tmp_path: Path, content: bytes):
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.wav"):
        read_channels(tmp_path / "a.wav")


def test_nan_samples_are_refused(tmp_path: Path):
    soundfile.write(tmp_path / "a.wav", np.full(100, np.nan, np.float32), 24_000, subtype="FLOAT")
    with pytest.raises(InputError, match="NaN"):
        read_channels(tmp_path / "a.wav")


def test_a_written_wav_is_24_khz_mono_16_bit(tmp_path: Path):
    write_wav(tmp_path / "a.wav", tone(SAMPLE_RATE))
    info = soundfile.info(tmp_path / "a.wav")
    assert (info.samplerate, info.channels, info.subtype) == (24_000, 1, "PCM_16")


def test_flac_in_memory_holds_the_same_samples(tmp_path: Path):
    waveform = tone(SAMPLE_RATE)
    (tmp_path / "a.flac").write_bytes(encode(waveform, container="flac"))
    read, _ = soundfile.read(tmp_path / "a.flac", dtype="int16")
    np.testing.assert_array_equal(read, to_pcm16(waveform))
