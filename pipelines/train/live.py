"""A training in MLflow while it runs: curves and what was heard."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Protocol

from sqlalchemy.exc import SQLAlchemyError

from pipelines.train.curve import Step
from pipelines.train.listening import Heard, Judges
from voice.tracking import MlflowException, Store

log = logging.getLogger(__name__)

UPDATES = 10  # between two writes


class Recorder(Protocol):
    """Takes note of a training."""

    def open(self, run_id: str) -> str:
        """Start, or go on with `run_id` if it is one. Returns the run's id."""
        ...

    def step(self, step: Step) -> None:
        """Note an update or a validation."""
        ...

    def heard(self, heard: Heard, judges: Judges, audio: Path) -> None:
        """Note a listening whose files lie below `audio`."""
        ...


class Silent:
    """Takes no note."""

    def open(self, run_id: str) -> str:
        """Keep what there was."""
        return run_id

    def step(self, step: Step) -> None:
        """Nothing."""

    def heard(self, heard: Heard, judges: Judges, audio: Path) -> None:
        """Nothing."""


class Live:
    """Writes to an MLflow run, the same one after a resume. A store that fails costs curves, never the training."""

    def __init__(self, project: Path, *, tags: Mapping[str, str]) -> None:
        self._project, self._tags, self._run_id = project, tags, ""
        self._store: Store | None = None
        self._pending: list[tuple[int, Mapping[str, float]]] = []

    def __enter__(self) -> "Live":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._store and self._run_id:
            self._flush()
            with _costing_curves_only():
                self._store.finish(self._run_id, "FINISHED" if kind is None else "KILLED")

    def open(self, run_id: str) -> str:
        """Go on with a run that is in the project's store, else start one."""
        with _costing_curves_only():
            self._store = Store(self._project)
            known = run_id and self._store.has(run_id)
            self._run_id = run_id if known else self._store.start("finetune", self._tags)
        return self._run_id

    def step(self, step: Step) -> None:
        """Note an update or a validation, now and then."""
        self._pending.append((step.step, step.metrics()))
        if len(self._pending) >= UPDATES:
            self._flush()

    def heard(self, heard: Heard, judges: Judges, audio: Path) -> None:
        """Note a listening, its audio as artifacts that MLflow's page plays."""
        self._pending.append((heard.step, heard.metrics(judges)))
        self._flush()
        folder = f"step-{heard.step:06}"
        if self._store and self._run_id:
            with _costing_curves_only():
                self._store.log_artifact(self._run_id, audio / folder, f"heard/{folder}")

    def _flush(self) -> None:
        if self._store and self._run_id:
            with _costing_curves_only():
                self._store.log_metrics(self._run_id, self._pending)
        self._pending = []


@contextmanager
def _costing_curves_only() -> Iterator[None]:
    # SQLAlchemy's errors come through where MLflow opens the file
    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        log.warning("MLflow did not take what was measured: %s", error)
