"""segment: recordings of any length -> clips of one breath, cut where nothing is said.

Recordings that are clips already pass through as they are; only what was cut is written.

    python -m pipelines.data.segment voice=me data.max_seconds=12
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from pipelines.data.clips import Clip, find_recordings, write_clips
from pipelines.data.pauses import Piece, cut
from pipelines.data.quality.frames import HOP_SECONDS, Levels
from pipelines.data.quality.level import FLOOR_DB
from voice.audio import is_longer, stream_channels, to_mono
from voice.bounds import within
from voice.errors import InputError
from voice.manifest import read_metadata
from voice.publish import publish
from voice.stage import output_root, stage

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Recipe:  # conf/data/segment.yaml
    """When and where a recording is cut."""

    min_seconds: float = within(above=0)
    max_seconds: float = within(above=1)
    max_whole_seconds: float = within(above=1)
    pause_seconds: float = within(above=0)
    pause_below_db: float = within(above=0)
    margin_seconds: float = within(low=0)


@dataclass
class Segment:  # conf/segment.yaml
    """Settings of the stage."""

    voice: str
    data: Recipe


@dataclass(frozen=True, slots=True)
class Outline:
    """A recording's frame levels and whether FLAC can hold it, read in one pass with flat memory."""

    levels: Levels
    fits_flac: bool  # no sample over full scale, at most eight channels


def outline(path: Path) -> Outline:
    """Read a recording once. Raises InputError if it cannot be decoded."""
    powers, rest, fits_flac = [], np.zeros(0, np.float32), True
    for samples, rate in stream_channels(path):
        hop = round(HOP_SECONDS * rate)
        fits_flac &= samples.shape[1] <= 8 and bool(np.abs(samples).max(initial=0.0) <= 1.0)
        mono = np.concatenate([rest, to_mono(samples)])
        count = len(mono) // hop
        powers.append(np.square(mono[: count * hop].reshape(count, hop), dtype=np.float64).mean(axis=1))
        rest = mono[count * hop :]
    power = np.concatenate(powers)
    return Outline(10.0 * np.log10(np.maximum(power, 10 ** (FLOOR_DB / 10))), fits_flac)


def write_pieces(path: Path, pieces: list[Piece], folder: Path, *, as_flac: bool) -> list[Path]:
    """Write the pieces of a recording as they were recorded: FLAC, or float WAV."""
    suffix, subtype = (".flac", "PCM_24") if as_flac else (".wav", "FLOAT")
    files = [folder / f"{path.stem}_{number:04}{suffix}" for number in range(1, len(pieces) + 1)]
    position = 0
    opened: dict[int, soundfile.SoundFile] = {}
    try:
        for samples, rate in stream_channels(path):
            for i, piece in enumerate(pieces):
                start, end = round(piece.start * rate), round(piece.end * rate)
                part = samples[max(0, start - position) : max(0, end - position)]
                if len(part):
                    if i not in opened:
                        opened[i] = soundfile.SoundFile(files[i], "w", rate, samples.shape[1], subtype)
                    opened[i].write(part)
                elif i in opened and not opened[i].closed:
                    opened[i].close()
            position += len(samples)
    finally:
        for file in opened.values():
            file.close()
    return files


def segment(raw: Path, out: Path, recipe: Recipe) -> list[Clip]:
    """Write `out/clips.csv` and the pieces of what had to be cut. Raises InputError if there is nothing to work on."""
    texts = _texts(raw)
    recordings = find_recordings(raw / "wavs")
    if not recordings:
        raise InputError(f"{raw / 'wavs'} holds no recordings. Put wav, flac, mp3, m4a, ogg or webm files there.")
    with publish(out) as draft:
        (draft / "wavs").mkdir(parents=True)
        clips: list[Clip] = []
        for name, path in tqdm(recordings.items(), "segment", unit="recording"):
            text = texts.pop(name, "") or _script(path)
            if _must_be_cut(path, has_text=bool(text), recipe=recipe):
                clips += _cut(path, text, draft / "wavs", out / "wavs", recipe)
            else:
                clips.append(Clip(name, source=name, audio=path.as_posix(), text=text))
        clips += [Clip(name, source=name, audio="", text=text) for name, text in texts.items()]
        _require_different_names(clips)
        write_clips(draft / "clips.csv", clips)
    return clips


def _require_different_names(clips: list[Clip]) -> None:
    seen: dict[str, str] = {}
    for clip in clips:
        if seen.setdefault(clip.id, clip.source) != clip.source:
            raise InputError(
                f"{clip.id!r} names a piece of {seen[clip.id]!r} and a recording or line of its own. Rename the latter."
            )


def _must_be_cut(path: Path, *, has_text: bool, recipe: Recipe) -> bool:
    try:
        return is_longer(path, recipe.max_whole_seconds if has_text else recipe.max_seconds)
    except InputError:  # `preprocess` says what is wrong with it, clip by clip
        return False


def _cut(path: Path, text: str, folder: Path, published: Path, recipe: Recipe) -> list[Clip]:
    outlined = outline(path)
    pieces = cut(
        outlined.levels,
        min_seconds=recipe.min_seconds,
        max_seconds=recipe.max_seconds,
        pause_seconds=recipe.pause_seconds,
        below_db=recipe.pause_below_db,
        margin_seconds=recipe.margin_seconds,
    )
    # where nobody speaks, the beginning goes on alone: what is wrong with it is told where every clip is told about
    pieces = pieces or [Piece(0.0, recipe.max_seconds, between_pauses=True)]
    files = write_pieces(path, pieces, folder, as_flac=outlined.fits_flac)
    return [
        Clip(f.stem, path.stem, (published / f.name).as_posix(), "", text, p.start, p.end, p.between_pauses)
        for p, f in zip(pieces, files, strict=True)
    ]


def _texts(raw: Path) -> dict[str, str]:
    if not (raw / "metadata.csv").is_file():
        return {}
    return {u.id: u.text for u in read_metadata(raw / "metadata.csv", require_text=False)}


def _script(recording: Path) -> str:
    beside = recording.with_suffix(".txt")
    return " ".join(beside.read_text(encoding="utf-8-sig").split()) if beside.is_file() else ""


@stage(Segment)
def main(config: Segment) -> None:
    """Cut one voice's recordings."""
    out = output_root() / "data/segments" / config.voice
    clips = segment(Path("data/raw") / config.voice, out, config.data)
    cut_clips = [c for c in clips if c.end is not None]
    log.info("%d clips, %d of them cut from longer recordings", len(clips), len(cut_clips))


if __name__ == "__main__":
    main()
