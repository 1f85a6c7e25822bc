"""The MLflow store: one sqlite file and one artifact folder in the project."""

import json
import logging
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
for noisy in ("alembic", "mlflow.store.db.utils"):
    logging.getLogger(noisy).setLevel(logging.WARNING)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # SQLAlchemy and pandas deprecations inside mlflow 3.17
    from mlflow import MlflowClient
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
    from mlflow.exceptions import MlflowException

__all__ = ["Input", "MlflowException", "Pointer", "Run", "Store"]

EXPERIMENT = "voices"
KEY_TAG = "key"
UNFINISHED_TAG = "unfinished"  # the key of a run that is being written: what is found so was interrupted
REPLACED_TAG = "replaced_by"
_DIGEST = 36  # characters of a dataset's digest that MLflow takes


@dataclass(frozen=True, slots=True)
class Input:
    """Data that a run read: what it is, where it lies, and a hash of its content."""

    name: str
    digest: str
    source: Path
    context: str  # `training`, `evaluation`


@dataclass(frozen=True, slots=True)
class Pointer:
    """A model that a run measured: not copied, only named, with the hash under which DVC keeps it."""

    name: str
    source: Path
    digest: str


@dataclass(frozen=True, slots=True)
class Run:
    """What one run records. `key` says what it was computed from: the same name and key are logged once."""

    name: str
    key: str
    tags: Mapping[str, str]
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    curves: Sequence[tuple[int, Mapping[str, float]]] = ()  # (step, metrics at that step)
    artifacts: Sequence[Path] = ()  # files to the top, folders under their names
    inputs: Sequence[Input] = ()
    model: Pointer | None = None  # what the metrics are about
    live: str = ""  # id of the run that recorded the curves while they were made, if one did


class Store:
    """MLflow in a project folder."""

    def __init__(self, project: Path) -> None:
        project = project.resolve()
        self._client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
        found = self._client.get_experiment_by_name(EXPERIMENT)
        location = (project / "mlartifacts").as_uri()
        self._experiment = found.experiment_id if found else self._client.create_experiment(EXPERIMENT, location)

    def find(self, name: str, key: str) -> str | None:
        """The id of the run that has this name and key, if there is one."""
        query = f"attributes.run_name = '{name}' and tags.{KEY_TAG} = '{key}' and attributes.status = 'FINISHED'"
        runs = self._client.search_runs([self._experiment], query, max_results=1)
        return runs[0].info.run_id if runs else None

    def log(self, run: Run) -> str:
        """Log a run unless it is there already; what an interruption left of it goes first. Returns its id."""
        known = self.find(run.name, run.key)
        if known:
            return known
        self._clear(run)
        if self._awaits_key(run.live):
            run_id, curves = run.live, []
        else:
            run_id, curves = self.start(run.name, {UNFINISHED_TAG: run.key}), list(run.curves)
        model_id = self._point(run.model, run_id) if run.model else None
        self.log_metrics(run_id, [(0, run.metrics), *curves], model_id=model_id)
        self._log_inputs(run_id, run.inputs)
        tags = [RunTag(k, v) for k, v in run.tags.items()]
        self._client.log_batch(run_id, params=[Param(k, str(v)) for k, v in run.params.items()], tags=tags)
        for path in run.artifacts:
            self.log_artifact(run_id, path, path.name if path.is_dir() else None)
        self.finish(run_id)
        self._client.set_tag(run_id, KEY_TAG, run.key)  # last: what has it is whole
        if run_id != run.live:
            self._client.delete_tag(run_id, UNFINISHED_TAG)
        return run_id

    def _clear(self, run: Run) -> None:
        query = f"attributes.run_name = '{run.name}' and tags.{UNFINISHED_TAG} = '{run.key}'"
        for left in self._client.search_runs([self._experiment], query):
            self._client.delete_run(left.info.run_id)

    def _point(self, model: Pointer, run_id: str) -> str:
        tags = {"source": model.source.as_posix(), "dvc_md5": model.digest}
        made = self._client.create_logged_model(self._experiment, model.name, run_id, tags, model_type="voice")
        self._client.finalize_logged_model(made.model_id, "READY")
        return str(made.model_id)

    def _log_inputs(self, run_id: str, inputs: Sequence[Input]) -> None:
        if inputs:
            self._client.log_inputs(
                run_id,
                [
                    DatasetInput(
                        Dataset(i.name, i.digest[:_DIGEST], "local", json.dumps({"uri": i.source.as_posix()})),
                        [InputTag("mlflow.data.context", i.context)],
                    )
                    for i in inputs
                ],
            )

    def start(self, name: str, tags: Mapping[str, str]) -> str:
        """Open a run that is to be filled while something happens. Returns its id."""
        created = self._client.create_run(self._experiment, run_name=name, tags=dict(tags))
        return str(created.info.run_id)

    def log_metrics(
        self, run_id: str, curves: Sequence[tuple[int, Mapping[str, float]]], *, model_id: str | None = None
    ) -> None:
        """Add metrics at their steps to a run, and to the model that they are about."""
        now = time.time_ns() // 1_000_000
        metrics = [
            Metric(k, v, now, step, model_id=model_id, run_id=run_id if model_id else None)
            for step, values in curves
            for k, v in values.items()
        ]
        for start in range(0, len(metrics), 1_000):  # MLflow's limit for one call
            self._client.log_batch(run_id, metrics=metrics[start : start + 1_000])

    def log_artifact(self, run_id: str, path: Path, folder: str | None = None) -> None:
        """Copy a file, or what is in a folder, to a run's artifacts."""
        if path.is_dir():
            self._client.log_artifacts(run_id, str(path), folder)
        else:
            self._client.log_artifact(run_id, str(path), folder)

    def finish(self, run_id: str, status: str = "FINISHED") -> None:
        """Close a run."""
        self._client.set_terminated(run_id, status)

    def has(self, run_id: str) -> bool:
        """Whether a run is in this store."""
        try:
            self._client.get_run(run_id)
        except MlflowException:
            return False
        return True

    def _awaits_key(self, run_id: str) -> bool:
        # one that has a key belongs to an earlier computation, whose result was restored
        return bool(run_id) and self.has(run_id) and KEY_TAG not in self._client.get_run(run_id).data.tags

    def register(self, model: str, folder: Path, *, run_id: str, key: str, tags: Mapping[str, str]) -> str:
        """Register a checkpoint by pointing at its folder, once for each key. Returns its version.

        Versions that point at the same folder are marked as replaced: the folder holds the newest one. Their `dvc_md5`
        says where DVC's cache has theirs.
        """
        try:
            self._client.create_registered_model(model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        source = folder.resolve().as_uri()
        versions = self._client.search_model_versions(f"name = '{model}'")
        known = next((str(v.version) for v in versions if v.tags.get(KEY_TAG) == key), None)
        if not known:
            created = self._client.create_model_version(model, source, run_id, tags={**tags, KEY_TAG: key})
            known = str(created.version)
        for version in versions:
            if version.source == source and str(version.version) != known:
                self._client.set_model_version_tag(model, str(version.version), REPLACED_TAG, known)
        self._client.delete_model_version_tag(model, known, REPLACED_TAG)  # a result that DVC has restored
        return known

    def set_alias(self, model: str, alias: str, version: str) -> None:
        """Point an alias at a version."""
        self._client.set_registered_model_alias(model, alias, version)
