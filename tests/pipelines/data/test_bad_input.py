"""Whatever lies in data/raw: one bad clip stops nothing, everything is told in a line, nothing is lost."""

import csv
import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipelines.data import curate, preprocess, segment, split, transcribe
from tests.sounds import silence, speechlike
from voice.audio import SAMPLE_RATE

STAGES = {segment: [], preprocess: ["workers=1"], transcribe: ["data.asr=none"], curate: [], split: []}
GOOD = 4  # clips without fault beside the bad one


class Project:
    """A project folder with a voice of a few good clips."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(folder)
        self._monkeypatch = monkeypatch
        self.wavs = folder / "data/raw/me/wavs"
        self.wavs.mkdir(parents=True)
        self.lines: list[str] = []
        for i in range(GOOD):
            self.write(f"good{i}.wav", speechlike(1.5 + 0.2 * i, pitch=110 + 5 * i))

    def write(self, name: str, samples: np.ndarray, rate: int = SAMPLE_RATE, **options: str) -> Path:
        soundfile.write(self.wavs / name, samples, rate, **options)  # type: ignore[arg-type]
        self.say(Path(name).stem)
        return self.wavs / name

    def say(self, name: str, text: str | None = None) -> None:
        self.lines.append(f"{name}|The words of {name}." if text is None else f"{name}|{text}")

    def run(self, *, metadata: bytes | None = None) -> dict[str, dict[str, str]]:
        """Run the stages up to the split. Returns quality.csv by clip."""
        before = {p: p.lstat().st_size for p in self.wavs.iterdir()}
        content = metadata if metadata is not None else "".join(f"{line}\n" for line in self.lines).encode()
        (self.wavs.parent / "metadata.csv").write_bytes(content)
        for stage, options in STAGES.items():
            self._monkeypatch.setattr(sys, "argv", [stage.__name__, "voice=me", *options])
            stage.main()
        assert {p: p.lstat().st_size for p in self.wavs.iterdir()} == before  # recordings are never touched
        with Path("data/processed/me/quality.csv").open(newline="", encoding="utf-8") as file:
            return {row["id"]: row for row in csv.DictReader(file)}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return Project(tmp_path, monkeypatch)


def empty(p: Project) -> None:
    (p.wavs / "bad.wav").touch()
    p.say("bad")


def truncated_flac(p: Project) -> None:
    path = p.write("bad.flac", speechlike(3.0))
    path.write_bytes(path.read_bytes()[:300])


def text_renamed(p: Project) -> None:
    (p.wavs / "bad.wav").write_text("dear diary\n" * 100)
    p.say("bad")


def not_numbers(p: Project) -> None:
    samples = speechlike(2.0)
    samples[100] = np.nan
    p.write("bad.wav", samples, subtype="FLOAT")


def infinite(p: Project) -> None:
    samples = speechlike(2.0)
    samples[100] = -np.inf
    p.write("bad.wav", samples, subtype="FLOAT")


def one_sample(p: Project) -> None:
    p.write("bad.wav", np.array([0.5], np.float32))


def a_folder(p: Project) -> None:
    (p.wavs / "bad.wav").mkdir()
    p.say("bad")


def symlink_loop(p: Project) -> None:
    (p.wavs / "bad.wav").symlink_to(p.wavs / "bad.wav")
    p.say("bad")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (empty, "is empty"),
        (truncated_flac, "bad.flac"),
        (text_renamed, "not audio"),
        (not_numbers, "NaN"),
        (infinite, "infinite"),
        (lambda p: p.write("bad.wav", np.full(48_000, 0.3, np.float32)), "silent"),  # DC only
        (lambda p: p.write("bad.wav", silence(2.0)), "silent"),
        (one_sample, "silent"),
        (a_folder, os.strerror(errno.EISDIR)),
        (symlink_loop, os.strerror(errno.ELOOP)),
        (lambda p: p.say("bad"), "no audio file"),
        (lambda p: (p.write("bad.wav", speechlike(2.0)), p.lines.pop()), "no text"),  # audio without a line
        (lambda p: (p.write("bad.wav", speechlike(2.0)), p.lines.pop(), p.say("bad", "")), "no text"),
        (lambda p: (p.write("bad.wav", speechlike(2.0)), p.lines.pop(), p.say("bad", "Привет, мир.")), "cyrillic"),
        (lambda p: p.write("bad.wav", np.clip(speechlike(2.0, level=9.0), -1, 1)), "clipped"),
    ],
)
def test_a_bad_clip_is_dropped_with_its_reason_and_the_others_go_on(
    project: Project, spoil: Callable[[Project], object], says: str
):
    spoil(project)
    rows = project.run()
    assert rows["bad"]["verdict"] == "dropped"
    assert says in rows["bad"]["reasons"]
    assert [rows[f"good{i}"]["verdict"] != "dropped" for i in range(GOOD)] == [True] * GOOD
    listed = Path("data/processed/me/metadata.csv").read_text()
    assert "bad" not in listed
    assert listed.count("\n") == GOOD


def test_a_file_that_may_not_be_read_is_named(project: Project, monkeypatch: pytest.MonkeyPatch):
    locked = project.write("bad.wav", speechlike(2.0))
    opened = Path.open

    def refuse(path: Path, *arguments: object, **options: object) -> object:  # root may read whatever its mode says
        if path.name == locked.name:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return opened(path, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "open", refuse)
    assert os.strerror(errno.EACCES) in project.run()["bad"]["reasons"]


@pytest.mark.parametrize(
    "write",
    [
        lambda p: p.write("odd.wav", speechlike(2.0), subtype="PCM_U8"),
        lambda p: p.write("odd.wav", np.tile(speechlike(2.0, rate=96_000)[:, None], (1, 8)), 96_000),  # 7.1
        lambda p: p.write("odd.flac", speechlike(2.0), format="WAV"),  # wrong suffix
        lambda p: p.write("odd.wav", speechlike(2.0, level=0.1), format="OGG"),
    ],
)
def test_odd_but_sound_recordings_are_kept(project: Project, write: Callable[[Project], object]):
    write(project)
    assert project.run()["odd"]["verdict"] != "dropped"
    assert soundfile.info("data/processed/me/wavs/odd.wav").samplerate == SAMPLE_RATE


def test_a_truncated_wav_gives_what_is_there(project: Project):
    path = project.write("odd.wav", speechlike(4.0))
    path.write_bytes(path.read_bytes()[:100_000])
    assert float(project.run()["odd"]["seconds"]) == pytest.approx(2.08, abs=0.05)


def test_floats_over_full_scale_are_levelled_not_wrapped(project: Project):
    project.write("odd.wav", 30 * speechlike(2.0), subtype="FLOAT")
    row = project.run()["odd"]
    assert "clipped" in row["reasons"]
    assert np.abs(soundfile.read("data/processed/me/wavs/odd.wav")[0]).max() < 0.9


def test_names_may_have_spaces_and_any_letters(project: Project):
    project.write("Größe 日本 ü.wav", speechlike(2.0))
    assert project.run()["Größe 日本 ü"]["verdict"] != "dropped"


def test_metadata_may_come_from_any_editor(project: Project):
    for name in ("quoted", "piped"):
        project.write(f"{name}.wav", speechlike(2.0, pitch=105 + len(name)))
    project.lines[-2:] = ['quoted|"Yes", she said; "1,000 times".', "piped|What was said.|a third column|a fourth"]
    content = "\N{ZERO WIDTH NO-BREAK SPACE}" + "\r\n".join(project.lines) + "\r\n\r\n"
    rows = project.run(metadata=content.encode())
    listed = Path("data/processed/me/metadata.csv").read_text(encoding="utf-8")
    assert 'quoted|"Yes", she said; "1,000 times".\n' in listed
    assert "piped|What was said.\n" in listed
    assert len(rows) == GOOD + 2


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        (b"good0|One.\ngood1|Two.\ngood0|Again.\n", "metadata.csv:3: clip 'good0' is already on line 1"),
        (b"good0|One.\nno bar here\n", "metadata.csv:2: no `|`"),
        (b"good0|\xff\xfe broken\n", "not UTF-8"),
        (b"../../etc|One.\n", "not a clip name"),
    ],
)
def test_a_manifest_that_cannot_be_right_stops_with_one_line(project: Project, metadata: bytes, says: str):
    with pytest.raises(SystemExit) as stop:
        project.run(metadata=metadata)
    assert says in str(stop.value.code)
    assert "\n" not in str(stop.value.code)
    assert not Path("data/segments/me").exists()


def test_where_nothing_is_left_one_line_says_so(project: Project):
    for path in project.wavs.iterdir():
        path.write_bytes(b"")
    with pytest.raises(SystemExit, match="no clip is usable"):
        project.run()
    assert not Path("data/processed/me/measurements.csv").exists()


def test_a_full_disk_stops_with_one_line_and_leaves_what_was_there(project: Project, monkeypatch: pytest.MonkeyPatch):
    project.run()
    before = {p: p.read_bytes() for p in Path("data/processed/me").rglob("*") if p.is_file()}
    project.write("more.wav", speechlike(2.0, pitch=131))

    def full(path: Path, _: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("pipelines.data.preprocess.write_wav", full)
    with pytest.raises(SystemExit, match=os.strerror(errno.ENOSPC)):
        project.run()
    assert {p: p.read_bytes() for p in Path("data/processed/me").rglob("*") if p.is_file()} == before
