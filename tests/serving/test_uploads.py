import io
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import httpx2
import numpy as np
import pytest
import soundfile

from serving.cast import LocalCast
from serving.library import CONSENT
from serving.problems import Problem
from serving.uploads import reference
from tests.serving.conftest import Running, Start, running
from tests.sounds import noise, silence, speechlike
from voice.audio import Waveform, read_waveform

FORM = {"name": "Anna Müller", "ref_text": "Some words that were said.", "consent": CONSENT}


def recorded(seconds: float = 8.0, *, rate: int = 24_000, level: float = 0.1) -> Waveform:
    """Sentences with pauses between them, in a quiet room."""
    parts = [speechlike(1.6, rate=rate, level=level), silence(0.4, rate=rate)] * (int(seconds // 2) + 1)
    waveform = np.concatenate(parts)[: int(seconds * rate)]
    return waveform + noise(len(waveform) / rate + 1, level=0.0003, rate=rate)[: len(waveform)]


def file_of(waveform: Waveform, form: str = "wav", *, rate: int = 24_000) -> bytes:
    buffer = io.BytesIO()
    if form != "m4a":
        soundfile.write(buffer, waveform, rate, format=form.upper())
        return buffer.getvalue()
    with av.open(buffer, "w", format="ipod") as container:
        stream = container.add_stream("aac", rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(waveform[None], format="fltp", layout="mono")
        frame.sample_rate = rate
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return buffer.getvalue()


def send(service: Running, *contents: bytes, filename: str = "clip.wav", **form: Any) -> httpx2.Response:
    with service.client() as client:
        files = [("audio_sample", (filename, content)) for content in contents]
        return client.post("/v1/audio/voices", files=files, data={**FORM, **form})


def message(response: httpx2.Response) -> str:
    return str(response.json()["error"]["message"])


@pytest.mark.parametrize("form", ["wav", "flac", "mp3", "m4a"])
def test_a_recording_becomes_a_voice_that_speaks_until_it_is_deleted(service: Running, form: str):
    response = send(service, file_of(recorded(), form), filename=f"clip.{form}")
    assert response.status_code == 201, response.text
    made = response.json()
    assert (made["name"], made["kind"]) == ("Anna Müller", "uploaded")
    with service.client() as client:
        ids = [voice["voice_id"] for voice in client.get("/v1/audio/voices").json()["voices"]]
        assert ids == ["me", made["voice_id"]]
        speech = {"input": "Hi.", "voice": made["voice_id"], "response_format": "pcm"}
        own = client.post("/v1/audio/speech", json={**speech, "voice": "me"}).content
        assert client.post("/v1/audio/speech", json=speech).content != own
        assert client.delete(f"/v1/audio/voices/{made['voice_id']}").json()["deleted"] is True
        assert client.post("/v1/audio/speech", json=speech).status_code == 404
        assert client.delete(f"/v1/audio/voices/{made['voice_id']}").status_code == 404
        assert client.delete("/v1/audio/voices/me").status_code == 404
    assert not list((service.state.folder / "voices").glob("anna*"))


def test_an_uploaded_voice_survives_a_restart(cast: LocalCast, tmp_path: Path):
    with running(cast, tmp_path) as service:
        made = send(service, file_of(recorded())).json()["voice_id"]
        assert send(service, file_of(recorded())).status_code == 409
    cast.forget(made)
    with running(cast, tmp_path) as service, service.client() as client:
        body = {"input": "Hi.", "voice": made, "response_format": "pcm"}
        assert client.post("/v1/audio/speech", json=body).status_code == 200
    cast.forget(made)


@pytest.mark.parametrize(
    ("waveform", "rate", "says"),
    [
        (recorded(3), 24_000, "6 s or more"),
        (recorded(61), 24_000, "longer than 60 s"),
        (recorded(8, rate=8_000), 8_000, "16000 are the least"),
        (recorded(8, level=0.001), 24_000, "too quiet"),
        (np.clip(30 * recorded(8), -1, 1), 24_000, "clipped"),
        (noise(8), 24_000, "above the room"),
        (silence(8), 24_000, "too quiet"),
    ],
)
def test_a_recording_that_makes_no_good_voice_is_refused_with_the_remedy(
    service: Running, waveform: Waveform, rate: int, says: str
):
    response = send(service, file_of(waveform, rate=rate))
    assert response.status_code == 400
    assert says in message(response)


def test_several_recordings_are_one_voice_with_their_words_in_order(service: Running):
    said = [recorded(4), recorded(3, rate=48_000)]
    contents = [file_of(said[0]), file_of(said[1], "flac", rate=48_000)]
    response = send(service, *contents, ref_text=["What was said first.", "What came then."], name="several")
    assert response.status_code == 201, response.text
    voice = response.json()["voice_id"]
    kept = service.state.folder / "voices" / voice
    assert (kept / "reference.txt").read_text().strip() == "What was said first. What came then."
    waveform = read_waveform(kept / "reference.wav")
    assert len(waveform) == round((4 + 0.3 + 3) * 24_000)
    heard = reference.read(contents, service.desk.settings).waveform
    np.testing.assert_allclose(waveform, heard, atol=1e-4)  # the file holds 16 bits
    assert not waveform[4 * 24_000 : -3 * 24_000].any()
    with service.client() as client:
        speech = {"input": "Hi.", "voice": voice, "response_format": "pcm"}
        assert client.post("/v1/audio/speech", json=speech).status_code == 200
        assert client.delete(f"/v1/audio/voices/{voice}").status_code == 200


@pytest.mark.parametrize(
    ("waveforms", "says"),
    [
        ([recorded(7), recorded(2)], "recording 2 of 2 cannot be used: it lasts 2.0 s"),
        ([recorded(7), noise(4), recorded(4)], "recording 2 of 3 cannot be used: speech is only"),
        ([recorded(30), recorded(29.9), noise(9)], "recording 2 of 3 cannot be used: with those before it"),
        ([recorded(60.2)], "the recording cannot be used: it is longer than 60 s"),
    ],
    ids=["short", "noisy", "long together", "long"],
)
def test_of_several_recordings_the_one_that_is_wrong_is_named(service: Running, waveforms: list[Waveform], says: str):
    response = send(service, *map(file_of, waveforms), ref_text=["Words."] * len(waveforms))
    assert response.status_code == 400
    assert says in message(response)


def rms_db(waveform: Waveform) -> float:
    return float(10 * np.log10(np.mean(np.square(waveform, dtype=np.float64))))


@pytest.mark.parametrize("click", [0.0, 0.9])
def test_several_recordings_are_as_loud_as_the_loudest(service: Running, click: float):
    said = [recorded(4, level=level) for level in (0.02, 0.1, 0.05)]
    said[0][48_000] = max(said[0][48_000], click)  # five times as loud as what is loudest
    whole = reference.read([file_of(waveform) for waveform in said], service.desk.settings).waveform
    levels = [rms_db(whole[round(at * 24_000) :][: 4 * 24_000]) for at in (0, 4.3, 8.6)]
    np.testing.assert_allclose(levels, rms_db(said[1]), atol=0.7)
    assert np.abs(whole).max() <= 1.0


def test_recordings_with_more_or_fewer_pauses_are_equally_loud(service: Running):
    rarely = np.concatenate([recorded(1.6, level=0.05), recorded(6.4, level=0.05) * np.float32(0.003)])
    whole = reference.read([file_of(recorded(4)), file_of(rarely)], service.desk.settings).waveform
    often, said = whole[: round(1.6 * 24_000)], whole[round(4.3 * 24_000) :][: round(1.6 * 24_000)]
    np.testing.assert_allclose(rms_db(said), rms_db(often), atol=0.5)


def test_what_would_clip_is_made_quieter_together(service: Running):
    peaky = recorded(4, level=0.05)
    peaky[np.flatnonzero(np.abs(peaky) > 0.01)[::200]] = 0.6  # more of them than may clip
    said = [peaky, recorded(4, level=0.25)]
    whole = reference.read([file_of(waveform) for waveform in said], service.desk.settings).waveform
    levels = [rms_db(whole[round(at * 24_000) :][: 4 * 24_000]) for at in (0, 4.3)]
    np.testing.assert_allclose(levels[0], levels[1], atol=1.5)
    assert levels[1] < rms_db(said[1]) - 1
    limits = service.desk.settings.reference
    assert np.mean(np.abs(whole) >= 0.999) <= limits.max_clipped_share


def test_one_recording_is_as_loud_as_it_was(service: Running):
    said = recorded(8, level=0.02)
    np.testing.assert_allclose(reference.read([file_of(said)], service.desk.settings).waveform, said, atol=1e-4)


def test_what_would_be_better_is_said_of_the_recordings_that_have_it(service: Running):
    def warnings(*rates: int, seconds: float) -> list[str]:
        contents = [file_of(recorded(seconds, rate=rate), rate=rate) for rate in rates]
        return reference.read(contents, service.desk.settings).warnings

    assert warnings(24_000, 16_000, 16_000, seconds=3) == [
        "The recordings last 10 s; 10 to 30 s sound best.",
        "24000 samples a second or more sound better than 16000 (recording 2 of 3, recording 3 of 3).",
    ]
    assert warnings(16_000, seconds=12) == ["24000 samples a second or more sound better than 16000."]


def test_a_minute_is_not_too_long_at_any_rate(service: Running):
    content = file_of(recorded(60, rate=44_100), "flac", rate=44_100)
    response = send(service, content, name="a minute")
    assert response.status_code == 201, response.text
    with service.client() as client:
        assert client.delete(f"/v1/audio/voices/{response.json()['voice_id']}").status_code == 200


def test_three_seconds_of_each_are_enough_and_six_of_all_are_needed(service: Running):
    limits = replace(service.desk.settings.reference, min_recording_seconds=2.0)
    settings = replace(service.desk.settings, reference=limits)
    with pytest.raises(Problem, match=r"the recordings cannot be used: they last 5\.3 s in all\. Record 6 s or more"):
        reference.read([file_of(recorded(2.5))] * 2, settings)
    assert len(reference.read([file_of(recorded(2.5)), file_of(recorded(5))], settings).waveform) == 7.8 * 24_000


@pytest.mark.parametrize(
    ("texts", "code", "says"),
    [
        (["One text."], "texts_and_recordings_differ", "2 `audio_sample` and 1 `ref_text`"),
        (["One.", "Two.", "Three."], "texts_and_recordings_differ", "2 `audio_sample` and 3 `ref_text`"),
        (["Words.", "..."], "no_words", "`ref_text`"),
        (["a" * 1_500, "b" * 1_500], "too_many_words", "3,001 characters in all"),
    ],
)
def test_every_recording_needs_its_words(service: Running, texts: list[str], code: str, says: str):
    response = send(service, file_of(recorded()), file_of(recorded()), ref_text=texts)
    assert (response.status_code, response.json()["error"]["code"]) == (400, code)
    assert says in message(response)


def test_without_consent_nothing_is_imitated(service: Running):
    response = send(service, file_of(recorded()), consent="sure")
    assert response.status_code == 400
    assert CONSENT in message(response)
    assert send(service, file_of(recorded()), ref_text="...").status_code == 400


def four_hours_of_silence() -> bytes:
    block = file_of(silence(10, rate=16_000), "flac", rate=16_000)
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", 16_000, 1, format="FLAC") as file:
        for _ in range(24):
            file.write(silence(600, rate=16_000))
    assert len(buffer.getvalue()) < 10_000_000, len(block)
    return buffer.getvalue()


def wav_that_claims_four_gigabytes() -> bytes:
    return file_of(recorded(1))[:40] + struct.pack("<I", 0xFFFFFFF0) + b"\0" * 100


def mp4_that_claims_a_billion_samples() -> bytes:
    content = bytearray(file_of(recorded(), "m4a"))
    at = content.find(b"stsz") + 12
    content[at : at + 4] = struct.pack(">I", 0x3FFFFFFF)
    return bytes(content)


PLAYLIST = b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n"
CONCAT = b"ffconcat version 1.0\nfile /etc/passwd\n"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"RIFF",
        b"not audio at all",
        PLAYLIST,
        CONCAT,
        b"RIFF\xff\xff\xff\xffWAVE" + b"\xff" * 1_000,
        b"fLaC" + b"\0" * 1_000,
        b"\0\0\0\x18ftypM4A " + b"\xff" * 1_000,
        b"ID3" + b"\xff" * 100_000,
        wav_that_claims_four_gigabytes(),
        mp4_that_claims_a_billion_samples(),
        four_hours_of_silence(),
        file_of(recorded(), "flac")[:2_000],
    ],
    ids=lambda content: repr(content[:12]),
)
def test_a_hostile_file_is_refused_and_the_service_goes_on(service: Running, content: bytes):
    response = send(service, content)
    assert response.status_code == 400, response.text
    assert "passwd" not in response.text
    with service.client() as client:
        assert client.get("/health").status_code == 200


def test_names_and_extensions_mean_nothing(service: Running):
    response = send(service, file_of(recorded()), filename="../../etc/passwd.mp3", name="../../../x")
    assert response.status_code == 201
    made = response.json()["voice_id"]
    assert "/" not in made and "." not in made
    with service.client() as client:
        assert client.delete(f"/v1/audio/voices/{made}").status_code == 200
        assert client.delete("/v1/audio/voices/..%2f..%2fstate").status_code in (404, 405)


def test_a_checkpoint_without_a_speaker_encoder_refuses_with_the_remedy(
    serve: Start, cast: LocalCast, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cast, "_can_clone", False)
    response = send(serve(), file_of(recorded()))
    assert response.status_code == 400
    assert "no speaker encoder" in message(response)


def test_only_so_many_voices_are_kept(serve: Start):
    response = send(serve(uploads=0), file_of(recorded()))
    assert response.status_code == 409


def test_a_recording_that_cannot_be_kept_leaves_no_voice_behind(service: Running, monkeypatch: pytest.MonkeyPatch):
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr("serving.library.Library._keep", full)
        response = send(service, file_of(recorded()))
    assert (response.status_code, response.json()["error"]["code"]) == (503, "not_kept")
    with service.client() as client:
        ids = [voice["voice_id"] for voice in client.get("/v1/audio/voices").json()["voices"]]
    assert ids == ["me"]
    assert send(service, file_of(recorded())).status_code == 201
