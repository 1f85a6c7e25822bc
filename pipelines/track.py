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

from pipelines.eval.settings import CODEC, System
from voice.errors import InputError
from voice.pack import Kind
from voice.tracking import Input, Pointer, Run, Store

_SPEAKING = ("synthesize@", "synthesize_more@")
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

    def key(self, *names: str, beside: Mapping[str, Any] | None = None) -> str:
        """Hash of what these stages read, ran and made, and of what is given `beside` them."""
        content = json.dumps([*(self.stages[name] for name in names), *([beside] if beside else [])], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def digest(self, name: str, path: Path) -> str:
        """DVC's hash of what a stage read or made; `unknown` where the lock has none."""
        stage = self.stages[name]
        found = {entry["path"]: entry.get("md5", "") for entry in [*stage.get("deps", []), *stage.get("outs", [])]}
        return str(found.get(path.as_posix()) or "unknown").removesuffix(".dir")

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
    """One run for each stage, and one for each system and bound of a voice."""
    for name in lock.stages:
        if not name.startswith(_SPEAKING) and name not in ("score", "roundtrip"):
            yield _stage_run(lock, name)
    if "compare" in lock.stages:
        yield from _system_runs(lock)


def _stage_run(lock: Lock, name: str) -> Run:
    voice = lock.choices(name)["voice"]
    processed, reports = Path("data/processed") / voice, Path("reports") / voice
    metrics: dict[str, float] = {}
    curves: list[tuple[int, dict[str, float]]] = []
    artifacts: list[Path] = []
    live, tags = "", {"voice": voice, "stage": name}
    inputs: list[Input] = []
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
            codes = Path("data/codes") / voice
            inputs = [Input(f"{voice}-codes", lock.digest(name, codes), codes, "training")]
        case "compare":
            found = _json(reports / "metrics.json")
            metrics = numbers(found["difference_to_zero_shot"]) | numbers({"votes": found["votes"]})
            tags["verdict"] = found["decision"]["outcome"]
            artifacts = [reports / "report.html", reports / "metrics.json", reports / "figures.csv"]
        case "package":
            artifacts = [Path("models") / voice / "bento" / "tag.txt"]
    return Run(name, lock.key(name), tags, lock.params(name), metrics, curves, artifacts, inputs, live=live)


def _system_runs(lock: Lock) -> Iterator[Run]:
    voice = lock.choices("compare")["voice"]
    metrics = _json(Path("reports") / voice / "metrics.json")
    stages = {name.partition("@")[2]: name for name in lock.stages if name.startswith(_SPEAKING)}
    for system, figures in metrics["systems"].items():
        yield _system_run(lock, voice, system, figures, metrics["texts"], stages.get(system, "score"))
    for bound, figures in metrics["bounds"].items():
        stage = "roundtrip" if bound == CODEC and "roundtrip" in lock.stages else "score"
        yield _system_run(lock, voice, bound, figures, metrics["texts"], stage)


def _system_run(lock: Lock, voice: str, system: str, figures: dict[str, Any], texts: dict[str, Any], stage: str) -> Run:
    reports, processed = Path("reports") / voice, Path("data/processed") / voice
    spoken = reports / "audio" / system
    role = "system" if stage.startswith(_SPEAKING) else "bound"
    inputs = [Input(f"{voice}-held-out", lock.digest("score", processed / "wavs"), processed / "wavs", "evaluation")]
    if role == "system":
        inputs.append(Input(f"texts-{texts['language']}", texts["version"], reports / "sentences.csv", "evaluation"))
    return Run(
        f"{voice}/{system}",
        # its own figures, not the whole comparison: votes and players change nothing about a system
        lock.key(*dict.fromkeys((stage, "score")), beside=figures),
        {"voice": voice, "stage": stage.partition("@")[0], "system": system, "role": role},
        lock.params("score") | lock.params(stage),
        numbers(figures),
        artifacts=[
            reports / "scores" / f"{system}.csv",
            reports / "report.html",
            *([spoken] if role == "system" else []),
        ],
        inputs=inputs,
        model=_model_of(lock, voice, system, stage) if role == "system" else None,
    )


def _model_of(lock: Lock, voice: str, system: str, stage: str) -> Pointer:
    read = (entry["path"] for entry in lock.stages[stage].get("deps", []))
    tuned = [path for path in read if not path.startswith(("data/", "reports/", "pipelines/"))]
    checkpoint = Path(tuned[0]) if tuned else Path("data/processed") / voice / "reference.wav"
    return Pointer(f"{voice}-{system}", checkpoint, lock.digest(stage, checkpoint))


def register(store: Store, lock: Lock, logged: Mapping[str, str]) -> None:
    """Register both voices by pointer: the winner is the champion, the other one the challenger."""
    if "package" not in lock.stages:
        return
    voice = lock.choices("package")["voice"]
    model = f"voice-{voice.lower()}"
    tuned = Path("models") / voice / "finetuned"
    reference = Path("data/processed") / voice / "reference.wav"
    wins = _json(Path("reports") / voice / "metrics.json")["decision"]["winner"] == System.FINETUNED
    pack = (Path("models") / voice / "bento" / "pack_tag.txt").read_text(encoding="utf-8").strip()
    versions = {
        Kind.FINETUNED: store.register(
            model,
            tuned,
            run_id=logged["finetune"],
            key=lock.key("finetune"),
            tags={"kind": Kind.FINETUNED, "dvc_md5": lock.digest("finetune", tuned)},
        ),
        # packaged, it is a folder of its own; otherwise the base of conf/model/ and this reference
        Kind.ZERO_SHOT: store.register(
            model,
            reference.parent if wins else Path(".bentoml/models") / pack.replace(":", "/"),
            run_id=logged[f"{voice}/{System.ZERO_SHOT}"],
            key=lock.key("split") if wins else pack,
            tags={"kind": Kind.ZERO_SHOT, "dvc_md5": lock.digest("split", reference)},
        ),
    }
    champion, challenger = (Kind.FINETUNED, Kind.ZERO_SHOT) if wins else (Kind.ZERO_SHOT, Kind.FINETUNED)
    store.set_alias(model, "champion", versions[champion])
    store.set_alias(model, "challenger", versions[challenger])


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
