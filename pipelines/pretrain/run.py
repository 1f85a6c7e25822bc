"""How each part of `nano` is trained: step by step at a rate that warms up and falls, with a log, resumable exactly."""

import csv
import logging
import math
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, Self

import torch

from voice.bounds import within
from voice.errors import InputError
from voice.publish import publish

log = logging.getLogger(__name__)

STATE_FILE, LOG_FILE = "state.pt", "training.csv"
Row = dict[str, float]


@dataclass(kw_only=True)
class Pace:
    """How long it learns and how fast."""

    steps: int = within(low=1)
    lr: float = within(above=0)
    final_lr_share: float = within(low=0, high=1)
    warmup_steps: int = within(low=0)
    decay_steps: int = within(low=0)

    def learning_rate(self, step: int, *, since: int = 0) -> float:
        """Warm-up, plateau, and a straight line down (arXiv:2405.18392: as good as cosine, and extendable).

        `since`: when the optimiser began.
        """
        up = min(1.0, (step - since + 1) / max(1, self.warmup_steps))
        left = min(1.0, (self.steps - step) / max(1, self.decay_steps))
        return self.lr * up * (self.final_lr_share + (1 - self.final_lr_share) * left)

    def with_larger_batches(self, factor: int) -> Self:
        """As much to learn from in fewer steps, each from `factor` times as much."""
        return replace(self, steps=-(-self.steps // factor), decay_steps=-(-self.decay_steps // factor))


@dataclass(kw_only=True)
class Log:
    """How often it writes down where it is."""

    save_minutes: float = within(above=0)
    log_every: int = within(low=1)


class Learner(Protocol):
    """A model in training."""

    step: int  # finished ones
    seconds: float  # spent in them, over all runs

    @property
    def steps(self) -> int:
        """When it is done."""
        ...

    def take_step(self) -> Row:
        """Learn from the next batch. Returns what it measured; of several steps the log has the means."""
        ...

    def notes(self) -> Row:
        """What the log has of the present moment."""
        ...

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on, `step` and `seconds` among it."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state()`."""
        ...


def save(learner: Learner, folder: Path) -> None:
    """Write the checkpoint: whole, or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    with publish(folder / STATE_FILE) as draft:
        torch.save(learner.state(), draft)


def read_state(folder: Path, *, command: str) -> dict[str, Any]:
    """The newest checkpoint of a training run. Raises InputError if there is none: `command` makes one."""
    path = folder / STATE_FILE
    if not path.is_file():
        raise InputError(f"{path} is missing. Run `{command}` first.")
    return torch.load(path, map_location="cpu", weights_only=True)


def resume(learner: Learner, folder: Path, *, device: str) -> bool:
    """Go on from the checkpoint in `folder`, if there is one; lines that the log is ahead by are dropped."""
    path = folder / STATE_FILE
    if not path.is_file():
        return False
    learner.restore(torch.load(path, map_location=device, weights_only=True))
    kept = [row for row in read_log(folder / LOG_FILE) if row["step"] <= learner.step]
    _rewrite(folder / LOG_FILE, kept)
    log.info("going on from step %d", learner.step)
    return True


def read_log(path: Path) -> list[Row]:
    """The lines of training.csv; a last line that was cut off is left out."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if all(row.values())]
    return [{name: float(value) for name, value in row.items()} for row in rows]


def _columns(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8") as file:
        return next(csv.reader(file), [])


def _append(path: Path, rows: Sequence[Row]) -> None:
    names = list(rows[0])
    if not path.is_file() or _columns(path) != names:  # a run that began when other things were measured
        _rewrite(path, [*({name: row.get(name, math.nan) for name in names} for row in read_log(path)), *rows])
        return
    with path.open("a", newline="", encoding="utf-8") as file:
        csv.DictWriter(file, names).writerows(_printed(rows))


def _rewrite(path: Path, rows: Sequence[Row]) -> None:
    if not rows:
        path.unlink(missing_ok=True)
        return
    with publish(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(_printed(rows))


def _printed(rows: Sequence[Row]) -> Iterator[dict[str, str]]:
    return ({name: f"{value:.6g}" for name, value in row.items()} for row in rows)


def show(row: Row) -> None:
    """One line of progress."""
    values = "  ".join(f"{name} {value:.4g}" for name, value in row.items() if name not in ("step", "hours"))
    log.info("step %6d  %.2f h  %s", row["step"], row["hours"], values)


def fit(learner: Learner, folder: Path, pace: Log, *, report: Callable[[Row], None] = show) -> None:
    """Train to the last step; save now and then, at the end and when asked to stop (SIGTERM, SIGINT)."""
    folder.mkdir(parents=True, exist_ok=True)
    stopping: list[int] = []
    before = {s: signal.signal(s, lambda number, _: stopping.append(number)) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        _fit(learner, folder, pace, report, stopping)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if stopping:
        log.info("stopped at step %d; the same command goes on", learner.step)
        os.kill(os.getpid(), stopping[0]) if stopping[0] == signal.SIGTERM else None


def go_on(learner: Learner, folder: Path, pace: Log, *, device: str) -> None:
    """Train from the newest checkpoint, if there is one, to the last step."""
    resume(learner, folder, device=device)
    fit(learner, folder, pace)


def _fit(learner: Learner, folder: Path, pace: Log, report: Callable[[Row], None], stopping: Sequence[int]) -> None:
    saved, measured = time.monotonic(), list[Row]()
    while learner.step < learner.steps and not stopping:
        started = time.monotonic()
        measured.append(learner.take_step())
        learner.seconds += time.monotonic() - started
        if learner.step % pace.log_every == 0:
            row = {"step": float(learner.step), "hours": learner.seconds / 3_600, **_means(measured), **learner.notes()}
            _append(folder / LOG_FILE, [row])
            report(row)
            measured.clear()
        if time.monotonic() - saved > pace.save_minutes * 60:
            save(learner, folder)
            saved = time.monotonic()
    save(learner, folder)


def _means(rows: Sequence[Mapping[str, float]]) -> Row:
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
