"""What a talker is told it has said."""

import numpy as np
import pytest
import torch

from pipelines.train.drawing import draw
from pipelines.train.history import wavering


def test_what_was_said_wavers_in_some_frames_from_some_codebook_on():
    sinces = [wavering(100, 4, np.random.default_rng(seed), first=0.1) for seed in range(200)]
    rates = [float((since < 4).float().mean()) for since in sinces]
    assert min(rates) < 0.1  # any share of the frames
    assert max(rates) > 0.9
    every = torch.cat(sinces)
    wrong = every[every < 4]
    assert 0.07 < float((wrong == 0).float().mean()) < 0.13
    assert {int(since) for since in wrong} == {0, 1, 2, 3}


@pytest.mark.parametrize("die", [0.0, 0.1, 0.45, 0.55, 0.999])
def test_a_die_falls_on_the_code_at_whose_odds_it_lies(die: float):
    logits = torch.tensor([[0.2, 0.3, 0.5]]).log()
    expected = 0 if die < 0.2 else 1 if die < 0.5 else 2
    assert draw(logits, temperature=1.0, dice=torch.tensor([die])).tolist() == [expected]


def test_temperature_makes_the_likeliest_code_likelier():
    logits, dice = torch.tensor([[0.0, 1.0]]).expand(1_000, -1), torch.linspace(0, 0.999, 1_000)
    shares = [draw(logits, temperature=t, dice=dice).float().mean().item() for t in (10.0, 1.0, 0.1)]
    assert shares == pytest.approx([1 / (1 + np.exp(-1 / t)) for t in (10.0, 1.0, 0.1)], abs=2e-3)


def test_the_highest_die_falls_on_some_code():
    logits = torch.randn(100, 2_048, generator=torch.Generator().manual_seed(0))
    assert draw(logits, temperature=0.9, dice=torch.full((100,), 1 - 2**-24)).max() < 2_048
