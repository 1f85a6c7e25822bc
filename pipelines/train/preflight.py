"""Before hours of training: what would stop it or spoil it, one line each with the remedy."""

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator

from pipelines.train.budget import Budget
from pipelines.train.prepare import Prepared, fit_memory
from pipelines.train.snapshots import KEPT_STATES
from voice.audio import FRAME_RATE, seconds
from voice.errors import InputError
from voice.tts import Qwen3TTS, Request

SHORT_SECONDS = 1.5  # median; conf/data/segment.yaml aims at 2 to 12
OLDEST_BF16 = (8, 0)  # compute capability; older cards emulate bf16
STOCK_LOSS = (2.0, 4.0)  # first-batch loss of a published base; 2.5 to 3.0 is usual
GB = 1e9
DRIVER = Path("/proc/driver/nvidia/version")  # there wherever NVIDIA's kernel module is loaded


@dataclass(frozen=True, slots=True)
class Check:
    """One line: whether training may start, what was found, and the remedy if not."""

    name: str
    ok: bool
    found: str

    def __str__(self) -> str:
        return f"{'ok  ' if self.ok else 'FAIL'}  {self.name:<11} {self.found}"


def check_device(device: torch.device) -> Check:
    """Driver, CUDA and whether the card computes in bf16."""
    driver = driver_version(DRIVER)
    if device.type != "cuda" and driver and torch.version.cuda:
        return Check(
            "device", False, f"driver {driver}, but torch cannot use it: update the driver to one for CUDA "
            f"{torch.version.cuda} (`nvidia-smi` shows what it supports), or unset CUDA_VISIBLE_DEVICES",
        )  # fmt: skip
    if device.type != "cuda":
        why = "torch sees no CUDA device" if torch.version.cuda else "this torch is built without CUDA"
        return Check("device", True, f"CPU ({why}): right for tiny and nano; a published model takes a day and more")
    capability = torch.cuda.get_device_capability(device)
    name = f"{torch.cuda.get_device_name(device)}, driver {driver or 'unknown'}, CUDA {torch.version.cuda}, "
    name += f"compute {capability[0]}.{capability[1]}"
    if capability < OLDEST_BF16:
        return Check("device", False, f"{name}: no bf16. Use a card of compute 8.0 or newer (Ampere), or the CPU")
    return Check("device", True, name)


def driver_version(path: Path) -> str | None:
    """The version of NVIDIA's driver, where there is one."""
    if not path.is_file():
        return None
    found = re.search(r"Kernel Module.*?(\d+\.\d+(?:\.\d+)?)", path.read_text(encoding="utf-8"))
    return found[1] if found else "of an unknown version"


def check_memory(budget: Budget) -> Check:
    """Weights, gradients, moments and activations against what is free."""
    try:
        budget.require_fit()
    except InputError as error:
        return Check("memory", False, str(error))
    return Check("memory", True, str(budget))


def check_disk(budget: Budget, folder: Path) -> Check:
    """Room for the states that are kept, the best weights and the export."""
    state = budget.gradients + budget.moments  # what moves is as large as its gradients
    needed, free = state * (KEPT_STATES + 1) + 2 * budget.weights, shutil.disk_usage(folder).free
    found = f"needs {needed / GB:.1f} GB of {free / GB:.1f} GB free"
    return Check("disk", needed <= free, found if needed <= free else f"{found}. Make room, or use train=lora")


def check_data(report: Path, prepared: Prepared) -> Check:
    """Minutes and tier, as the report about the data says."""
    minutes = sum(len(e.codes) for e in prepared.material.train) / FRAME_RATE / 60
    found = f"{len(prepared.material.train)} clips, {minutes:.1f} min to train on"
    if not report.is_file():
        return Check("data", True, f"{found}, tier unknown: `dvc repro describe` tells it")
    tier = json.loads(report.read_text(encoding="utf-8")).get("tier")
    more = "" if tier else "; a voice needs 5 minutes and 50 clips to be judged, so record more: `make record`"
    return Check("data", True, f"{found}, tier {tier or 'below minimum'}{more}")


def check_lengths(prepared: Prepared) -> Check:
    """How long the clips are, and how much of an epoch is padding."""
    lengths = np.array([len(e.codes) / FRAME_RATE for e in prepared.material.train])
    low, middle, high = np.quantile(lengths, [0.0, 0.5, 1.0])
    positions = max(e.positions for e in prepared.material.train)
    found = f"{low:.1f} to {high:.1f} s, median {middle:.1f} s; the longest takes {positions} positions, "
    found += f"{prepared.trainer.padding():.0%} of an epoch is padding"
    if middle < SHORT_SECONDS:
        found += "; clips this short teach little of how sentences end: record longer ones"
    return Check("lengths", True, found)


def check_first_loss(prepared: Prepared) -> Check:
    """Whether codes, texts and model belong together."""
    loss = prepared.trainer.validate().loss
    found = f"{loss:.2f} on the held-out clips before training"
    limit = prepared.train.max_first_loss
    if limit is None:
        if not np.isfinite(loss):
            return Check("first loss", False, f"{found}: the base is damaged. Fetch it again")
        return Check("first loss", True, f"{found} (no gate: not a published base, or train.max_first_loss=null)")
    if not loss <= limit:
        return Check("first loss", False, f"{found}, above {limit:g}: misaligned. Run `dvc repro -f encode`")
    usual = STOCK_LOSS[0] <= loss <= STOCK_LOSS[1]
    return Check("first loss", True, found if usual else f"{found}; 2.5 to 3.0 is usual, so look at a few clips")


def check_speech(prepared: Prepared, voice: str, language: str, accelerator: Accelerator) -> Check:
    """One short sentence through `generate`."""
    prepared.tts.model.eval()
    tts = Qwen3TTS.finetuned(prepared.tts, voice=voice, speaker=prepared.speaker)
    started = time.perf_counter()
    with accelerator.autocast():
        speech = tts.speak(Request("Yes.", voice, language=language))
    took = time.perf_counter() - started
    length = seconds(speech.waveform)
    ok = length > 0 and bool(np.isfinite(speech.waveform).all())
    remedy = "no audio came out: the base is damaged. Fetch it again"
    return Check("speech", ok, f"{length:.1f} s of audio in {took:.1f} s" if ok else remedy)


def preflight(
    prepared: Prepared, *, voice: str, language: str, accelerator: Accelerator, root: Path
) -> Iterator[Check]:
    """All checks of a prepared model, in the order in which they save time. One that fails does not stop the others."""
    budget = fit_memory(prepared, accelerator)
    checks: list[Callable[[], Check]] = [
        lambda: check_memory(budget),
        lambda: check_disk(budget, root),
        lambda: check_data(root / "reports" / voice / "data.json", prepared),
        lambda: check_lengths(prepared),
        lambda: check_first_loss(prepared),
        lambda: check_speech(prepared, voice, language, accelerator),
    ]
    return (check() for check in checks)
