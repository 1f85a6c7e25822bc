"""What is checked before hours of training."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from pipelines.train import preflight as checks
from pipelines.train.budget import Budget
from pipelines.train.preflight import Check, preflight
from pipelines.train.prepare import prepare
from tests.pipelines.train.voices import FULL, Voice


def run(voice: Voice, *, stock: bool = False) -> dict[str, Check]:
    config = voice.settings(replace(FULL, max_first_loss=6.0), stock=stock)
    accelerator = Accelerator(cpu=True)
    ready = prepare(config.voice, config.model, config.train, voice.folders.codes, accelerator)
    found = preflight(ready, voice="Me", language="en", accelerator=accelerator, root=voice.root)
    return {check.name: check for check in found}


def test_everything_is_looked_at_and_said_in_one_line_each(voice: Voice):
    (voice.root / "reports" / "Me").mkdir(parents=True)
    (voice.root / "reports" / "Me" / "data.json").write_text(json.dumps({"tier": "good"}))
    found = run(voice)
    assert list(found) == ["memory", "disk", "data", "lengths", "first loss", "speech"]
    assert all(check.ok for check in found.values())
    assert "\n" not in "".join(map(str, found.values()))
    assert "tier good" in found["data"].found
    assert "s of audio in" in found["speech"].found


def test_a_published_base_that_codes_do_not_belong_to_fails(voice: Voice):
    check = run(voice, stock=True)["first loss"]
    assert not check.ok
    assert "misaligned. Run `dvc repro -f encode`" in check.found


def budget(available: float) -> Budget:
    return Budget(weights=1e9, gradients=1e9, moments=2e9, activations=1e9, available=available)


def test_memory_and_disk_that_do_not_suffice_fail_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert checks.check_memory(budget(9e9)).ok
    refused = checks.check_memory(budget(2e9))
    assert not refused.ok
    assert "train=lora" in refused.found
    assert checks.check_disk(budget(1), tmp_path).ok
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10e9})())
    full = checks.check_disk(budget(1), tmp_path)
    assert not full.ok
    assert "Make room" in full.found


def test_a_card_that_torch_cannot_use_is_no_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    driver = tmp_path / "version"
    monkeypatch.setattr(checks, "DRIVER", driver)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert checks.check_device(torch.device("cpu")).ok
    driver.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.57.02  Tue Jul 13 16:14:05 UTC 2021\n")
    refused = checks.check_device(torch.device("cpu"))
    assert not refused.ok
    assert "driver 470.57.02" in refused.found
    assert "update the driver to one for CUDA 13.0" in refused.found


@pytest.mark.parametrize(("capability", "ok"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_a_card_without_bf16_fails(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], ok: bool):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a card")
    assert checks.check_device(torch.device("cuda")).ok is ok
