import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipelines.data.preprocess import Recipe, find_recordings, level, preprocess, reduce_noise, trim_silence
from pipelines.data.quality import loudness, signal_to_noise
from voice.audio import SAMPLE_RATE
from voice.errors import InputError

RECIPE = Recipe(
    noise_reduction=0.0, trim_below_db=35.0, keep_margin_seconds=0.1, target_lufs=-23.0, peak_limit_dbfs=-1.0,
    min_seconds=0.5, max_seconds=10.0, max_clipped_share=0.01,
)  # fmt: skip


def speechlike(seconds: float, *, rate: int = SAMPLE_RATE, level: float = 0.1) -> np.ndarray:
    """Harmonics of 120 Hz that swell four times a second: loud and quiet frames, as in speech."""
    t = np.arange(int(seconds * rate)) / rate
    voiced = sum(np.sin(2 * np.pi * 120 * k * t) / k for k in range(1, 20))
    return (level * voiced * (0.55 + 0.45 * np.sin(2 * np.pi * 4 * t))).astype(np.float32)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(int(seconds * SAMPLE_RATE), np.float32)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    (tmp_path / "raw/wavs").mkdir(parents=True)
    return tmp_path / "raw"


def record(raw: Path, name: str, samples: np.ndarray, rate: int = SAMPLE_RATE) -> None:
    soundfile.write(raw / "wavs" / name, samples, rate)
    with (raw / "metadata.csv").open("a") as file:
        file.write(f"{Path(name).stem}|Some words.\n")


def rows(out: Path) -> dict[str, dict[str, str]]:
    with (out / "quality.csv").open() as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def test_edges_are_trimmed_to_the_margin():
    waveform = np.concatenate([silence(1.0), speechlike(1.0), silence(2.0)])
    trimmed = trim_silence(waveform, below_db=35.0, margin_seconds=0.1)
    assert len(trimmed) / SAMPLE_RATE == pytest.approx(1.2, abs=0.06)


@pytest.mark.parametrize("gain", [0.02, 0.3, 1.0])
def test_every_clip_comes_out_at_the_same_loudness(gain: float):
    levelled = level(speechlike(2.0) * gain, target_lufs=-23.0, peak_limit_dbfs=-1.0)
    assert loudness(levelled) == pytest.approx(-23.0, abs=0.1)


def test_a_peaky_clip_stays_below_the_limit_instead_of_clipping():
    clip = speechlike(2.0) * 0.01
    clip[1000] = 1.0
    assert np.abs(level(clip, target_lufs=-10.0, peak_limit_dbfs=-1.0)).max() == pytest.approx(
        10 ** (-1 / 20), abs=1e-4
    )


def test_noise_reduction_is_off_at_zero_and_raises_snr_above():
    noisy = speechlike(3.0) + 0.01 * np.random.default_rng(0).standard_normal(3 * SAMPLE_RATE).astype(np.float32)
    noisy[: SAMPLE_RATE // 2] *= 0.1
    np.testing.assert_array_equal(reduce_noise(noisy, strength=0.0), noisy)
    assert signal_to_noise(reduce_noise(noisy, strength=0.8)) > signal_to_noise(noisy)


def test_any_rate_and_channels_become_24_khz_mono_16_bit_clips(raw: Path, tmp_path: Path):
    stereo = np.stack([speechlike(1.5, rate=44_100), 0.7 * speechlike(1.5, rate=44_100)], axis=1)
    record(raw, "a.wav", stereo, 44_100)
    record(raw, "b.flac", speechlike(1.0, rate=16_000), 16_000)
    preprocess(raw, tmp_path / "out", RECIPE)
    for name, seconds in (("a", 1.5), ("b", 1.0)):
        info = soundfile.info(tmp_path / f"out/wavs/{name}.wav")
        assert (info.samplerate, info.channels, info.subtype) == (24_000, 1, "PCM_16")
        assert info.duration == pytest.approx(seconds, abs=0.1)


def test_a_dc_offset_is_gone(raw: Path, tmp_path: Path):
    record(raw, "a.wav", speechlike(1.0) + 0.1)
    preprocess(raw, tmp_path / "out", RECIPE)
    samples, _ = soundfile.read(tmp_path / "out/wavs/a.wav")
    assert abs(samples.mean()) < 1e-3


def test_bad_clips_are_dropped_with_a_reason_and_the_run_goes_on(raw: Path, tmp_path: Path):
    record(raw, "good.wav", speechlike(1.0))
    record(raw, "short.wav", speechlike(0.3))
    record(raw, "long.wav", speechlike(11.0))
    record(raw, "silent.wav", silence(2.0))
    record(raw, "clipped.wav", np.clip(speechlike(1.0, level=4.0), -1, 1))
    record(raw, "broken.wav", speechlike(1.0))
    (raw / "wavs/broken.wav").write_bytes(b"not audio")
    with (raw / "metadata.csv").open("a") as file:
        file.write("nowhere|No file.\n")
    soundfile.write(raw / "wavs/unlisted.wav", speechlike(1.0), SAMPLE_RATE)

    preprocess(raw, tmp_path / "out", RECIPE)

    verdicts = rows(tmp_path / "out")
    assert [name for name, row in verdicts.items() if row["kept"] == "True"] == ["good"]
    reasons = {name: row["reason"] for name, row in verdicts.items() if row["kept"] == "False"}
    for name, says in {
        "short": "shorter", "long": "longer", "silent": "silent", "clipped": "clipped", "broken": "decoded",
        "nowhere": "no audio file", "unlisted": "no line",
    }.items():  # fmt: skip
        assert says in reasons[name]
    assert (tmp_path / "out/metadata.csv").read_text() == "good|Some words.\n"
    assert [p.name for p in (tmp_path / "out/wavs").iterdir()] == ["good.wav"]


def test_where_nothing_is_left_one_error_says_why_and_nothing_is_written(raw: Path, tmp_path: Path):
    record(raw, "a.wav", silence(1.0))
    with pytest.raises(InputError, match=r"no clip is usable.*silent"):
        preprocess(raw, tmp_path / "out", RECIPE)
    assert list((tmp_path / "out").iterdir()) == []


def test_two_files_of_one_name_are_refused(raw: Path):
    record(raw, "a.wav", speechlike(1.0))
    soundfile.write(raw / "wavs/a.flac", speechlike(1.0), SAMPLE_RATE)
    with pytest.raises(InputError, match="same name"):
        find_recordings(raw / "wavs")


def test_a_missing_folder_says_where_recordings_go(tmp_path: Path):
    with pytest.raises(InputError, match="Put your recordings there"):
        find_recordings(tmp_path / "wavs")


def test_the_same_recordings_give_the_same_bytes(raw: Path, tmp_path: Path):
    record(raw, "a.wav", speechlike(1.0, rate=32_000), 32_000)
    for name in ("one", "two"):
        preprocess(raw, tmp_path / name, replace(RECIPE, noise_reduction=0.5))
    assert (tmp_path / "one/wavs/a.wav").read_bytes() == (tmp_path / "two/wavs/a.wav").read_bytes()
