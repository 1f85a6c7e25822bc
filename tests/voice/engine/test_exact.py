"""Greedy codes are those of the official package, token for token, for every kind of checkpoint and every batch."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.voice.engine.checkpoints import GREEDY, ROWS, core_of, load_kind, official, speak_all
from voice.engine.voices import Voice
from voice.prompt import reference_ids
from voice.request import Layout, Request
from voice.text import LANGUAGES

BUDGET = 14
TEXTS = ["Good morning.", "A sentence that is a good deal longer, so that the batch is padded.", "Why?"]
WORDS = ["What was said.", "And what another said, at greater length than the first."]


def assert_same(found: list[Tensor], expected: list[Tensor]) -> None:
    assert [len(f) for f in found] == [len(e) for e in expected]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=0, rtol=0)
    assert len({tuple(frame.tolist()) for codes in found for frame in codes}) > BUDGET // 2  # no loop of one frame


def clones(tts: Any, in_context: list[bool]) -> list[Voice]:
    """Voices of references of different lengths."""
    generator = torch.Generator().manual_seed(3)
    width, groups = tts.model.config.talker_config.hidden_size, tts.model.config.talker_config.num_code_groups
    made = []
    for number, shown in enumerate(in_context):
        embedding = torch.randn(width, generator=generator)
        codes = torch.randint(0, 64, (9 + 30 * number, groups), generator=generator)
        words = tuple(reference_ids(tts.processor.tokenizer, WORDS[number % 2]))
        made.append(
            Voice(str(number), embedding=embedding, words=words if shown else (), codes=codes if shown else None)
        )
    return made


@pytest.mark.parametrize("layout", list(Layout))
@pytest.mark.parametrize("in_context", [[True], [False], [True, False, True]], ids=["context", "embedding", "batch"])
def test_clones_of_several_references(tiny_of_each_shape: Any, layout: Layout, in_context: list[bool]):
    tts = tiny_of_each_shape
    voices = clones(tts, in_context)
    requests = [
        Request(text, v.name, language=code, layout=layout, sampling=GREEDY)
        for text, v, code in zip(TEXTS, voices, ("auto", "de", "en"), strict=False)
    ]
    found = speak_all(core_of(tts, slots=len(voices)), list(zip(requests, voices, strict=True)), budget=BUDGET)
    words = [WORDS[i % 2] if shown else None for i, shown in enumerate(in_context)]
    assert_same(found, official(tts, requests, voices, words=words, budget=BUDGET))


@pytest.mark.parametrize("layout", list(Layout))
def test_every_language_in_one_batch(tiny: Any, layout: Layout):
    [voice] = clones(tiny, [False])
    requests = [Request("Hello.", "0", language=code, layout=layout, sampling=GREEDY) for code in LANGUAGES]
    found = speak_all(core_of(tiny, slots=len(requests)), [(r, voice) for r in requests], budget=BUDGET)
    assert_same(found, official(tiny, requests, [voice] * len(requests), budget=BUDGET))
    assert len({tuple(codes.flatten().tolist()) for codes in found}) == len(LANGUAGES)


@pytest.mark.parametrize("layout", list(Layout))
def test_speakers_of_a_custom_voice_checkpoint(tiny_folder: Path, tmp_path: Path, layout: Layout):
    tts = load_kind(tiny_folder, tmp_path / "custom", "custom_voice")
    anna = Voice("anna", row=ROWS["anna"], takes_instructions=True)
    dao = Voice("dao", row=ROWS["dao"], dialect="sichuan_dialect", takes_instructions=True)
    said = [
        (Request(TEXTS[0], "anna", language="en", instruct="Whisper.", layout=layout, sampling=GREEDY), anna),
        (Request(TEXTS[1], "dao", language="auto", layout=layout, sampling=GREEDY), dao),
        (Request(TEXTS[1], "dao", language="zh", layout=layout, sampling=GREEDY), dao),
        (Request(TEXTS[2], "dao", language="en", layout=layout, sampling=GREEDY), dao),
        (Request(TEXTS[1], "anna", layout=layout, sampling=GREEDY), anna),
    ]
    requests, voices = (list(part) for part in zip(*said, strict=True))
    assert_same(speak_all(core_of(tts, slots=5), said, budget=BUDGET), official(tts, requests, voices, budget=BUDGET))


@pytest.mark.parametrize("layout", list(Layout))
def test_a_designed_voice(tiny_folder: Path, tmp_path: Path, layout: Layout):
    tts = load_kind(tiny_folder, tmp_path / "design", "voice_design")
    voice = Voice("designed", takes_instructions=True)
    requests = [
        Request(TEXTS[0], "designed", language="fr", instruct="An old woman, warm.", layout=layout, sampling=GREEDY),
        Request(TEXTS[1], "designed", instruct=None, layout=layout, sampling=GREEDY),
    ]
    found = speak_all(core_of(tts, slots=2), [(r, voice) for r in requests], budget=BUDGET)
    assert_same(found, official(tts, requests, [voice, voice], budget=BUDGET))


def test_utterances_that_end_by_themselves_end_where_the_official_ones_do(tiny: Any):
    # a talker that ends sooner or later: its logit of the end is raised
    head = tiny.model.talker.codec_head.weight
    end = tiny.model.config.talker_config.codec_eos_token_id
    kept = head[end].detach().clone()
    voices = clones(tiny, [False] * 3)
    requests = [Request(text, v.name, sampling=GREEDY) for text, v in zip(TEXTS, voices, strict=True)]
    try:
        with torch.no_grad():
            head[end] = 4.0 * head[7]
        found = speak_all(core_of(tiny, slots=3), list(zip(requests, voices, strict=True)), budget=60)
        expected = official(tiny, requests, voices, budget=60)
    finally:
        with torch.no_grad():
            head[end] = kept
    assert [len(f) for f in found] == [len(e) for e in expected]
    assert min(len(f) for f in found) < 60
    assert min(len(f) for f in found) >= 2
    assert all(torch.equal(f, e) for f, e in zip(found, expected, strict=True))


def test_a_prompt_that_was_read_before_gives_the_same_codes(tiny: Any):
    [voice] = clones(tiny, [True])
    core = core_of(tiny)
    first, second, again = (
        speak_all(core, [(Request(text, "0", seed=4), voice)], budget=BUDGET)[0]
        for text in (TEXTS[0], TEXTS[1], TEXTS[0])
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
