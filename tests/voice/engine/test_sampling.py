"""Drawing a code: the processors are the library's, in its order; one uniform number decides."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import GenerationConfig

from tests.voice.engine.checkpoints import GREEDY, core_of, speak_all
from voice.engine import native
from voice.engine.sampling import Settings, candidates, draw, likeliest, of_checkpoint, uniforms, warp
from voice.engine.voices import Voice
from voice.request import Drawing, Request, Sampling

SAMPLINGS = [
    Sampling(),
    Sampling(temperature=0.3, top_k=7, repetition_penalty=1.4),
    Sampling(temperature=1.7, top_k=0, top_p=0.6),
    Sampling(top_k=300, top_p=0.9, repetition_penalty=1.0),
    Sampling(top_p=0.01),
]


def settings_of(samplings: list[Sampling]) -> Settings:
    settings = Settings.of(len(samplings), torch.device("cpu"))
    for slot, sampling in enumerate(samplings):
        settings.set(slot, sampling, penalty=sampling.repetition_penalty)
    return settings


def official(talker: Any, sampling: Sampling, said: Tensor, logits: Tensor) -> Tensor:
    """The scores that `generate` draws from after the codes `said`."""
    config, rows = talker.config, talker.config.vocab_size
    asked = GenerationConfig(
        do_sample=True, temperature=sampling.temperature, top_k=sampling.top_k, top_p=sampling.top_p,
        repetition_penalty=sampling.repetition_penalty, min_new_tokens=2, eos_token_id=config.codec_eos_token_id,
        suppress_tokens=[i for i in range(rows - 1024, rows) if i != config.codec_eos_token_id],
    )  # fmt: skip
    talker._prepare_special_tokens(asked, device="cpu")
    processors = talker._get_logits_processor(asked, input_ids_seq_length=0, device="cpu")
    return processors(said[None], logits.clone()[None])[0]


@pytest.mark.parametrize("frames", [0, 1, 2, 9])
def test_scores_of_codebook_0_are_those_of_generate(tiny: Any, frames: int):
    talker = tiny.model.talker
    core = core_of(tiny, slots=len(SAMPLINGS))
    generator = torch.Generator().manual_seed(frames)
    slots, rows = core.frames.slots, talker.config.vocab_size
    slots.logits.copy_(3 * torch.randn(len(SAMPLINGS), rows, generator=generator))
    slots.logits[:, talker.config.codec_eos_token_id] = 5.0
    slots.frame.fill_(frames)
    said = torch.randint(64, (frames,), generator=generator)
    slots.said[:, said] = True
    for slot, sampling in enumerate(SAMPLINGS):
        slots.settings.set(slot, sampling, penalty=sampling.repetition_penalty)
    values, codes = warp(core.frames.allowed(), slots.settings, width=None, nucleus=True)
    scores = torch.full_like(slots.logits, -torch.inf).scatter(1, codes, values)
    for slot, sampling in enumerate(SAMPLINGS):
        expected = official(talker, sampling, said, slots.logits[slot])
        torch.testing.assert_close(scores[slot], expected, atol=1e-6, rtol=0)
        assert torch.isfinite(expected).sum() > 0


@pytest.mark.parametrize("drawing", SAMPLINGS)
def test_scores_of_the_later_codebooks_are_those_of_generate(tiny: Any, drawing: Drawing):
    predictor = tiny.model.talker.code_predictor
    asked = GenerationConfig(
        do_sample=True, temperature=drawing.temperature, top_k=drawing.top_k, top_p=drawing.top_p,
        max_new_tokens=predictor.config.num_code_groups - 1,
    )  # fmt: skip  # as upstream's subtalker_...: no penalty, nothing suppressed
    predictor._prepare_special_tokens(asked, device="cpu")
    processors = predictor._get_logits_processor(asked, input_ids_seq_length=0, device="cpu")
    logits = 3 * torch.randn(1, 2_048, generator=torch.Generator().manual_seed(1))
    settings = Settings.of(1, torch.device("cpu"))
    settings.set(0, drawing)
    values, codes = warp(logits, settings, width=candidates(drawing), nucleus=drawing.top_p < 1)
    scores = torch.full_like(logits, -torch.inf).scatter(1, codes, values)
    torch.testing.assert_close(scores, processors(torch.zeros(1, 0, dtype=torch.int64), logits), atol=1e-6, rtol=0)


def test_fewer_candidates_leave_the_same_scores():
    logits = torch.randn(3, 2_048, generator=torch.Generator().manual_seed(0))
    settings = settings_of([Sampling(), Sampling(top_k=3, top_p=0.5), Sampling(top_k=64)])
    for narrow, wide in zip(
        warp(logits, settings, width=64, nucleus=True), warp(logits, settings, width=None, nucleus=True), strict=True
    ):
        assert torch.equal(narrow, wide[:, :64])


@pytest.fixture(params=["kernels", "pytorch"])
def _drawn_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "pytorch":
        monkeypatch.setattr(native, "library", lambda: None)
    elif native.library() is None:
        pytest.skip("no C++ compiler")


@pytest.mark.usefixtures("_drawn_by")
def test_equal_logits_are_drawn_from_alike_whatever_the_other_slots_ask_for():
    logits, uniform = torch.zeros(40, 300), (torch.arange(40) + 0.5) / 40
    settings = settings_of([Sampling(top_k=64)] * 40)
    narrow = draw(logits, uniform, settings, width=64, nucleus=False)
    assert torch.equal(draw(logits, uniform, settings, width=None, nucleus=False), narrow)
    assert narrow.max() < 64


@pytest.mark.usefixtures("_drawn_by")
@pytest.mark.parametrize("sampling", [*SAMPLINGS, Sampling(top_k=1), Sampling(do_sample=False)])
def test_a_number_within_a_codes_share_draws_that_code(sampling: Sampling):
    logits = (3 * torch.randn(1, 2_048, generator=torch.Generator().manual_seed(4))).bfloat16().float()  # many alike
    logits[:, 7] = -torch.inf
    asked = {"width": candidates(sampling), "nucleus": sampling.top_p < 1}
    [values], [codes] = warp(logits, settings_of([sampling]), **asked)
    shares = values.double().softmax(0)
    likely = shares > 1e-5  # of which 32 bits know where they begin and end
    middles = (shares.cumsum(0) - shares / 2)[likely].float()
    n = len(middles)
    drawn = draw(logits.expand(n, -1), middles, settings_of([sampling] * n), **asked)
    assert torch.equal(drawn, codes[likely] if sampling.do_sample else codes[:1].expand(n))


@pytest.mark.usefixtures("_drawn_by")
def test_codes_as_likely_as_the_last_candidate_are_candidates():
    logits = torch.tensor([[1.0, 3.0, 2.0, 2.0, 0.0, 2.0]])
    uniform = (torch.arange(1_000) + 0.5) / 1_000
    codes = draw(logits.expand(1_000, -1), uniform, settings_of([Sampling(top_k=2)] * 1_000), width=64, nucleus=False)
    assert sorted(set(codes.tolist())) == [1, 2, 3, 5]


@pytest.mark.usefixtures("_drawn_by")
@pytest.mark.parametrize("top_k", [0, 50])
def test_a_temperature_at_which_likelihoods_overflow_takes_the_likeliest(top_k: int):
    logits = torch.tensor([[1.0, 5.0, 2.0, -torch.inf]])
    cold = Sampling(temperature=1e-39, top_k=top_k)
    codes = draw(logits, torch.tensor([0.9]), settings_of([cold]), width=candidates(cold), nucleus=False)
    assert codes.tolist() == [1]


@pytest.mark.usefixtures("_drawn_by")
def test_slots_draw_as_each_was_asked():
    logits = torch.randn(4, 300, generator=torch.Generator().manual_seed(5))
    asked = [Sampling(), Sampling(do_sample=False), Sampling(top_k=0, top_p=0.7), Sampling(temperature=2.0)]
    uniform = torch.tensor([0.35, 0.35, 0.35, 0.35])
    together = draw(logits, uniform, settings_of(asked), width=None, nucleus=True)
    alone = [
        draw(logits[i : i + 1], uniform[:1], settings_of([one]), width=candidates(one), nucleus=one.top_p < 1)
        for i, one in enumerate(asked)
    ]
    assert torch.equal(together, torch.cat(alone))


@pytest.mark.usefixtures("_drawn_by")
def test_draws_follow_the_distribution():
    n = 20_000
    logits = torch.tensor([1.0, 3.0, 2.0, -1.0, 2.5]).expand(n, -1)
    one = Sampling(temperature=0.8, top_k=4)
    settings = Settings(*(getattr(settings_of([one]), f).expand(n, 1) for f in Settings.__slots__))
    uniform = (torch.arange(n) + 0.5) / n
    codes = draw(logits, uniform, settings, width=candidates(one), nucleus=False)
    expected = (logits[0] / 0.8).masked_fill(logits[0] < 0, -torch.inf).softmax(0)
    torch.testing.assert_close(codes.bincount(minlength=5) / n, expected, atol=2 / n, rtol=0)


@pytest.mark.usefixtures("_drawn_by")
def test_greedy_slots_take_the_likeliest_whatever_the_number():
    logits = torch.randn(4, 100, generator=torch.Generator().manual_seed(1))
    settings = settings_of([Sampling(do_sample=False)] * 4)
    codes = draw(logits, torch.tensor([0.0, 0.3, 0.9, 0.999]), settings, width=64, nucleus=False)
    assert torch.equal(codes, logits.argmax(1))


def test_each_seed_has_numbers_of_its_own_and_a_longer_budget_only_adds_to_them():
    short, long = uniforms(5, 10, 16), uniforms(5, 30, 16)
    np.testing.assert_array_equal(short, long[:10])
    assert not np.array_equal(short, uniforms(6, 10, 16))
    assert long.min() >= 0 and long.max() < 1


def test_only_unusual_sampling_looks_at_the_whole_vocabulary():
    assert [candidates(s) for s in SAMPLINGS] == [64, 64, None, None, 64]


def test_a_checkpoint_says_how_it_is_drawn_from_and_published_values_stand_for_the_rest():
    said = {"temperature": 0.3, "repetition_penalty": 1.2, "subtalker_dosample": False, "subtalker_top_k": 7, "x": 1}
    assert of_checkpoint(said) == Sampling(
        temperature=0.3, repetition_penalty=1.2, predictor=Drawing(do_sample=False, top_k=7)
    )
    assert of_checkpoint(None) == Sampling(predictor=Drawing())


def spoken(tts: Any, sampling: Sampling | None, *, seed: int) -> Tensor:
    embedding = torch.randn(tts.model.config.talker_config.hidden_size, generator=torch.Generator().manual_seed(1))
    request = Request("Some words.", "me", seed=seed, sampling=sampling)
    [codes] = speak_all(core_of(tts), [(request, Voice("me", embedding=embedding))], budget=6)
    return codes


def test_a_request_that_says_nothing_is_drawn_as_its_checkpoint_says(tiny: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tiny.model, "generate_config", {"do_sample": False, "subtalker_dosample": False})
    said = spoken(tiny, None, seed=1)
    assert torch.equal(said, spoken(tiny, GREEDY, seed=2))
    assert not torch.equal(said[:3], spoken(tiny, Sampling(), seed=1)[:3])


def test_talker_and_code_predictor_are_drawn_each_in_its_own_way(tiny: Any):
    greedy = spoken(tiny, GREEDY, seed=1)
    mixed = Sampling(do_sample=False, predictor=Drawing(temperature=3.0))
    one, other = (spoken(tiny, mixed, seed=seed)[0] for seed in (1, 2))
    assert one[0] == other[0] == greedy[0, 0]
    assert not torch.equal(one, other)
    mixed = Sampling(temperature=3.0, predictor=Drawing(do_sample=False))
    assert not torch.equal(*(spoken(tiny, mixed, seed=seed)[:, 0] for seed in (1, 2)))


def test_of_equal_logits_the_smaller_code_comes_first_whatever_shares_the_batch():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(40, 3_072, generator=generator).to(torch.bfloat16).float()  # bf16: many are equal
    logits[0, ::2] = -0.0
    logits[0, 1::2] = 0.0
    expected = torch.sort(logits, descending=True, stable=True).indices[:, :64]
    assert torch.equal(likeliest(logits, 64), expected)
    for row in range(len(logits)):
        assert torch.equal(likeliest(logits[row : row + 1], 64), expected[row : row + 1])
