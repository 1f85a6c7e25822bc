"""Where a training stands, on disk: the two newest states and the best weights, each written whole or not at all.

    .cache/finetune/<voice>/<key>/step-000120/   weights.safetensors  optimizer.pt  history.json  digests.json
                                  step-000100/   the one before, in case the newest is damaged
                                  best-000080/   weights with the highest score heard, and with the one before it
                                  audio/         what was heard

The key is a hash of everything that decides the result: base, data, recipe. What only decides how it is computed
(memory, how often a state is written) is left out, so that a training that ran out of memory goes on with less.
"""

import errno
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from voice.publish import publish, remove

log = logging.getLogger(__name__)

CACHE = Path(".cache/finetune")
KEPT_STATES = 2  # and as many of the best: a state that is gone back to names the one it knew
KEPT_RUNS = 2  # of one voice: this one and the one before, so that a look at other settings costs no finished hours
NO_ROOM = 64 * 2**20  # bytes; less than that is a full disk
WEIGHTS, OPTIMIZER, HISTORY, DIGESTS = "weights.safetensors", "optimizer.pt", "history.json", "digests.json"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state that was read back."""

    weights: dict[str, Tensor]
    state: dict[str, Any]
    history: dict[str, Any]


class Snapshots:
    """The states of one training."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def claim(self) -> None:
        """Make the folder; those of the voice's oldest other settings are removed."""
        others = [p for p in self.folder.parent.glob("*") if p.is_dir() and p != self.folder]
        for old in sorted(others, key=lambda p: p.stat().st_mtime, reverse=True)[KEPT_RUNS - 1 :]:
            log.info("removed the unfinished training %s, the oldest of other settings", old)
            remove(old)
        self.folder.mkdir(parents=True, exist_ok=True)
        os.utime(self.folder)

    @property
    def audio(self) -> Path:
        """The folder of what was heard."""
        return self.folder / "audio"

    def save(self, step: int, weights: Mapping[str, Tensor], state: dict[str, Any], history: dict[str, Any]) -> None:
        """Write a state, flush it to the disk, then drop the ones that are too many.

        One that lies ahead was damaged, or training would have gone on from it. Raises OSError on a full disk.
        """
        with _full_disk_is_an_os_error(self.folder):
            self._save(step, weights, state, history)
        ahead = [p for p in self._states() if p.name > f"step-{step:06}"]
        for old in [*ahead, *self._states()[len(ahead) + KEPT_STATES :], *self._bests()[KEPT_STATES:]]:
            remove(old)

    def _save(self, step: int, weights: Mapping[str, Tensor], state: dict[str, Any], history: dict[str, Any]) -> None:
        with publish(self.folder / f"step-{step:06}") as draft:
            draft.mkdir()
            save_file({k: v.detach().contiguous().cpu() for k, v in weights.items()}, draft / WEIGHTS)
            torch.save(state, draft / OPTIMIZER)
            (draft / HISTORY).write_text(json.dumps(history), encoding="utf-8")
            digests = {name: _digest(draft / name) for name in (WEIGHTS, OPTIMIZER, HISTORY)}
            (draft / DIGESTS).write_text(json.dumps(digests), encoding="utf-8")
            for path in [*draft.iterdir(), draft]:
                _flush(path)
        _flush(self.folder)

    def latest(self) -> Snapshot | None:
        """The newest state that is whole, if there is one; damaged ones are named and passed over."""
        for folder in self._states():
            try:
                return _read(folder)
            except (OSError, ValueError, SafetensorError) as error:
                log.warning("%s is damaged (%s); going back to the state before it", folder, error)
        return None

    def save_best(self, step: int, weights: Mapping[str, Tensor]) -> None:
        """Write the weights with the highest score so far."""
        with _full_disk_is_an_os_error(self.folder), publish(self.folder / f"best-{step:06}") as draft:
            draft.mkdir()
            save_file({k: v.detach().contiguous().cpu() for k, v in weights.items()}, draft / WEIGHTS)
            _flush(draft / WEIGHTS)

    def best(self, step: int) -> dict[str, Tensor]:
        """The weights that `save_best` wrote after that update."""
        return load_file(self.folder / f"best-{step:06}" / WEIGHTS)

    def forget_best_after(self, step: int) -> None:
        """Remove those that a state knows nothing of, so that they take no place of those that it names."""
        for ahead in (p for p in self._bests() if p.name > f"best-{step:06}"):
            remove(ahead)

    def discard(self) -> None:
        """Remove everything: the training is finished and exported."""
        remove(self.folder)

    def _states(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"), reverse=True)

    def _bests(self) -> list[Path]:
        return sorted(self.folder.glob("best-*"), reverse=True)


@contextmanager
def _full_disk_is_an_os_error(folder: Path) -> Iterator[None]:
    # safetensors and torch.save have exceptions of their own for it, which the edge of a stage does not know
    try:
        yield
    except (SafetensorError, RuntimeError) as error:
        if shutil.disk_usage(folder).free > NO_ROOM:
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error


def _read(folder: Path) -> Snapshot:
    for name, digest in json.loads((folder / DIGESTS).read_text(encoding="utf-8")).items():
        if _digest(folder / name) != digest:
            raise ValueError(f"{name} has changed")
    return Snapshot(
        load_file(folder / WEIGHTS),
        torch.load(folder / OPTIMIZER, map_location="cpu", weights_only=True),
        json.loads((folder / HISTORY).read_text(encoding="utf-8")),
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def copy_audio(snapshots: Snapshots, out: Path) -> None:
    """Copy what was heard beside the report."""
    if snapshots.audio.is_dir():
        shutil.copytree(snapshots.audio, out, dirs_exist_ok=True)
