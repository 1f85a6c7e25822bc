"""preprocess: clips as recorded -> 24 kHz mono 16-bit clips, trimmed and at one loudness, and what each measures.

Clips are spread over the cores; one that has not changed since an earlier run is taken from `.cache/`.

    python -m pipelines.data.preprocess voice=demo data.target_lufs=-20
"""

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import cache, partial
from hashlib import file_digest, sha256
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from pipelines.data import quality, recipe
from pipelines.data.clips import Clip, read_clips
from pipelines.data.measurements import Measured, write_measurements
from pipelines.data.quality import Quality
from pipelines.data.recipe import Recipe, process
from voice.audio import write_wav
from voice.errors import InputError
from voice.publish import publish
from voice.stage import output_root, stage

log = logging.getLogger(__name__)

CACHE = Path(".cache/preprocess")


@dataclass
class Preprocess:  # conf/preprocess.yaml
    """Settings of the stage."""

    voice: str
    workers: int | None  # processes; null takes every core
    data: Recipe


def preprocess(
    clips: Sequence[Clip], out: Path, settings: Recipe, *, workers: int | None, store: Path
) -> list[Measured]:
    """Process every clip into `out/wavs` and measure it. Raises InputError if not one could be read.

    `store` holds finished clips by content; what this voice no longer needs is removed from it.
    """
    store.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    with publish(out / "wavs") as wavs:
        wavs.mkdir()
        one = partial(_one, settings=settings, wavs=wavs, store=store)
        measured, used = [], set[str]()
        for result, entry in tqdm(_spread(one, clips, workers), "preprocess", total=len(clips), unit="clip"):
            measured.append(result)
            used.add(entry)
            if result.error:
                log.warning("%s: %s", result.id, result.error)
        if all(clip.error for clip in measured):
            raise InputError(f"no clip is usable; the first was dropped because: {measured[0].error}")
    write_measurements(out, measured)
    for path in store.iterdir():
        if path.stem not in used:
            path.unlink()
    return measured


def _spread(
    one: Callable[[Clip], tuple[Measured, str]], clips: Sequence[Clip], workers: int | None
) -> Iterator[tuple[Measured, str]]:
    count = min(workers or len(os.sched_getaffinity(0)), len(clips))
    if count <= 1:
        with threadpool_limits(1):
            yield from map(one, clips)
        return
    # forked, not spawned: importing all this again would take longer than an evening's recordings. Safe here: nothing
    # in this process has started OpenMP, and no thread of ours runs yet
    try:
        # one thread each: the cores are taken, and threads that wait for each other spin (docs/log.md)
        with ProcessPoolExecutor(count, get_context("fork"), initializer=threadpool_limits, initargs=(1,)) as pool:
            yield from pool.map(one, clips, chunksize=4)
    except BrokenProcessPool as error:
        raise InputError(f"one of {count} processes died, probably out of memory. Lower `workers`.") from error


def _one(clip: Clip, *, settings: Recipe, wavs: Path, store: Path) -> tuple[Measured, str]:
    """Process a clip, or take it from the store. Returns what was measured and the entry's name in the store."""
    if not clip.audio:
        return Measured(clip.id, "no audio file in wavs/. Record it, or remove its line from metadata.csv."), ""
    path = Path(clip.audio)
    try:
        entry = _key(path, settings)
        if not (store / f"{entry}.json").is_file():
            _fill(store, entry, path, settings)
    except InputError as error:
        return Measured(clip.id, str(error)), ""
    shutil.copyfile(store / f"{entry}.wav", wavs / f"{clip.id}.wav")
    stored = json.loads((store / f"{entry}.json").read_text())
    timbres = np.array(stored["timbres"], np.float32)
    return Measured(clip.id, "", stored["digest"], Quality(**stored["quality"]), timbres), entry


def _key(path: Path, settings: Recipe) -> str:
    try:
        with path.open("rb") as file:
            content = file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}. Check the file and its permissions.") from error
    # the name: two workers must not write one entry for two copies of a recording
    return sha256(
        f"{content} {path.name} {_code()} {json.dumps(asdict(settings), sort_keys=True)}".encode()
    ).hexdigest()[:24]


@cache
def _code() -> str:
    # a changed measurement must not be taken from the store
    files = [Path(recipe.__file__), *sorted(Path(quality.__file__).parent.glob("*.py"))]
    return sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def _fill(store: Path, entry: str, path: Path, settings: Recipe) -> None:
    processed = process(path, settings)
    with publish(store / f"{entry}.wav") as draft:
        write_wav(draft, processed.waveform)
    content = {
        "digest": processed.digest,
        "quality": asdict(processed.quality),
        "timbres": processed.timbres.round(4).tolist(),
    }
    with publish(store / f"{entry}.json") as draft:  # last: it says that the entry is whole
        draft.write_text(json.dumps(content))


@stage(Preprocess)
def main(config: Preprocess) -> None:
    """Process one voice's clips."""
    clips = read_clips(Path("data/segments") / config.voice / "clips.csv")
    out = output_root() / "data/processed" / config.voice
    measured = preprocess(clips, out, config.data, workers=config.workers, store=CACHE / config.voice)
    usable = [m.quality.seconds for m in measured if m.quality]
    log.info("%d of %d clips usable, %.1f minutes", len(usable), len(measured), sum(usable) / 60)


if __name__ == "__main__":
    main()
