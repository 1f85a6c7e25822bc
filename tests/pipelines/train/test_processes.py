"""Processes of their own: killed ones, and two at once."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.pipelines.train.voices import write_codes, write_processed

PROJECT = Path(__file__).resolve().parents[3]
RECIPE = [
    "voice=me", "model=tiny", "train.listen=null", "train.epochs=40", "train.batch_size=2", "train.lr=1e-3",
    "train.checkpoint_every=1",
]  # fmt: skip
pytestmark = pytest.mark.slow


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "pipelines.train.finetune", *RECIPE, *words]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}


def project(folder: Path) -> Path:
    write_codes(folder / "data/codes/me", clips=10)
    write_processed(folder / "data/processed/me")
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "models/me/finetuned/model.safetensors")


def finish(folder: Path, *words: str) -> None:
    result = subprocess.run(command(*words), cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_killed_at_ten_random_moments_the_training_ends_as_if_it_had_not_been(tmp_path: Path):
    whole, killed = project(tmp_path / "whole"), project(tmp_path / "killed")
    finish(whole)
    moments = random.Random(0)
    kills = 0
    while kills < 10:
        running = subprocess.Popen(command(), cwd=killed, env=environment(), stderr=subprocess.DEVNULL)
        states = killed / ".cache/finetune/me"
        before = max((p.name for p in states.glob("*/step-*")), default="")
        # from the first state of this run on, at a moment that falls into an update or into the writing of a state
        while running.poll() is None and max((p.name for p in states.glob("*/step-*")), default="") <= before:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.15))
        if running.poll() is not None:
            break  # it came to its end before the tenth kill
        running.send_signal(signal.SIGKILL)
        running.wait()
        assert not (killed / "models/me/finetuned").exists()
        kills += 1
    finish(killed)
    assert kills == 10
    for name, tensor in weights(whole).items():
        torch.testing.assert_close(weights(killed)[name], tensor, rtol=0, atol=0)


def finish_in_two_processes(folder: Path, *words: str, program: str = "pipelines.train.finetune") -> None:
    # `accelerate launch` would start a single process on a CPU, without a word; on CUDA it calls this launcher
    launch = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", program]
    result = subprocess.run(
        [sys.executable, "-m", *launch, *words],
        cwd=folder, env=environment(), capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "process 1 of 2" in result.stdout + result.stderr


def test_the_second_process_waits_while_the_first_listens_and_validates_what_is_exported(tmp_path: Path):
    folder = project(tmp_path / "two")
    recipe = [word for word in RECIPE if not word.startswith(("train.listen", "train.epochs"))]
    # the first listening after an update stays the best, and its weights are put back
    words = [*recipe, "train.listen.forgetting=false", "train.epochs=2"]
    finish_in_two_processes(folder, *words, program="tests.pipelines.train.ends_badly")
    summary = json.loads((folder / "reports/me/training.json").read_text())
    with (folder / "reports/me/training.csv").open() as file:
        losses = {int(row["step"]): float(row["loss"]) for row in csv.DictReader(file) if row["side"] == "eval"}
    assert 0 < summary["chosen_step"] < summary["steps"]
    assert summary["eval_loss"] == pytest.approx(losses[summary["chosen_step"]])


@pytest.mark.parametrize("recipe", [[], ["train=lora", "train.lora.dropout=0"]], ids=["full", "lora"])
def test_two_processes_are_one_with_the_same_batch(tmp_path: Path, recipe: list[str]):
    one, two = project(tmp_path / "one"), project(tmp_path / "two")
    words = [*recipe, "train.batch_size=4", "train.epochs=1", "train.tag_probability=1.0"]
    finish(one, *words)
    finish_in_two_processes(two, *RECIPE, *words)
    for name, tensor in weights(one).items():
        if tensor.is_floating_point():
            distance = (weights(two)[name] - tensor).norm() / tensor.norm().clamp(min=1e-12)
            assert distance < 1e-6, name
