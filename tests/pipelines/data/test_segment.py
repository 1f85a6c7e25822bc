from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from pipelines.data.clips import read_clips
from pipelines.data.segment import Recipe, segment
from tests.sounds import silence, speechlike
from voice.audio import read_waveform
from voice.errors import InputError

RECIPE = Recipe(
    min_seconds=3.0, max_seconds=8.0, max_whole_seconds=12.0, pause_seconds=0.25, pause_below_db=35.0,
    margin_seconds=0.2,
)  # fmt: skip
LONG = [("speech", 5.0), ("pause", 0.8), ("speech", 6.0), ("pause", 0.6), ("speech", 7.0)]


def recording(stretches: list[tuple[str, float]], *, rate: int) -> np.ndarray:
    return np.concatenate([(speechlike if kind == "speech" else silence)(s, rate=rate) for kind, s in stretches])


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    (tmp_path / "raw/wavs").mkdir(parents=True)
    return tmp_path / "raw"


def write_m4a(path: Path, mono: np.ndarray, rate: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=rate, layout="mono")
        for start in range(0, len(mono), 1024):
            frame = av.AudioFrame.from_ndarray(mono[None, start : start + 1024], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = rate, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("name", ["talk.wav", "talk.flac", "talk.mp3", "talk.m4a", "talk with spaces äß.ogg"])
def test_a_long_recording_in_any_container_becomes_clips(raw: Path, tmp_path: Path, name: str):
    long = recording(LONG, rate=32_000)
    if name.endswith("m4a"):
        write_m4a(raw / "wavs" / name, long, 32_000)
    else:
        soundfile.write(raw / "wavs" / name, long, 32_000)
    clips = segment(raw, tmp_path / "out", RECIPE)
    assert [round(c.end - c.start) for c in clips if c.end and c.start is not None] == [5, 6, 7]
    for clip in clips:
        assert clip.source == Path(name).stem
        info = soundfile.info(clip.audio)
        assert info.samplerate == 32_000
        assert info.duration == pytest.approx((clip.end or 0) - (clip.start or 0), abs=0.001)
    assert read_clips(tmp_path / "out/clips.csv") == clips


def test_the_cut_samples_are_those_of_the_recording(raw: Path, tmp_path: Path):
    stereo = np.stack([recording(LONG, rate=48_000), 0.5 * recording(LONG, rate=48_000)], axis=1)
    soundfile.write(raw / "wavs/a.wav", stereo, 48_000, subtype="PCM_24")
    written, _ = soundfile.read(raw / "wavs/a.wav", dtype="int32")
    for clip in segment(raw, tmp_path / "out", RECIPE):
        samples, rate = soundfile.read(clip.audio, dtype="int32")
        start = round((clip.start or 0) * rate)
        np.testing.assert_array_equal(samples, written[start : start + len(samples)])


def test_samples_over_full_scale_survive_the_cut(raw: Path, tmp_path: Path):
    soundfile.write(raw / "wavs/a.wav", 30 * recording(LONG, rate=24_000), 24_000, subtype="FLOAT")
    assert max(np.abs(soundfile.read(c.audio)[0]).max() for c in segment(raw, tmp_path / "out", RECIPE)) > 1.5


def test_many_channels_survive_the_cut(raw: Path, tmp_path: Path):
    soundfile.write(raw / "wavs/a.wav", np.tile(recording(LONG, rate=16_000)[:, None], (1, 10)), 16_000)
    assert [soundfile.info(c.audio).channels for c in segment(raw, tmp_path / "out", RECIPE)] == [10, 10, 10]


def test_a_long_recording_in_which_nobody_speaks_is_told_about_later(raw: Path, tmp_path: Path):
    soundfile.write(raw / "wavs/a.wav", silence(20.0), 24_000)
    [clip] = segment(raw, tmp_path / "out", RECIPE)
    assert soundfile.info(clip.audio).duration == 8.0


def test_clips_pass_through_untouched(raw: Path, tmp_path: Path):
    soundfile.write(raw / "wavs/a.wav", speechlike(4.0), 24_000)
    (raw / "metadata.csv").write_text("a|Hello there.\ngone|Not recorded yet.\n")
    clip, gone = segment(raw, tmp_path / "out", RECIPE)
    assert (clip.audio, clip.text, clip.end) == ((raw / "wavs/a.wav").as_posix(), "Hello there.", None)
    assert (gone.id, gone.audio) == ("gone", "")
    assert list((tmp_path / "out/wavs").iterdir()) == []


def test_a_recording_with_its_own_line_stays_whole_a_little_longer(raw: Path, tmp_path: Path):
    for name in ("told", "untold"):
        soundfile.write(raw / f"wavs/{name}.wav", recording(LONG[:3], rate=24_000), 24_000)
    (raw / "metadata.csv").write_text("told|Both sentences.\n")
    assert [c.id for c in segment(raw, tmp_path / "out", RECIPE)] == ["told", "untold_0001", "untold_0002"]


def test_a_script_beside_a_long_recording_goes_with_its_pieces(raw: Path, tmp_path: Path):
    soundfile.write(raw / "wavs/a.wav", recording(LONG, rate=24_000), 24_000)
    (raw / "wavs/a.txt").write_text("First part.\nSecond part. Third.\n")
    clips = segment(raw, tmp_path / "out", RECIPE)
    assert {c.script for c in clips} == {"First part. Second part. Third."}
    assert {c.text for c in clips} == {""}


def test_loudness_does_not_decide_where_a_cut_falls(raw: Path, tmp_path: Path):
    cuts = []
    for gain in (0.05, 1.0):
        soundfile.write(raw / "wavs/a.wav", gain * recording(LONG, rate=24_000), 24_000, subtype="FLOAT")
        cuts.append([(c.start, c.end) for c in segment(raw, tmp_path / "out", RECIPE)])
    assert cuts[0] == cuts[1]


def test_a_recording_named_like_a_piece_of_another_is_refused(raw: Path, tmp_path: Path):
    soundfile.write(raw / "wavs/a.wav", recording(LONG, rate=24_000), 24_000)
    soundfile.write(raw / "wavs/a_0002.wav", speechlike(4.0), 24_000)
    with pytest.raises(InputError, match="'a_0002' names a piece of 'a'"):
        segment(raw, tmp_path / "out", RECIPE)


def test_an_empty_folder_says_what_belongs_there(raw: Path, tmp_path: Path):
    with pytest.raises(InputError, match="holds no recordings"):
        segment(raw, tmp_path / "out", RECIPE)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_two_hours_in_one_file_are_cut_with_flat_memory(raw: Path, tmp_path: Path):
    import tracemalloc

    part = recording(LONG, rate=8_000)
    with soundfile.SoundFile(raw / "wavs/a.wav", "w", 8_000, 1) as file:
        for _ in range(7_200 * 8_000 // len(part)):
            file.write(part)
    tracemalloc.start()
    clips = segment(raw, tmp_path / "out", RECIPE)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(clips) > 1_000
    assert peak < 60e6  # two hours of samples are 230 MB
    assert all(len(read_waveform(Path(c.audio))) <= 8.0 * 24_000 + 480 for c in clips[:20])
