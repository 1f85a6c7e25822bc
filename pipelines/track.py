"""track: what dvc.lock says was computed -> MLflow, once. `make repro` ends with it.

A stage that DVC restores from its cache runs no code, so stages do not log themselves: this command reads the lock and
logs every stage whose hash is not in the store yet.

    python -m pipelines.track
"""

import csv
import hashlib
import json
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipelines.eval.settings import System
from voice.errors import InputError
from voice.pack import Kind
from voice.tracking import Run, Store

BOUNDS = ("real", "other_speaker")
NO_METRIC = ("side", "epoch", "step")  # columns of training.csv


@dataclass(frozen=True, slots=True)
class Lock:
    """The stages of dvc.lock."""

    stages: Mapping[str, dict[str, Any]]

    @classmethod
    def read(cls, path: Path) -> "Lock":
        """Read a lock file. Raises InputError if nothing was run yet."""
        stages = (yaml.safe_load(path.read_text()) if path.is_file() else {}).get("stages") or {}
        if not stages:
            raise InputError(f"{path}: no stage has run. Run `make repro`.")
        return cls(stages)

    def key(self, *names: str) -> str:
        """Hash of what these stages read, ran and made."""
        content = json.dumps([self.stages[name] for name in names], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def choices(self, name: str) -> dict[str, str]:
        """The `key=value` words of a stage's command: voice, model, train, eval, system."""
        words = self.stages[name]["cmd"].split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def params(self, name: str) -> dict[str, Any]:
        """A stage's choices and the values it read, as `group.key` whatever file was chosen."""
        values: dict[str, Any] = dict(self.choices(name))
        for path, content in self.stages[name].get("params", {}).items():
            values |= dict(_flatten(content, Path(path).parent.name))
        return values


def _flatten(content: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}.{key}")
        else:
            yield f"{prefix}.{key}", value


def numbers(content: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The finite numbers of a metrics file; nested names are joined by dots."""
    flat = _flatten(content, prefix) if prefix else ((k, v) for key, x in content.items() for k, v in _pairs(key, x))
    return {k: float(v) for k, v in flat if isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v)}


def _pairs(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    return _flatten(value, key) if isinstance(value, Mapping) else iter([(key, value)])


def _json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _curve(path: Path) -> list[tuple[int, dict[str, float]]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [
        (int(row["step"]), {f"{row['side']}_{n}": float(v) for n, v in row.items() if n not in NO_METRIC and v})
        for row in rows
    ]


def runs(lock: Lock) -> Iterator[Run]:
    """One run for each stage, system and bound that the lock knows."""
    for name in lock.stages:
        if not name.startswith("synthesize@") and name != "score":
            yield _stage_run(lock, name)
    if "compare" in lock.stages:
        yield from _system_runs(lock)


def _stage_run(lock: Lock, name: str) -> Run:
    voice = lock.choices(name)["voice"]
    processed, reports = Path("data/processed") / voice, Path("reports") / voice
    metrics: dict[str, float] = {}
    curves: list[tuple[int, dict[str, float]]] = []
    artifacts: list[Path] = []
    live = ""
    match name:
        case "preprocess":
            artifacts = [processed / "measurements.csv"]
        case "transcribe":
            artifacts = [processed / "transcripts.csv"]
        case "curate":
            artifacts = [processed / "quality.csv"]
        case "describe":
            metrics, artifacts = numbers(_json(reports / "data.json")), [reports / "data.html"]
        case "split":
            metrics, artifacts = numbers(_json(processed / "summary.json")), [processed / "reference.wav"]
        case "finetune":
            summary, curves = _json(reports / "training.json"), _curve(reports / "training.csv")
            drawn = {key for _, values in curves for key in values}  # their last point is the summary's
            metrics = {key: value for key, value in numbers(summary).items() if key not in drawn}
            live = summary["run"]
            artifacts = [reports / "listening"]
        case "compare":
            metrics = numbers(_json(reports / "metrics.json")["difference_to_zero_shot"])
            artifacts = [reports / "report.html", reports / "metrics.json"]
        case "package":
            artifacts = [Path("models") / voice / "bento" / "tag.txt"]
    tags = {"voice": voice, "stage": name}
    return Run(name, lock.key(name), tags, lock.params(name), metrics, curves, artifacts, live)


def _system_runs(lock: Lock) -> Iterator[Run]:
    voice = lock.choices("compare")["voice"]
    reports = Path("reports") / voice
    systems = _json(reports / "metrics.json")["systems"]
    params = lock.params("score")
    for system in System:
        stage = f"synthesize@{system}"
        yield Run(
            stage,
            lock.key(stage, "score", "compare"),
            {"voice": voice, "stage": "synthesize", "system": system},
            params | lock.params(stage),
            numbers(systems[system]),
            artifacts=[reports / "scores" / f"{system}.csv"],
        )
    for bound in BOUNDS:
        yield Run(
            f"score@{bound}",
            lock.key("score", "compare"),
            {"voice": voice, "stage": "score", "system": bound},
            params,
            numbers(systems[bound]),
            artifacts=[reports / "scores" / f"{bound}.csv"],
        )


def register(store: Store, lock: Lock, logged: Mapping[str, str]) -> None:
    """Register the tuned checkpoint and the packaged winner by pointer; the winner becomes the champion."""
    if "package" not in lock.stages:
        return
    voice = lock.choices("package")["voice"]
    model = f"voice-{voice.lower()}"
    tuned = store.register(
        model,
        Path("models") / voice / "finetuned",
        run_id=logged["finetune"],
        key=lock.key("finetune"),
        tags={"kind": Kind.FINETUNED},
    )
    metrics = _json(Path("reports") / voice / "metrics.json")
    if metrics["decision"]["winner"] == System.FINETUNED:
        store.set_champion(model, tuned)
        return
    pack = (Path("models") / voice / "bento" / "pack_tag.txt").read_text(encoding="utf-8").strip()
    version = store.register(
        model,
        Path(".bentoml/models") / pack.replace(":", "/"),
        run_id=logged[f"synthesize@{System.ZERO_SHOT}"],
        key=pack,
        tags={"kind": Kind.ZERO_SHOT},
    )
    store.set_champion(model, version)


def main() -> None:
    """Log what is not in the store yet."""
    try:
        lock = Lock.read(Path("dvc.lock"))
    except InputError as error:
        sys.exit(f"error: {error}")
    store = Store(Path())
    logged = {run.name: store.log(run) for run in runs(lock)}
    register(store, lock, logged)


if __name__ == "__main__":
    main()
