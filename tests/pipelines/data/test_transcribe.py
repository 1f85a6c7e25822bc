import csv
import json
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from pipelines.data.clips import Clip
from pipelines.data.review import Decision, read_review, write_review
from pipelines.data.transcribe import apply_review, disagreement, doubts, listen, write_texts
from pipelines.data.transcripts import Origin, Transcript, read_transcripts, write_transcripts
from tests.sounds import speechlike
from voice.asr import load_asr
from voice.audio import Waveform, write_wav
from voice.errors import InputError


class Ear:
    """Hears how long a clip is, and counts how often it was asked."""

    name = identity = "ear"
    copies, batch = False, 2

    def __init__(self) -> None:
        self.asked = 0

    def transcribe(self, waveform: Waveform) -> str:
        self.asked += 1
        return f"{len(waveform)} samples"

    def transcribe_all(self, waveforms: Sequence[Waveform]) -> list[str]:
        return [self.transcribe(waveform) for waveform in waveforms]


def clip(name: str, *, text: str = "", script: str = "", source: str | None = None) -> Clip:
    return Clip(name, source or name, f"wavs/{name}.wav", text, script)


@pytest.fixture
def wavs(tmp_path: Path) -> Path:
    (tmp_path / "wavs").mkdir()
    for i, name in enumerate(("a", "b"), start=1):
        write_wav(tmp_path / f"wavs/{name}.wav", speechlike(0.1 * i))
    return tmp_path / "wavs"


def test_what_was_heard_once_is_not_heard_again(wavs: Path, tmp_path: Path):
    ear, clips = Ear(), [clip("a"), clip("b"), clip("without_audio")]
    first = listen(clips, wavs, ear, tmp_path / "store")
    assert first == {"a": "2400 samples", "b": "4800 samples"}
    write_wav(wavs / "b.wav", speechlike(0.3))
    assert listen(clips, wavs, ear, tmp_path / "store") == {"a": "2400 samples", "b": "7200 samples"}
    assert ear.asked == 3


def test_a_written_text_is_checked_and_a_missing_one_is_heard():
    written, missing = write_texts(
        [clip("a", text="One two three four."), clip("b")], {"a": "one too three for", "b": "hello"}, language="en"
    )
    assert (written.text, written.origin, written.disagreement) == ("One two three four.", Origin.WRITTEN, 0.5)
    assert (missing.text, missing.origin, missing.disagreement) == ("hello", Origin.HEARD, None)


def test_pieces_of_a_script_get_their_words_and_are_checked_against_them():
    clips = [
        clip("t_1", script="One two. Three four.", source="t"),
        clip("t_2", script="One two. Three four.", source="t"),
    ]
    one, two = write_texts(clips, {"t_1": "one two", "t_2": "free four"}, language="en")
    assert (one.text, one.origin, one.disagreement) == ("One two.", Origin.SCRIPT, 0.0)
    assert (two.text, two.disagreement) == ("Three four.", 0.5)


def test_languages_without_spaces_are_compared_by_character():
    assert disagreement("今天天气很好。", "今天天汽很好", language="zh") == pytest.approx(1 / 6)
    assert disagreement("never heard", "", language="en") == 1.0


def line(name: str, text: str, rate: float | None, origin: Origin = Origin.WRITTEN) -> Transcript:
    return Transcript(name, text, origin, "what was heard", rate, Decision.OPEN)


def test_what_the_owner_wrote_survives_every_rerun_and_wins(tmp_path: Path):
    lines = [
        line("a", "fine", 0.1),
        line("b", "wrong", 0.9),
        line("c", "what was heard", None, Origin.HEARD),
        line("d", "bad", 0.8),
    ]
    audio = {name: f"wavs/{name}.wav" for name in "abcd"}
    path = tmp_path / "review.csv"
    write_review(path, doubts(lines, {}, above=0.5, audio=audio))
    assert [d.id for d in read_review(path).values()] == ["b", "d", "c"]

    rows = list(csv.DictReader(path.open()))
    rows[0]["text"], rows[1]["decision"] = "right", "Drop"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)

    for _ in range(2):
        review = read_review(path)
        write_review(path, doubts(lines, review, above=0.5, audio=audio))
        reviewed = {t.id: t for t in apply_review(lines, review)}
        assert (reviewed["b"].text, reviewed["b"].origin) == ("right", Origin.REVIEWED)
        assert (reviewed["d"].text, reviewed["d"].decision) == ("bad", Decision.DROP)
        assert reviewed["c"].origin is Origin.HEARD
        assert set(read_review(path)) == {"b", "c", "d"}


@pytest.mark.parametrize(
    "content", ["id,decision\na,keep\n", "id,decision,text,heard,disagreement,was,audio\na,perhaps,t,h,,t,x.wav\n"]
)
def test_a_review_that_was_edited_wrongly_names_its_line(tmp_path: Path, content: str):
    (tmp_path / "review.csv").write_text(content)
    with pytest.raises(InputError, match=r"review\.csv:2: .*keep, drop or nothing"):
        read_review(tmp_path / "review.csv")


def test_transcripts_read_back_as_written(tmp_path: Path):
    lines = [line("a", 'with, comma "and quotes"', 0.25), line("b", "", None, Origin.HEARD)]
    write_transcripts(tmp_path / "transcripts.csv", lines)
    assert read_transcripts(tmp_path / "transcripts.csv") == lines


@pytest.fixture
def service() -> Iterator[tuple[str, list[bytes]]]:
    """A stand-in for a recogniser: answers with the number of bytes it got."""
    got: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(self.rfile.read(int(self.headers["Content-Length"])))
            if "locked" in self.path and self.headers["Authorization"] != "Bearer secret":
                self.send_error(401)
                return
            is_right = self.path.removeprefix("/locked") == "/v1/audio/transcriptions"
            body = json.dumps({"text": " Hello there. "}).encode() if is_right else b"<html>"
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", got
    server.shutdown()


def test_a_recogniser_elsewhere_is_asked_in_openais_way(service: tuple[str, list[bytes]]):
    url, got = service
    asr = load_asr("http", model="nvidia/nemotron-speech-0.6b", language="en", url=url)
    assert asr.transcribe(speechlike(0.2)) == "Hello there."
    assert asr.name == "nemotron_speech_0_6b"
    for part in (b'name="model"', b"nvidia/nemotron-speech-0.6b", b'name="language"', b"RIFF"):
        assert part in got[0]


def test_a_recogniser_that_wants_a_key_gets_the_one_of_the_environment(
    service: tuple[str, list[bytes]], monkeypatch: pytest.MonkeyPatch
):
    asr = load_asr("http", model="m", language="en", url=f"{service[0]}/locked")
    with pytest.raises(InputError, match=r"401.*ASR_API_KEY"):
        asr.transcribe(speechlike(0.1))
    monkeypatch.setenv("ASR_API_KEY", "secret")
    assert asr.transcribe(speechlike(0.1)) == "Hello there."


@pytest.mark.parametrize("path", ["/wrong", ":1"])
def test_a_recogniser_that_does_not_answer_names_its_address(service: tuple[str, list[bytes]], path: str):
    url = "http://127.0.0.1:1" if path == ":1" else service[0] + path
    with pytest.raises(InputError, match=r"recogniser http://127\.0\.0\.1.*asr_url"):
        load_asr("http", model="m", language="en", url=url).transcribe(speechlike(0.1))
