"""Packs of every kind of checkpoint, and who can speak from them."""

from pathlib import Path

import httpx2
import numpy as np
import pytest

from serving import settings as settings_file
from serving.cast import LocalCast, probe
from tests.serving.conftest import Start
from tests.sounds import speechlike
from tests.voice.engine.checkpoints import load_kind
from voice.engine.delivery import Delivery
from voice.engine.engine import SLOTS
from voice.engine.linear import Precision
from voice.errors import InputError
from voice.pack import Kind, VoiceCard
from voice.tts import Qwen3TTS, Request


def pack_of(base: Path, folder: Path, kind: str, *, speaker: str | None) -> Path:
    load_kind(base, folder, kind)
    VoiceCard("me", Kind.FINETUNED, speaker, "en", "tiny", "0", "0", "0").write(folder)
    return folder


def test_a_tuned_voice_speaks_as_it_does_elsewhere_beside_the_stock_ones(
    tiny_folder: Path, tmp_path: Path, serve: Start
):
    pack = pack_of(tiny_folder, tmp_path / "pack", "custom_voice", speaker="anna")
    cast = LocalCast(pack, pack="voice-me:0000000000000000")
    assert [(m.id, m.kind) for m in cast.members.values()] == [("me", "finetuned"), ("dao", "stock")]
    request = Request("Hi.", "me", language="en", seed=3)
    alone = Qwen3TTS.from_pack(pack, delivery=Delivery())
    own, there = (np.concatenate(list(tts.stream(request))) for tts in (cast.members["me"].tts, alone))
    np.testing.assert_array_equal(own, there)
    service = serve(cast)
    body = {"input": "Hi.", "voice": "dao", "instructions": "whisper", "response_format": "pcm", "language": "zh"}
    whispered, plain = (
        httpx2.post(f"{service.url}/v1/audio/speech", json=b, timeout=60)
        for b in (body, {k: v for k, v in body.items() if k != "instructions"})
    )
    assert whispered.status_code == plain.status_code == 200
    assert whispered.content != plain.content


def test_weights_are_held_as_the_settings_say(tiny_folder: Path, tmp_path: Path):
    pack = pack_of(tiny_folder, tmp_path / "pack", "custom_voice", speaker="anna")
    file = tmp_path / "service.yaml"
    file.write_text("precision: int8\n")
    precision = settings_file.load({"VOICE_SETTINGS": str(file)}).precision
    assert precision is Precision.int8
    assert settings_file.load({}).precision is None
    request = Request("Hi.", "me", language="en", seed=3)
    rounded = Qwen3TTS.from_pack(pack, delivery=Delivery(), precision=Precision.int8)
    there = LocalCast(pack, pack="voice-me:0000000000000000", precision=precision).members["me"].tts
    own, expected, exact = (
        np.concatenate(list(tts.stream(request)))
        for tts in (there, rounded, Qwen3TTS.from_pack(pack, delivery=Delivery()))
    )
    np.testing.assert_array_equal(own, expected)
    assert not np.array_equal(own, exact)


def test_slots_and_delivery_are_as_the_settings_say(pack: Path, tmp_path: Path):
    file = tmp_path / "service.yaml"
    file.write_text("slots: 2\ndelivery: {even_loudness: false, retries: 0}\n")
    cast = LocalCast.of(settings_file.load({"VOICE_SETTINGS": str(file)}), pack, "voice-me:0")
    assert cast._engine.core.slots == 2
    assert cast.members["me"].tts._delivery == Delivery(even_loudness=False, retries=0)
    usual = LocalCast.of(settings_file.load({}), pack, "voice-me:0")
    assert usual._engine.core.slots == SLOTS["cpu"]
    assert usual.members["me"].tts._delivery == Delivery()


def test_of_an_uploaded_voice_that_is_deleted_the_engine_keeps_nothing(pack: Path):
    cast = LocalCast(pack, pack="voice-me:0000000000000000")
    cast.imitate("x", "x", speechlike(1.0), "Words.")
    list(cast.members["x"].tts.stream(Request("Hi.", "x")))
    core = cast._engine.core
    assert len(core._references._kept._values) == 1
    cast.forget("x")
    assert "x" not in cast.members
    assert not core._references._kept._values
    assert not core._prompts._prefixes._values


def test_a_design_checkpoint_speaks_as_it_is_told_to(tiny_folder: Path, tmp_path: Path, serve: Start):
    pack = pack_of(tiny_folder, tmp_path / "pack", "voice_design", speaker=None)
    service = serve(LocalCast(without_encoder(pack), pack="voice-me:0000000000000000"))
    body = {"input": "Hi.", "response_format": "pcm"}
    assert httpx2.post(f"{service.url}/v1/audio/speech", json=body).json()["error"]["code"] == "instructions_needed"
    calm, loud = (
        httpx2.post(f"{service.url}/v1/audio/speech", json={**body, "instructions": words}, timeout=60).content
        for words in ("a calm man", "a loud woman")
    )
    assert len(calm) > 1_000
    assert calm != loud


def test_a_pack_that_kept_no_encoder_refuses_uploads(tiny_folder: Path, tmp_path: Path):
    pack = without_encoder(pack_of(tiny_folder, tmp_path / "pack", "custom_voice", speaker="anna"))
    cast = LocalCast(pack, pack="voice-me:0000000000000000")
    probe(cast, "Ready.")
    with pytest.raises(InputError, match="no speaker encoder"):
        cast.imitate("x", "x", np.zeros(24_000, np.float32), "Words.")


def without_encoder(pack: Path) -> Path:
    """As the published CustomVoice and VoiceDesign checkpoints are."""
    from safetensors.torch import load_file, save_file

    [file] = pack.glob("*.safetensors")
    tensors = {k: v for k, v in load_file(file).items() if not k.startswith("speaker_encoder.")}
    file.unlink()
    save_file(tensors, file, metadata={"format": "pt"})
    return pack
