"""What a talker is told it has said."""

from typing import Any

import numpy as np
import pytest
import torch

from pipelines.train import history
from pipelines.train.dataset import Batch, Example, collate, lay_out
from pipelines.train.drawing import draw
from pipelines.train.history import retold, wavering
from pipelines.train.loss import Objective
from tests.pipelines.train.test_overfit import four_clips
from voice.prompt import Vocabulary
from voice.tts import Layout


def collate_plain(clips: list[Example], vocabulary: Vocabulary, *, width: int) -> Batch:
    prompts = [lay_out(c, vocabulary, tagged=True, layout=Layout.WHOLE) for c in clips]
    return collate(clips, prompts, torch.zeros(width), codec_eos=vocabulary.codec_eos)


def test_what_was_said_wavers_in_some_frames_from_some_codebook_on():
    sinces = [wavering(100, 4, np.random.default_rng(seed), first=0.1) for seed in range(200)]
    rates = [float((since < 4).float().mean()) for since in sinces]
    assert min(rates) < 0.1  # any share of the frames
    assert max(rates) > 0.9
    every = torch.cat(sinces)
    wrong = every[every < 4]
    assert 0.07 < float((wrong == 0).float().mean()) < 0.13
    assert {int(since) for since in wrong} == {0, 1, 2, 3}


def test_frames_are_drawn_alike_however_many_are_drawn_together(tiny: Any, monkeypatch: pytest.MonkeyPatch):
    clips, vocabulary = four_clips(tiny), Vocabulary.of(tiny.model.config)
    batch = collate_plain(clips, vocabulary, width=tiny.model.config.talker_config.hidden_size)
    dice = torch.rand(batch.frames.shape, generator=torch.Generator().manual_seed(0))
    since, objective = torch.zeros(len(batch.frames), dtype=torch.int64), Objective(tiny.model.talker).eval()
    whole = retold(objective, batch, since, temperature=1.0, later=1.0, dice=dice)
    monkeypatch.setattr(history, "TOGETHER", 3)
    assert torch.equal(retold(objective, batch, since, temperature=1.0, later=1.0, dice=dice), whole)
    assert (whole != batch.frames).float().mean() > 0.9  # of 64 codes


def test_the_first_codebook_has_a_temperature_of_its_own(tiny: Any):
    clips, vocabulary = four_clips(tiny), Vocabulary.of(tiny.model.config)
    batch = collate_plain(clips, vocabulary, width=tiny.model.config.talker_config.hidden_size)
    since, objective = torch.zeros(len(batch.frames), dtype=torch.int64), Objective(tiny.model.talker).eval()
    one, other = (
        retold(objective, batch, since, temperature=1e-4, later=1.0, dice=torch.rand(batch.frames.shape, generator=g))
        for g in (torch.Generator().manual_seed(seed) for seed in (0, 1))
    )
    assert torch.equal(one[:, 0], other[:, 0])
    assert (one[:, 1:] != other[:, 1:]).float().mean() > 0.9


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
