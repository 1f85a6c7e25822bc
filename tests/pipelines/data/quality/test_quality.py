import librosa
import numpy as np
import pytest
from scipy.signal import fftconvolve

from pipelines.data.quality import AsRecorded, measure
from pipelines.data.quality.bandwidth import bandwidth
from pipelines.data.quality.frames import frame_levels
from pipelines.data.quality.level import clipped_share, count_clicks, loudness
from pipelines.data.quality.noise import low_level_share, mains_hum, signal_to_noise
from pipelines.data.quality.room import decay_time, longest_pause
from pipelines.data.quality.timbre import Voice, timbres
from tests.sounds import music, noise, silence, speechlike, spoken_by
from voice.audio import SAMPLE_RATE


@pytest.mark.parametrize("gain_db", [-20.0, -6.0])
def test_loudness_follows_gain_decibel_by_decibel(gain_db: float):
    clip = speechlike(2.0)
    assert loudness(clip * 10 ** (gain_db / 20)) - loudness(clip) == pytest.approx(gain_db, abs=0.05)


def test_samples_at_full_scale_are_counted():
    assert clipped_share(np.clip(speechlike(1.0, level=4.0), -1, 1)) > 0.1
    assert clipped_share(speechlike(1.0)) == 0.0


def test_clicks_are_counted_and_speech_has_none():
    clip = spoken_by((500, 1500, 2500), seed=0) * 0.3
    assert count_clicks(clip) == 0
    for at in (10_000, 30_000, 50_000):
        clip[at] += 0.5
    assert count_clicks(clip) == 3


def test_more_noise_means_less_snr():
    clip = np.concatenate([silence(0.5), speechlike(2.0), silence(0.5)])
    ratios = [signal_to_noise(frame_levels(clip + noise(3.0, level=level))) for level in (0.0003, 0.003, 0.03)]
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[0] - ratios[1] == pytest.approx(20, abs=5)


@pytest.mark.parametrize("mains", [50, 60])
def test_hum_stands_out_and_a_voice_alone_does_not(mains: int):
    t = np.arange(4 * SAMPLE_RATE) / SAMPLE_RATE
    clip = noise(4.0) * (0.5 + 0.5 * np.sin(2 * np.pi * 0.5 * t)).astype(np.float32) ** 4
    hum = sum(0.003 * np.sin(2 * np.pi * mains * k * t) / k for k in (1, 2, 3, 4))
    assert mains_hum(clip) < 10.0
    assert mains_hum((clip + hum).astype(np.float32)) > 12.0


def test_music_has_fewer_gaps_than_speech():
    assert low_level_share(frame_levels(music(6.0))) < 0.02
    assert low_level_share(frame_levels(speechlike(6.0))) > 0.1


@pytest.mark.parametrize("was", [8_000, 16_000, 22_050])
def test_an_upsampled_recording_shows_the_rate_that_it_was_made_at(was: int):
    original = speechlike(2.0, rate=was)
    upsampled = librosa.resample(original, orig_sr=was, target_sr=48_000, res_type="soxr_hq")
    assert bandwidth(upsampled, rate=48_000) == pytest.approx(was / 2, rel=0.06)
    assert bandwidth(speechlike(2.0, rate=48_000), rate=48_000) > 20_000


def test_only_pauses_inside_a_clip_count():
    clip = np.concatenate([silence(1.0), speechlike(1.0), silence(2.5), speechlike(1.0), silence(3.0)])
    assert longest_pause(frame_levels(clip)) == pytest.approx(2.5, abs=0.1)
    assert longest_pause(frame_levels(speechlike(2.0))) < 0.3


def test_a_more_reverberant_room_measures_a_longer_decay():
    words = np.concatenate([np.concatenate([speechlike(0.4), silence(0.4)]) for _ in range(6)])
    times = []
    for seconds in (0.2, 0.5, 1.0):
        tail = np.random.default_rng(0).standard_normal(int(seconds * SAMPLE_RATE))
        tail *= np.exp(-6.9 * np.arange(len(tail)) / len(tail))
        tail /= np.linalg.norm(tail)
        times.append(decay_time(frame_levels(fftconvolve(words, tail).astype(np.float32))))
    assert times == sorted(times)
    assert times[0] < 0.35 < 0.6 < times[2]


def test_another_speaker_stands_out_among_the_voices_clips():
    own = [spoken_by((500, 1500, 2500), seed=seed) for seed in range(60)]
    other = [spoken_by((650, 1100, 2900), seed=100 + seed) for seed in range(2)]
    rows = np.array([timbres(clip)[0] for clip in [*own, *other]])
    distances = Voice(rows).distances(rows)
    assert distances is not None
    assert distances[60:].min() > 10.0
    assert (distances[:60] < 10.0).all()


def test_too_few_clips_say_nothing_about_speakers():
    rows = np.array([timbres(spoken_by((500, 1500), seed=seed, seconds=1.0))[0] for seed in range(4)])
    assert Voice(rows).distances(rows) is None


def test_copies_of_one_recording_say_nothing_about_speakers():
    rows = np.repeat(timbres(spoken_by((500, 1500), seed=0))[:1], 30, axis=0)
    assert Voice(rows).distances(rows) is None
    assert Voice(np.zeros((0, 20), np.float32)).distances(rows) is None


def test_a_second_voice_shows_in_the_windows_of_a_clip():
    own = [timbres(spoken_by((500, 1500, 2500), seed=seed))[0] for seed in range(40)]
    parts = [spoken_by((500, 1500, 2500), seed=98, seconds=4.0), spoken_by((650, 1100, 2900), seed=99, seconds=2.0)]
    distances = Voice(np.array(own)).distances(timbres(np.concatenate(parts)))
    assert distances is not None
    assert distances[3] > 10.0 > distances[1]


@pytest.mark.parametrize("samples", [1, 100, 1_000, 12_000])
def test_a_clip_of_any_length_can_be_measured(samples: int):
    clip = noise(1.0)[:samples]
    quality = measure(clip, AsRecorded.of(clip[:, None], clip, SAMPLE_RATE))
    assert quality.seconds == samples / SAMPLE_RATE
    assert np.isfinite(timbres(clip)).all()
