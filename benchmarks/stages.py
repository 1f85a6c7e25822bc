"""Wall time, CPU time and peak memory of every stage, for the choices in params.yaml. Runs each stage again.

python -m benchmarks.stages
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import psutil

POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Cost:
    """What one stage took."""

    stage: str
    seconds: float
    cpu_seconds: float
    peak_megabytes: float


def stages() -> Iterator[str]:
    """The stages of dvc.yaml in the order they run."""
    listed = subprocess.run(["dvc", "stage", "list", "--name-only"], capture_output=True, text=True, check=True)
    yield from listed.stdout.split()


def measure(stage: str) -> Cost:
    """Run one stage and watch its processes. DVC's own start, about two seconds, is part of it."""
    started = time.perf_counter()
    process = psutil.Popen(["dvc", "repro", "--force", "--single-item", stage], stdout=subprocess.DEVNULL)
    cpu, peak = 0.0, 0.0
    while process.poll() is None:
        family = [process, *process.children(recursive=True)]
        cpu = max(cpu, sum(_cpu_seconds(p) for p in family))
        peak = max(peak, sum(_resident(p) for p in family))
        time.sleep(POLL_SECONDS)
    if process.returncode:
        sys.exit(f"error: stage {stage} failed. Run `dvc repro {stage}` to see why.")
    return Cost(stage, time.perf_counter() - started, cpu, peak / 1e6)


def _cpu_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return times.user + times.system


def _resident(process: psutil.Process) -> float:
    try:
        return float(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0.0


def main() -> None:
    """Print a table."""
    print("| stage | seconds | CPU seconds | peak MB |\n|---|---|---|---|", flush=True)
    for stage in stages():
        cost = measure(stage)
        print(f"| {cost.stage} | {cost.seconds:.0f} | {cost.cpu_seconds:.0f} | {cost.peak_megabytes:.0f} |", flush=True)


if __name__ == "__main__":
    main()
