"""On a CUDA device: graphs compute what runs without them, and the seed alone decides."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from voice import checkpoint
from voice.engine.engine import Engine
from voice.engine.linear import Precision
from voice.engine.voices import Voice
from voice.request import Drawing, Request, Sampling

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def tts(tiny_folder: Path) -> Any:
    return checkpoint.load(tiny_folder, device="cuda:0", dtype=torch.float32)


@pytest.fixture
def voice() -> Voice:
    return Voice("me", embedding=torch.randn(64, generator=torch.Generator().manual_seed(0)))


def spoken(engine: Engine, voice: Voice, seeds: list[int], sampling: Sampling) -> list[tuple[np.ndarray, np.ndarray]]:
    said = [
        engine.core.lay_out(Request("word " * (1 + seed % 5), "me", seed=seed, sampling=sampling), voice, budget=40)
        for seed in seeds
    ]
    streams = [engine.scheduler.submit(u, ahead=None) for u in said]
    audio = [np.concatenate(list(stream)) for stream in streams]
    return [(torch.stack(u.codes).numpy(), samples) for u, samples in zip(said, audio, strict=True)]


def test_greedy_codes_on_cuda_are_those_of_the_cpu(tts: Any, tiny: Any, voice: Voice):
    greedy = Sampling(do_sample=False)
    [(found, audio)] = spoken(Engine.of(tts, slots=2, positions=512, precision=Precision.float32), voice, [0], greedy)
    [(expected, same)] = spoken(Engine.of(tiny, slots=2, positions=512), voice, [0], greedy)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(audio, same, atol=1e-3)


@pytest.mark.parametrize(
    "sampling",
    [Sampling(), Sampling(top_k=0, top_p=0.9), Sampling(temperature=0.5, predictor=Drawing(top_k=0, top_p=0.7))],
    ids=["narrow", "wide", "each its own"],
)
def test_the_seed_alone_decides_the_codes(tts: Any, voice: Voice, sampling: Sampling):
    engine = Engine.of(tts, slots=4, positions=512)
    together = spoken(engine, voice, [*range(9)], sampling)
    for seed in range(9):
        [(alone, _)] = spoken(engine, voice, [seed], sampling)
        np.testing.assert_array_equal(together[seed][0], alone)


def test_prompts_in_graphs_are_what_they_are_without(tts: Any):
    core = Engine.of(tts, slots=2, positions=512, precision=Precision.float32).core
    talker, width = core.frames.talker, core.frames.talker.like.shape[1]
    inputs = torch.randn(300, width, generator=torch.Generator().manual_seed(0)).to("cuda")
    for start, end in ((0, 100), (100, 110), (110, 300)):  # a bucket each, the last without room for its padding
        hidden, logits = (t.clone() for t in core._graphs.prefill(0, start, inputs[start:end]))
        same_hidden, same_logits = talker.prefill(1, start, inputs[start:end])
        torch.testing.assert_close(hidden, same_hidden, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(logits, same_logits, atol=1e-4, rtol=1e-4)
