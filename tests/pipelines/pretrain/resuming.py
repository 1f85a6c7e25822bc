"""A training that is cut off and goes on, beside one that is left alone."""

from pathlib import Path

import torch

from pipelines.pretrain.run import Learner, Log, fit, resume, save


def assert_goes_on(whole: Learner, first: Learner, second: Learner, pace: Log, folder: Path, *, weights: str) -> None:
    """`second`, going on after three steps of `first`, ends where `whole` does, bit for bit."""
    fit(whole, folder / "whole", pace)
    for _ in range(3):
        first.take_step()
    save(first, folder / "cut")
    assert resume(second, folder / "cut", device="cpu")
    fit(second, folder / "cut", pace)
    for name, tensor in whole.state()[weights].items():
        assert torch.equal(tensor, second.state()[weights][name]), name
