from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.voice.engine.checkpoints import load_kind
from voice.audio import FRAME_RATE, FRAME_SAMPLES, write_wav
from voice.engine.delivery import PLAIN, Delivery
from voice.engine.linear import Precision
from voice.errors import InputError
from voice.pack import Reference
from voice.tts import Layout, Qwen3TTS, Request, Sampling, frame_budget


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    path = tmp_path_factory.mktemp("reference") / "reference.wav"
    write_wav(path, (0.1 * np.random.default_rng(0).standard_normal(24_000)).astype(np.float32))
    return Reference(path, "Some words.")


@pytest.fixture(scope="module", params=[True, False], ids=["in_context", "by_embedding"])
def voice(tiny: Any, reference: Reference, request: pytest.FixtureRequest) -> Qwen3TTS:
    return Qwen3TTS.zero_shot(tiny, reference, voice="me", in_context=request.param)


def test_the_seed_alone_decides_the_waveform(voice: Qwen3TTS):
    one, other = (Request(text, "me", language="en", seed=5) for text in ("Good morning.", "Good evening."))
    [alone] = voice.batch([one])
    _, among_others = voice.batch([other, one])
    np.testing.assert_array_equal(alone.waveform, among_others.waveform)
    [reseeded] = voice.batch([Request("Good morning.", "me", language="en", seed=6)])
    assert not np.array_equal(alone.waveform, reseeded.waveform)


@pytest.mark.parametrize("layout", list(Layout))
def test_a_stream_is_the_whole_utterance_within_its_budget(voice: Qwen3TTS, layout: Layout):
    request = Request("Hi.", "me", layout=layout)
    waveform = np.concatenate(list(voice.stream(request)))
    assert 0 < len(waveform) <= frame_budget("Hi.") * FRAME_SAMPLES
    assert np.abs(waveform).max() > 0.01


def test_an_utterance_that_never_ends_is_cut_at_its_budget_and_marked(voice: Qwen3TTS, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("voice.tts.frame_budget", lambda text: 4)
    [speech] = voice.batch([Request("Hi.", "me")])
    assert speech.runaway
    assert len(speech.waveform) == 4 * FRAME_SAMPLES


def test_without_a_budget_an_utterance_goes_on_as_long_as_there_is_room(
    tiny: Any, reference: Reference, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("voice.tts.frame_budget", lambda text: 4)
    for budget in (True, False):
        voice = Qwen3TTS.zero_shot(tiny, reference, voice="me", in_context=True, delivery=replace(PLAIN, budget=budget))
        assert (len(voice.speak(Request("Hi.", "me", seed=3)).waveform) > 4 * FRAME_SAMPLES) is not budget


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (Request("  ", "me"), "empty"),
        (Request("Hi.", "you"), "not loaded"),
        (Request("Hi.", "me", language="xx"), "language"),
        (Request("Hi.", "me", instruct="whisper"), "instructions"),
    ],
)
def test_what_the_voice_cannot_say_is_refused(voice: Qwen3TTS, request_: Request, says: str):
    with pytest.raises(InputError, match=says):
        voice.batch([request_])


@pytest.mark.parametrize(
    ("waveform", "says"),
    [
        (0.1 * np.ones(4_800), "lasts 0.2 s"),
        (0.1 * np.ones(600 * 24_000), "lasts 600.0 s"),
        (np.zeros(48_000), "silent"),
        (0.002 * np.ones(48_000), "silent, or next to it"),
    ],
    ids=["short", "long", "silent", "soft"],
)
def test_a_reference_that_cannot_be_imitated_is_refused(tiny: Any, tmp_path: Path, waveform: Any, says: str):
    write_wav(tmp_path / "r.wav", waveform.astype(np.float32))
    with pytest.raises(InputError, match=says):
        Qwen3TTS.zero_shot(tiny, Reference(tmp_path / "r.wav", "Words."), voice="me", in_context=True)


def test_an_unknown_speaker_and_instructions_to_the_small_model_are_refused(tiny_folder: Path, tmp_path: Path):
    model = load_kind(tiny_folder, tmp_path / "custom", "custom_voice")
    with pytest.raises(InputError, match="It has anna, dao"):
        Qwen3TTS.finetuned(model, voice="me", speaker="berta")
    model.model.tts_model_size = "0b6"
    with pytest.raises(InputError, match="takes no instructions"):
        Qwen3TTS.finetuned(model, voice="me", speaker="anna").batch([Request("Hi.", "me", instruct="whisper")])


def test_speakers_are_found_in_any_case_of_letters(tiny_folder: Path, tmp_path: Path):
    model = load_kind(tiny_folder, tmp_path / "custom", "custom_voice")
    one, other = (Qwen3TTS.finetuned(model, voice="me", speaker=name) for name in ("anna", "Anna"))
    request = Request("Hi.", "me", seed=1)
    np.testing.assert_array_equal(one.speak(request).waveform, other.speak(request).waveform)


def test_a_designed_voice_follows_the_instruction_of_each_request(tiny_folder: Path, tmp_path: Path):
    voice = Qwen3TTS.designed(load_kind(tiny_folder, tmp_path / "design", "voice_design"), voice="me")
    deep, high = (voice.speak(Request("Hi.", "me", instruct=i)).waveform for i in ("A deep voice.", "A high voice."))
    assert not np.array_equal(deep, high)


def test_several_references_are_heard_as_one(tiny: Any, reference: Reference, tmp_path: Path):
    write_wav(tmp_path / "b.wav", (0.1 * np.random.default_rng(1).standard_normal(36_000)).astype(np.float32))
    second = Reference(tmp_path / "b.wav", "Other words.")
    request = Request("Hi.", "me", seed=1)
    for in_context in (True, False):
        both, one = (
            Qwen3TTS.zero_shot(tiny, *r, voice="me", in_context=in_context) for r in ([reference, second], [reference])
        )
        assert not np.array_equal(both.speak(request).waveform, one.speak(request).waveform)
    assert len(Qwen3TTS.zero_shot(tiny, reference, second, voice="me", in_context=True)._spoken.codes) == 13 + 19


@pytest.mark.parametrize(
    ("waveform", "says"),
    [
        (0.1 * np.ones(2_400), r"reference 2 of 2 lasts 0\.1 s"),
        (np.zeros(48_000), "reference 2 of 2 is silent"),
        (0.1 * np.ones(60 * 24_000), r"the 2 references last together 61\.0 s"),
    ],
    ids=["short", "silent", "long together"],
)
def test_of_several_references_the_one_that_is_wrong_is_named(
    tiny: Any, reference: Reference, tmp_path: Path, waveform: Any, says: str
):
    write_wav(tmp_path / "b.wav", waveform.astype(np.float32))
    with pytest.raises(InputError, match=says):
        Qwen3TTS.zero_shot(tiny, reference, Reference(tmp_path / "b.wav", "A."), voice="me", in_context=True)


def test_weights_can_be_held_in_fewer_bits(tiny: Any, reference: Reference):
    request = Request("Hi.", "me", seed=1)
    for precision in Precision:
        voice = Qwen3TTS.zero_shot(tiny, reference, voice="me", in_context=True, precision=precision)
        assert len(voice.speak(request).waveform) > 0


def test_a_half_character_is_refused():
    with pytest.raises(InputError, match="character 4 of the text is half of one"):
        Request("Hi \ud83d.", "me")


@pytest.mark.parametrize(
    "changed",
    [{"temperature": 0.0}, {"temperature": float("nan")}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.1},
     {"repetition_penalty": 0.0}],
)  # fmt: skip
def test_numbers_that_draw_nothing_are_refused(changed: dict[str, Any]):
    with pytest.raises(InputError, match=next(iter(changed))):
        Sampling(**changed)


def test_a_text_that_the_slot_could_not_speak_to_its_end_is_refused(tiny: Any, reference: Reference):
    long = Qwen3TTS.zero_shot(tiny, reference, voice="me", in_context=True, delivery=Delivery(split=False))
    text = "word " * 200  # 1,000 bytes are 67 s of speech
    taken = len(long._engine.core.lay_out(Request("a", "me"), long._spoken, budget=None).opening.text)
    long._engine.core.positions = taken + 1_000 + 700
    with pytest.raises(InputError, match="about 834 frames"):
        long.speak(Request(text, "me"))
    long._engine.core.positions = taken + 1_000 + 900
    assert long._engine.core.lay_out(Request(text, "me"), long._spoken, budget=None).budget >= 834


def test_no_memory_for_a_clone_is_said(tiny: Any, reference: Reference, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(tiny, "create_voice_clone_prompt", fail)
    with pytest.raises(InputError, match="too little memory"):
        Qwen3TTS.zero_shot(tiny, reference, voice="me", in_context=True)


@pytest.mark.parametrize("layout", list(Layout))
def test_a_text_that_does_not_fit_is_refused_in_both_layouts(tiny: Any, reference: Reference, layout: Layout):
    voice = Qwen3TTS.zero_shot(tiny, reference, voice="me", in_context=False, delivery=Delivery(split=False))
    with pytest.raises(InputError, match="there is room for"):
        voice.speak(Request("Words and words. " * 2_000, "me", layout=layout))


def test_a_text_of_a_hundred_thousand_characters_begins_at_once_and_stops_when_asked(voice: Qwen3TTS):
    speaking = voice.stream(Request("Some words, then more. " * 4_400, "me"))
    assert len(next(speaking)) > 0
    speaking.close()
    assert sum(len(chunk) for chunk in speaking) < 60 * 24_000


def test_a_stream_is_what_the_batch_gives(voice: Qwen3TTS):
    request = Request("Good morning.", "me", seed=2)
    [speech] = voice.batch([request])
    np.testing.assert_array_equal(np.concatenate(list(voice.stream(request))), speech.waveform)


def test_the_budget_grows_with_the_text_and_is_fair_to_chinese():
    assert frame_budget("") == 25
    assert frame_budget("a" * 150) == 25 + 375
    assert frame_budget("你" * 50) == frame_budget("a" * 150)


def test_the_budget_has_room_for_numbers():
    assert frame_budget("2^31 = 2,147,483,648") > 2 * 9.0 * FRAME_RATE  # said in about 9 s
