"""Whatever ends a training, the same command goes on with it, bit for bit."""

import errno
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from pipelines.train.curve import Step
from pipelines.train.live import Silent
from pipelines.train.run import Stopped
from pipelines.train.settings import Train
from pipelines.train.snapshots import Snapshots
from tests.pipelines.train.voices import FULL, LORA, Result, Voice
from voice.errors import InputError

FOUR_EPOCHS = replace(FULL, epochs=4, checkpoint_every=1)
METHODS = {"full": FOUR_EPOCHS, "lora": replace(FOUR_EPOCHS, lora=LORA.lora, rates=LORA.rates)}


class StopAt(Silent):
    """Sends a signal to this process after an update, as `kill` would."""

    def __init__(self, update: int, signum: int = signal.SIGTERM) -> None:
        self._update, self._signum = update, signum

    def step(self, step: Step) -> None:
        if step.side == "train" and step.step == self._update:
            os.kill(os.getpid(), self._signum)


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


def losses(result: Result) -> list[tuple[str, int, float]]:
    return [(s.side, s.step, s.loss) for s in result.history.curve]


def require_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, rtol=0, atol=0)


@pytest.mark.parametrize("own_history", [0.0, 0.5])
@pytest.mark.parametrize("method", METHODS)
def test_two_epochs_and_two_more_equal_four_bit_for_bit(voice: Voice, tmp_path: Path, method: str, own_history: float):
    train = METHODS[method]
    whole = voice.train(train, tmp_path / "whole", own_history=own_history)
    whole.snapshots.discard()
    with pytest.raises(Stopped):
        voice.train(train, tmp_path / "never", recorder=StopAt(4), own_history=own_history)
    resumed = voice.train(train, tmp_path / "resumed", own_history=own_history)
    assert losses(resumed) == losses(whole)
    require_equal(weights(tmp_path / "whole"), weights(tmp_path / "resumed"))


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_after_the_update_and_says_how_to_go_on(voice: Voice, tmp_path: Path, signum: int):
    train = replace(FULL, checkpoint_every=1_000)
    with pytest.raises(Stopped, match=r"stopped after update 3 of 4\. Run the same command") as stopped:
        voice.train(train, tmp_path / "out", recorder=StopAt(3, signum))
    assert stopped.value.signum == signum
    assert not (tmp_path / "out").exists()
    [folder] = voice.folders.cache.iterdir()
    assert max(p.name for p in folder.glob("step-*")) == "step-000003"


def states(voice: Voice, train: Train, tmp_path: Path, *, stop_at: int) -> Snapshots:
    with pytest.raises(Stopped):
        voice.train(train, tmp_path / "never", recorder=StopAt(stop_at))
    [folder] = voice.folders.cache.iterdir()
    return Snapshots(folder)


@pytest.fixture
def two_states(voice: Voice, tmp_path: Path) -> Iterator[Path]:
    snapshots = states(voice, FOUR_EPOCHS, tmp_path, stop_at=5)
    assert [p.name for p in sorted(snapshots.folder.glob("step-*"))] == ["step-000004", "step-000005"]
    yield snapshots.folder


@pytest.mark.parametrize("damage", ["cut short", "one bit", "gone"])
@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.pt", "history.json", "digests.json"])
def test_a_damaged_state_is_passed_over_for_the_one_before(two_states: Path, name: str, damage: str):
    path = two_states / "step-000005" / name
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "one bit":
        path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    else:
        path.write_bytes(content[: len(content) // 2])
    found = Snapshots(two_states).latest()
    assert found is not None
    assert found.state["step"] == 4


def test_a_damaged_state_takes_no_place_of_a_whole_one(two_states: Path, voice: Voice, tmp_path: Path):
    (two_states / "step-000005" / "digests.json").write_text("{")
    Snapshots(two_states).save(4, {"a": torch.zeros(1)}, {"step": 4}, {})
    assert [p.name for p in two_states.glob("step-*")] == ["step-000004"]


def test_the_best_weights_that_a_state_names_are_there(tmp_path: Path):
    snapshots = Snapshots(tmp_path)
    for step in (2, 4, 6):
        snapshots.save_best(step, {"a": torch.full((1,), float(step))})
        snapshots.save(step, {"a": torch.zeros(1)}, {"step": step}, {})
    assert snapshots.best(4)["a"] == 4.0
    assert snapshots.best(6)["a"] == 6.0
    assert not (tmp_path / "best-000002").exists()


def test_the_best_weights_of_lost_updates_take_no_place_of_those_that_a_state_names(tmp_path: Path):
    snapshots = Snapshots(tmp_path)
    snapshots.save_best(40, {"a": torch.full((1,), 40.0)})
    snapshots.save(50, {"a": torch.zeros(1)}, {"step": 50}, {})
    for step in (60, 70):
        snapshots.save_best(step, {"a": torch.zeros(1)})
    snapshots.forget_best_after(50)
    snapshots.save(100, {"a": torch.zeros(1)}, {"step": 100}, {})
    assert snapshots.best(40)["a"] == 40.0
    assert [p.name for p in tmp_path.glob("best-*")] == ["best-000040"]


def test_a_full_disk_is_told_from_other_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("unexpected pos 64 vs 0")

    monkeypatch.setattr(torch, "save", fails)
    with pytest.raises(RuntimeError, match="unexpected pos"):
        Snapshots(tmp_path).save(1, {}, {}, {})
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 0})())
    with pytest.raises(OSError, match="No space left") as full:
        Snapshots(tmp_path).save(1, {}, {}, {})
    assert full.value.errno == errno.ENOSPC
    assert not list(tmp_path.glob("step-*"))


def test_without_a_whole_state_it_starts_anew(two_states: Path, voice: Voice, tmp_path: Path):
    for folder in two_states.glob("step-*"):
        (folder / "digests.json").write_text("{")
    result = voice.train(FOUR_EPOCHS, tmp_path / "out")
    assert [s.step for s in result.history.curve if s.side == "train"] == list(range(1, 9))


def test_less_memory_goes_on_and_another_recipe_starts_anew(voice: Voice, tmp_path: Path):
    states(voice, FOUR_EPOCHS, tmp_path, stop_at=5)
    tighter = voice.train(replace(FOUR_EPOCHS, max_positions=60), tmp_path / "tighter")
    assert tighter.history.curve[-1].step == 8
    assert tighter.snapshots.folder == next(voice.folders.cache.iterdir())
    other = voice.train(replace(FOUR_EPOCHS, lr=5e-4), tmp_path / "other")
    assert other.snapshots.folder != tighter.snapshots.folder
    third = voice.train(replace(FOUR_EPOCHS, lr=6e-4), tmp_path / "third")
    assert set(voice.folders.cache.iterdir()) == {other.snapshots.folder, third.snapshots.folder}


def test_a_state_on_the_disk_is_plain_tensors_and_json(two_states: Path):
    folder = two_states / "step-000005"
    assert set(load_file(folder / "weights.safetensors"))
    assert json.loads((folder / "history.json").read_text())["curve"]
    torch.load(folder / "optimizer.pt", weights_only=True)


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("x"), MemoryError(), RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling")],
)
def test_a_validation_without_memory_names_what_helps(
    voice: Voice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    from pipelines.train.trainer import Trainer

    def too_much(self: Trainer) -> Step:
        raise error

    monkeypatch.setattr(Trainer, "validate", too_much)
    with pytest.raises(InputError, match=r"out of memory after update 0\. Lower train\.max_positions"):
        voice.train(FULL, tmp_path / "out")


def test_running_out_of_memory_names_what_helps_and_keeps_the_state(
    voice: Voice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from pipelines.train.trainer import Trainer

    update = Trainer.update

    def third_is_too_much(self: Trainer) -> Step:
        if self.step == 2:
            torch.empty(2**60)  # what the allocator says of its own accord
        return update(self)

    monkeypatch.setattr(Trainer, "update", third_is_too_much)
    with pytest.raises(InputError, match=r"out of memory after update 2\. Lower train.max_positions"):
        voice.train(FOUR_EPOCHS, tmp_path / "out")
    monkeypatch.undo()
    assert voice.train(replace(FOUR_EPOCHS, max_positions=60), tmp_path / "out").history.curve[-1].step == 8
