"""Preprocessing against the naive recipe, in one run: times real time, per core and in all, and peak memory.

    python -m benchmarks.preprocess <folder of clips> [--clips 60] [--sizes 1 4 16]

The naive recipe is what most tools do, one clip after another: librosa.load, librosa.resample, noisereduce, peak
normalisation, write. Ours also trims, levels to LUFS and measures all that quality.csv holds. Every measurement runs in
a process of its own, started from nothing; the clips are copied so that `--sizes 16` has sixteen times as many.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

POLL_SECONDS = 0.05
RECIPES = ("naive", "ours")


def naive(folder: Path, out: Path, *, denoise: bool) -> None:
    """The recipe that ours is held against."""
    import librosa
    import noisereduce
    import numpy as np
    import soundfile

    for path in sorted(folder.iterdir()):
        samples, rate = librosa.load(path, sr=None)
        samples = librosa.resample(samples, orig_sr=rate, target_sr=24_000)
        if denoise:
            samples = noisereduce.reduce_noise(samples, sr=24_000, stationary=True)
        soundfile.write(out / f"{path.stem}.wav", samples / np.abs(samples).max(), 24_000)


def ours(folder: Path, out: Path, *, denoise: bool) -> None:
    """The stage, with an empty store."""
    from pipelines.data.clips import Clip, find_recordings
    from pipelines.data.preprocess import preprocess
    from pipelines.data.recipe import Recipe

    recipe = Recipe(
        noise_reduction=1.0 if denoise else 0.0,
        noise_reduction_below_snr_db=1_000.0,  # every clip, as the naive recipe does
        noise_reduction_min_gain_db=0.0,
        trim_below_db=35.0,
        keep_margin_seconds=0.15,
        target_lufs=-23.0,
        peak_limit_dbfs=-1.0,
    )
    clips = [Clip(name, name, path.as_posix()) for name, path in find_recordings(folder).items()]
    preprocess(clips, out, recipe, workers=None, store=out / "store")


def one(recipe: str, folder: str, out: str, denoise: str) -> None:
    """Run one recipe in this process and print its seconds, without imports and start-up of Python."""
    run = {"naive": naive, "ours": ours}[recipe]
    import librosa  # noqa: F401
    import noisereduce  # noqa: F401

    import pipelines.data.preprocess  # noqa: F401

    started = time.perf_counter()
    run(Path(folder), Path(out), denoise=denoise == "on")
    print(json.dumps(time.perf_counter() - started))


def measure(recipe: str, folder: Path, *, denoise: bool) -> tuple[float, float]:
    """Seconds and peak megabytes of a run in fresh processes, children included."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "benchmarks.preprocess", "--one", recipe, str(folder), out]
        process = psutil.Popen(
            [*command, "on" if denoise else "off"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, sum(_own_memory(p) for p in [process, *process.children(recursive=True)]))
            time.sleep(POLL_SECONDS)
        assert process.stdout is not None
        return json.loads(process.stdout.read()), peak / 1e6


def _own_memory(process: psutil.Process) -> float:
    try:
        return float(process.memory_full_info().uss)  # what processes share counts once
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0.0


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 4, 16])
    options = parser.parse_args()
    from voice.audio import read_channels

    sources = sorted(options.folder.iterdir())[: options.clips]
    seconds = sum(len(samples) / rate for samples, rate in map(read_channels, sources))
    cores = len(os.sched_getaffinity(0))
    print(f"{len(sources)} clips, {seconds:.0f} s of audio, {cores} cores\n")
    print(
        "| data | denoiser | recipe | seconds | x real time | per core | peak MB | against naive |\n" + "|---" * 8 + "|"
    )
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as copies:
            for i in range(size):
                for source in sources:
                    shutil.copy(source, Path(copies) / f"{i:02}_{source.name}")
            for denoise in (False, True):
                _compare(Path(copies), size, seconds * size, cores, denoise=denoise)


def _compare(folder: Path, size: int, seconds: float, cores: int, *, denoise: bool) -> None:
    taken = {}
    for recipe in RECIPES:
        taken[recipe], peak = measure(recipe, folder, denoise=denoise)
        speed = seconds / taken[recipe]
        used = 1 if recipe == "naive" else cores
        ratio = taken["naive"] / taken[recipe]
        on = "on" if denoise else "off"
        print(
            f"| {size}x | {on} | {recipe} | {taken[recipe]:.1f} | {speed:.0f} | {speed / used:.0f} | {peak:.0f} "
            f"| {ratio:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(*sys.argv[2:])
    else:
        main()
