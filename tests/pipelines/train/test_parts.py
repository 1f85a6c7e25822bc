"""What moves, and how fast."""

from dataclasses import asdict
from typing import Any

import pytest
import torch

from pipelines.train.optimizer import build_schedule
from pipelines.train.parts import PREFIXES, part_of
from pipelines.train.settings import Rates, Schedule


def test_every_parameter_of_each_shape_belongs_to_a_part_that_has_a_rate(tiny_of_each_shape: Any):
    parts = {part_of(name) for name, _ in tiny_of_each_shape.model.talker.named_parameters()}
    assert parts == set(PREFIXES) == set(asdict(Rates(**dict.fromkeys(PREFIXES, 1.0))))


def rates(kind: Schedule, *, steps: int = 10, warmup_share: float = 0.2) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = build_schedule(optimizer, kind, warmup_share=warmup_share, steps=steps)
    seen = []
    for _ in range(steps):
        seen.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return seen


def test_the_rate_rises_and_then_falls_along_a_cosine():
    seen = rates(Schedule.cosine)
    assert seen[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert seen[2:] == sorted(seen[2:], reverse=True)
    assert seen[6] == pytest.approx(0.5)
    assert 0 < seen[-1] < 0.05


def test_the_rate_rises_and_then_stays():
    assert rates(Schedule.constant)[2:] == [1.0] * 8
    assert rates(Schedule.constant, warmup_share=0.0) == [1.0] * 10
