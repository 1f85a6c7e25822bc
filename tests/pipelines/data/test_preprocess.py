import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipelines.data.clips import Clip, find_recordings
from pipelines.data.measurements import Measured, read_measurements
from pipelines.data.preprocess import preprocess
from pipelines.data.quality.frames import frame_levels
from pipelines.data.quality.level import loudness
from pipelines.data.quality.noise import signal_to_noise
from pipelines.data.recipe import Recipe, denoise, level, reduce_noise, trim_silence
from tests.sounds import noise, silence, speechlike
from voice.audio import SAMPLE_RATE
from voice.errors import InputError

RECIPE = Recipe(
    noise_reduction=0.0, noise_reduction_below_snr_db=25.0, noise_reduction_min_gain_db=3.0, trim_below_db=35.0,
    keep_margin_seconds=0.1, target_lufs=-23.0, peak_limit_dbfs=-1.0,
)  # fmt: skip


class Voice:
    """A folder of recordings, and what preprocessing makes of it."""

    def __init__(self, folder: Path) -> None:
        self.raw, self.out, self.store = folder / "raw", folder / "out", folder / "store"
        self.raw.mkdir()
        self.clips: list[Clip] = []

    def record(self, name: str, samples: np.ndarray, rate: int = SAMPLE_RATE) -> None:
        path = self.raw / name
        soundfile.write(path, samples, rate)
        self.clips.append(Clip(path.stem, path.stem, path.as_posix(), "Some words."))

    def run(self, recipe: Recipe = RECIPE, *, workers: int = 1) -> dict[str, Measured]:
        return {m.id: m for m in preprocess(self.clips, self.out, recipe, workers=workers, store=self.store)}

    def samples(self, name: str) -> np.ndarray:
        return soundfile.read(self.out / f"wavs/{name}.wav")[0]


@pytest.fixture
def voice(tmp_path: Path) -> Voice:
    return Voice(tmp_path)


def test_edges_are_trimmed_to_the_margin():
    waveform = np.concatenate([silence(1.0), speechlike(1.0), silence(2.0)])
    trimmed = trim_silence(waveform, below_db=35.0, margin_seconds=0.1)
    assert len(trimmed) / SAMPLE_RATE == pytest.approx(1.2, abs=0.06)


@pytest.mark.parametrize("gain", [0.02, 0.3, 1.0])
def test_every_clip_comes_out_at_the_same_loudness(gain: float):
    quiet = speechlike(2.0) * gain
    levelled = level(quiet, loudness(quiet), target_lufs=-23.0, peak_limit_dbfs=-1.0)
    assert loudness(levelled) == pytest.approx(-23.0, abs=0.1)


def test_a_peaky_clip_stays_below_the_limit_instead_of_clipping():
    clip = speechlike(2.0) * 0.01
    clip[1000] = 1.0
    peak = np.abs(level(clip, loudness(clip), target_lufs=-10.0, peak_limit_dbfs=-1.0)).max()
    assert peak == pytest.approx(10 ** (-1 / 20), abs=1e-4)


def noisy() -> np.ndarray:
    return np.concatenate([silence(0.5), speechlike(2.0), silence(0.5)]) + noise(3.0, level=0.03)


def test_noise_reduction_is_off_at_zero_and_raises_snr_above():
    waveform, gain = denoise(noisy(), RECIPE)
    np.testing.assert_array_equal(waveform, noisy())
    assert gain == 0.0
    waveform, gain = denoise(noisy(), replace(RECIPE, noise_reduction=0.8))
    assert gain > 3.0
    assert gain == pytest.approx(signal_to_noise(frame_levels(waveform)) - signal_to_noise(frame_levels(noisy())))
    np.testing.assert_array_equal(waveform, reduce_noise(noisy(), strength=0.8))


def test_a_clip_that_gains_nothing_keeps_its_samples():
    clean = np.concatenate([silence(0.5), speechlike(2.0), silence(0.5)])
    np.testing.assert_array_equal(denoise(clean, replace(RECIPE, noise_reduction=1.0))[0], clean)
    picky = replace(RECIPE, noise_reduction=0.8, noise_reduction_min_gain_db=90.0)
    np.testing.assert_array_equal(denoise(noisy(), picky)[0], noisy())


def test_any_rate_and_channels_become_24_khz_mono_16_bit_clips(voice: Voice):
    voice.record("a.wav", np.stack([speechlike(1.5, rate=44_100), 0.7 * speechlike(1.5, rate=44_100)], axis=1), 44_100)
    voice.record("b.flac", speechlike(1.0, rate=16_000), 16_000)
    measured = voice.run()
    for name, seconds in (("a", 1.5), ("b", 1.0)):
        info = soundfile.info(voice.out / f"wavs/{name}.wav")
        assert (info.samplerate, info.channels, info.subtype) == (24_000, 1, "PCM_16")
        assert info.duration == pytest.approx(seconds, abs=0.1)
    assert measured["b"].quality is not None
    assert measured["b"].quality.bandwidth_hz <= 8_000


def test_a_dc_offset_is_gone_and_reported(voice: Voice):
    voice.record("a.wav", speechlike(1.0) + 0.1)
    quality = voice.run()["a"].quality
    assert quality is not None
    assert quality.dc_offset == pytest.approx(0.1, abs=0.02)
    assert abs(voice.samples("a").mean()) < 1e-3


def test_a_bad_clip_is_named_and_the_run_goes_on(voice: Voice):
    voice.record("good.wav", speechlike(1.0))
    voice.record("silent.wav", silence(2.0))
    voice.record("broken.wav", speechlike(1.0))
    (voice.raw / "broken.wav").write_bytes(b"not audio")
    voice.clips.append(Clip("nowhere", "nowhere", "", "No file."))
    errors = {name: m.error for name, m in voice.run().items()}
    assert errors["good"] == ""
    for name, says in (("silent", "silent"), ("broken", "not audio"), ("nowhere", "no audio file")):
        assert says in errors[name]
    assert [p.name for p in (voice.out / "wavs").iterdir()] == ["good.wav"]


def test_where_nothing_is_left_one_error_says_why_and_nothing_is_written(voice: Voice):
    voice.record("a.wav", silence(1.0))
    with pytest.raises(InputError, match=r"no clip is usable.*silent"):
        voice.run()
    assert list(voice.out.iterdir()) == []


def test_two_files_of_one_name_are_refused(voice: Voice):
    voice.record("a.wav", speechlike(1.0))
    voice.record("a.flac", speechlike(1.0))
    with pytest.raises(InputError, match="same name"):
        find_recordings(voice.raw)


def test_a_missing_folder_says_where_recordings_go(tmp_path: Path):
    with pytest.raises(InputError, match="Put your recordings there"):
        find_recordings(tmp_path / "wavs")


def test_the_same_recordings_give_the_same_bytes_on_any_number_of_processes(tmp_path: Path):
    made = []
    for workers in (1, 2):
        folder = tmp_path / f"with_{workers}"
        folder.mkdir()
        voice = Voice(folder)
        for i in range(5):
            voice.record(f"a{i}.wav", speechlike(1.0, rate=32_000, pitch=100 + 10 * i), 32_000)
        voice.run(replace(RECIPE, noise_reduction=0.5, noise_reduction_below_snr_db=99.0), workers=workers)
        files = sorted(p for p in voice.out.rglob("*") if p.is_file() and p.suffix != ".npz")
        made.append([(p.name, p.read_bytes()) for p in files])
    assert made[0] == made[1]


def test_an_unchanged_clip_is_taken_from_the_store_and_a_changed_one_is_not(voice: Voice):
    voice.record("a.wav", speechlike(1.0))
    voice.record("b.wav", speechlike(1.5))
    first = voice.run()
    entries = {p: p.stat().st_mtime_ns for p in voice.store.iterdir()}
    soundfile.write(voice.raw / "b.wav", speechlike(2.0), SAMPLE_RATE)
    second = voice.run()
    kept = [p for p in voice.store.iterdir() if entries.get(p) == p.stat().st_mtime_ns]
    assert len(kept) == 2  # the samples of `a` and their measurements; those of the old `b` are gone
    assert len(list(voice.store.iterdir())) == 4
    assert replace(first["a"], timbres=None) == replace(second["a"], timbres=None)
    assert len(voice.samples("b")) > 1.9 * SAMPLE_RATE
    voice.run(replace(RECIPE, target_lufs=-30.0))
    assert loudness(voice.samples("a").astype(np.float32)) == pytest.approx(-30.0, abs=0.2)


def test_what_was_measured_is_read_back(voice: Voice):
    voice.record("a.wav", speechlike(1.0))
    measured = voice.run()["a"]
    [read] = read_measurements(voice.out)
    assert read.digest == measured.digest
    np.testing.assert_array_equal(read.timbres, measured.timbres)  # type: ignore[arg-type]


def test_copies_at_another_level_have_one_digest(voice: Voice):
    voice.record("a.wav", speechlike(1.0))
    voice.record("b.wav", speechlike(1.0))
    voice.record("c.wav", speechlike(1.0, pitch=130))
    digests = {name: m.digest for name, m in voice.run().items()}
    assert digests["a"] == digests["b"] != digests["c"]


def test_a_full_disk_is_said_and_leaves_no_half_clip(voice: Voice, monkeypatch: pytest.MonkeyPatch):
    voice.record("a.wav", speechlike(1.0))
    monkeypatch.setattr(
        "pipelines.data.preprocess.write_wav", lambda path, waveform: Path("/dev/full").write_bytes(b"x")
    )
    with pytest.raises(OSError, match=os.strerror(28)):
        voice.run()
    assert [p for p in voice.out.rglob("*") if p.is_file()] == []
