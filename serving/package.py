"""package: the winner as a voice pack in BentoML's model store, and a Bento that serves it.

python -m serving.package voice=demo
"""

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipelines.eval.settings import System
from pipelines.model import Model
from voice import checkpoint
from voice.errors import InputError
from voice.pack import Kind, Reference, VoiceCard
from voice.publish import publish
from voice.stage import output_root, stage

log = logging.getLogger(__name__)

PROJECT = Path(__file__).resolve().parent.parent
SOURCES = ("serving", "voice", "conf/serve")
LOCK = "requirements.lock"
CUDA_IMAGE = "nvidia/cuda:13.0.1-runtime-ubuntu24.04"  # as the locked torch, which brings the libraries itself
_TIMINGS = ("rtf", "first_audio_seconds")


@dataclass
class Package:  # conf/package.yaml
    """Settings of the stage."""

    voice: str
    language: str
    model: Model


def assemble(config: Package, out: Path) -> Kind:
    """Put together the winner's pack: weights, reference, voice.json, scores.json. Returns the winner's kind."""
    path = Path("reports") / config.voice / "metrics.json"
    if not path.is_file():
        raise InputError(f"{path} is missing: no winner is known. Run `dvc repro compare`.")
    metrics = json.loads(path.read_text(encoding="utf-8"))
    winner = System(metrics["decision"]["winner"])
    if winner is System.FINETUNED:
        shutil.copytree(Path("models") / config.voice / "finetuned", out)
    else:
        _assemble_zero_shot(config, out)
    (out / "scores.json").write_text(json.dumps(_without_timings(metrics), indent=2) + "\n", encoding="utf-8")
    return VoiceCard.read(out).kind


def _assemble_zero_shot(config: Package, out: Path) -> None:
    processed = Path("data/processed") / config.voice
    base = checkpoint.resolve(config.model.source, config.model.revision)
    # a folder that was cloned or downloaded holds .git or .cache: the weights once more, and when they came
    shutil.copytree(base.path, out, ignore=shutil.ignore_patterns(".*"))
    Reference.read(processed).copy_to(out)
    VoiceCard(
        name=config.voice,
        kind=Kind.ZERO_SHOT,
        speaker=None,
        language=config.language,
        base=base.source,
        base_revision=base.revision,
        data_hash=hashlib.sha256((processed / "reference.wav").read_bytes()).hexdigest()[:16],
        config_hash="",
    ).write(out)


def _without_timings(metrics: dict[str, Any]) -> dict[str, Any]:
    # the pack's tag is its content: how fast this machine was today does not belong to it
    systems = {name: {k: v for k, v in m.items() if k not in _TIMINGS} for name, m in metrics["systems"].items()}
    return {**metrics, "systems": systems}


def store(pack: Path, name: str) -> str:
    """Put a pack into BentoML's model store under its content hash, unless it is there already. Returns the tag."""
    import bentoml

    tag = f"{name}:{checkpoint.content_hash(pack)}"
    try:
        bentoml.models.get(tag)
    except bentoml.exceptions.NotFound:
        with bentoml.models.create(tag) as model:
            shutil.copytree(pack, model.path, dirs_exist_ok=True)
    return tag


def build(pack_tag: str, name: str, staging: Path) -> str:
    """Build the Bento that serves a stored pack; its version is the hash of pack, code and lock. Returns the tag."""
    import bentoml

    staging.mkdir()
    for source in SOURCES:
        shutil.copytree(
            PROJECT / source, staging / source, ignore=shutil.ignore_patterns("__pycache__", "pack_tag.txt")
        )
    shutil.copy(PROJECT / LOCK, staging / LOCK)
    (staging / "serving/pack_tag.txt").write_text(pack_tag + "\n", encoding="utf-8")
    (staging / "bentofile.yaml").write_text(yaml.safe_dump(_bentofile(name)), encoding="utf-8")
    tag = f"{name}:{checkpoint.content_hash(staging)}"
    try:
        bentoml.bentos.get(tag)
    except bentoml.exceptions.NotFound:
        _run_bentoml("build", ".", "--version", tag.partition(":")[2], cwd=staging)
    return tag


def _bentofile(name: str) -> dict[str, Any]:
    return {
        "service": "serving.service:VoiceService",
        "name": name,
        "include": [f"{source}/**" for source in SOURCES] + [LOCK],
        "python": {"requirements_txt": f"./{LOCK}", "lock_packages": False},
        "docker": {
            "base_image": CUDA_IMAGE,
            "python_version": "3.11",
            "dockerfile_template": "./serving/Dockerfile.j2",
            "env": {"BENTOML_HOST": "0.0.0.0"},  # all that a container has of its own; keys are needed from there
        },
    }


def _run_bentoml(*arguments: str, cwd: Path = PROJECT) -> None:
    # a process of its own: this one has imported `serving` from the project, not from the staging folder
    command = [sys.executable, "-m", "bentoml", *arguments]
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        last = (result.stderr.strip() or result.stdout.strip()).splitlines()[-1]
        raise InputError(f"bentoml {arguments[0]} failed: {last}")


@stage(Package)
def main(config: Package) -> None:
    """Package one voice's winner."""
    os.environ["BENTOML_HOME"] = str(Path(".bentoml").resolve())
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"
    Path(".bentoml").mkdir(exist_ok=True)
    name = f"voice-{config.voice.lower()}"
    with tempfile.TemporaryDirectory(dir=".bentoml") as work:  # beside the store: gigabytes stay on one disk
        pack = Path(work) / "pack"
        kind = assemble(config, pack)
        pack_tag = store(pack, name)
    with tempfile.TemporaryDirectory() as staging:  # BentoML builds from no folder with a hidden part in its path
        bento_tag = build(pack_tag, name, Path(staging) / "bento")
    with publish(output_root() / "models" / config.voice / "bento") as draft:
        draft.mkdir()
        _run_bentoml("export", bento_tag, str((draft / f"{name}.bento").resolve()))
        (draft / "tag.txt").write_text(bento_tag + "\n", encoding="utf-8")
        (draft / "pack_tag.txt").write_text(pack_tag + "\n", encoding="utf-8")
    log.info("%s voice packaged as %s", kind, bento_tag)


if __name__ == "__main__":
    main()
