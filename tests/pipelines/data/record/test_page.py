"""The page in a real browser, with a file for a microphone: from consent to a clip that holds what was spoken.

UPDATE_SCREENSHOTS=1 python -m pytest -m browser tests/pipelines/data/record/test_page.py    # rewrites docs/record.png
"""

import contextlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import uvicorn
from scipy.signal import correlate

from pipelines.data.record.app import build_app
from pipelines.data.record.serve import listen_on, server_of
from pipelines.data.record.session import Session
from tests.pipelines.data.record.conftest import LIMITS, RATE, room
from voice.audio import read_channels, resample, to_mono
from voice.manifest import read_metadata

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install playwright)")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the PATH"),
]

PROJECT = Path(__file__).resolve().parents[4]
DEMO = PROJECT / "data/raw/demo"
SPOKEN = "demo_028"  # what the fake microphone hears
TEXTS = {u.id: u.text for u in read_metadata(DEMO / "metadata.csv")}
SENTENCES = [TEXTS.pop(SPOKEN), *TEXTS.values()]
SILENCE_SECONDS = 0.9  # before and after the sentence, so that a take can begin and end in it


def speech(rate: int) -> np.ndarray:
    """The sentence without silence around it, at half of full scale."""
    channels, from_rate = read_channels(DEMO / f"wavs/{SPOKEN}.flac")
    mono = resample(to_mono(channels), from_rate=from_rate, to_rate=rate)
    mono = 0.5 * (mono - mono.mean()) / np.abs(mono).max()
    heard = np.flatnonzero(np.abs(mono) > 0.01)
    return np.asarray(mono[heard[0] : heard[-1]])


@pytest.fixture(scope="module")
def microphone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the fake microphone hears, over and over: a quiet room, one sentence, a quiet room."""
    path = tmp_path_factory.mktemp("microphone") / "microphone.wav"
    quiet = np.zeros(round(SILENCE_SECONDS * RATE))
    heard = np.concatenate([quiet, speech(RATE), quiet])
    soundfile.write(path, heard + room(len(heard) / RATE), RATE, subtype="PCM_16")
    return path


@pytest.fixture(scope="module")
def browser(microphone: Path) -> Iterator[Any]:
    flags = [
        "--no-sandbox",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={microphone}",
    ]
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def serve() -> Iterator[Callable[[Session], str]]:
    """Serve a session on a free port and return its address."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def serve(session: Session) -> str:
        listener = sockets.enter_context(listen_on(0))
        server = server_of(build_app(session, max_take_seconds=LIMITS.max_take_seconds))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        running.append((server, thread))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    with contextlib.ExitStack() as sockets:
        yield serve
        for server, thread in running:
            server.should_exit = True
            thread.join()


@pytest.fixture
def address(open_session: Callable[..., Session], serve: Callable[[Session], str]) -> str:
    return serve(open_session(sentences=SENTENCES))


@pytest.fixture
def complaints() -> list[str]:
    """What pages wrote into their consoles. At the end of a test it must be empty."""
    return []


@pytest.fixture
def open_page(browser: Any, complaints: list[str]) -> Iterator[Callable[..., Any]]:
    """Open a page in a fresh browser profile."""
    contexts = []

    def open_page(address: str, **options: Any) -> Any:
        context = browser.new_context(**{"permissions": ["microphone"], **options})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def recorder(
    session: Session,
    open_session: Callable[..., Session],
    serve: Callable[[Session], str],
    open_page: Callable[..., Any],
) -> Any:
    """A page whose speaker has agreed, with the microphone on."""
    page = open_page(serve(open_session(sentences=SENTENCES)))
    wait_for_mode(page, "off")
    page.keyboard.press("Space")
    wait_for_mode(page, "ready")
    return page


def wait_for_mode(page: Any, mode: str) -> None:
    page.wait_for_function("mode => document.body.dataset.mode === mode", arg=mode)


def wait_for_level(page: Any, comparison: str, *, readings: int) -> None:
    """Wait until the level meter says so that many times on end."""
    page.evaluate("window.seen = 0")
    page.wait_for_function(
        f"""() => {{
          const level = Number(document.querySelector('[role=meter]').getAttribute('aria-valuenow'));
          window.seen = level {comparison} ? window.seen + 1 : 0;
          return window.seen >= {readings};
        }}""",
        polling=100,
    )


def wait_for_seconds(page: Any, taken: float) -> None:
    """Wait until the running take is that long."""
    page.wait_for_function(f"() => parseFloat(document.querySelector('#status').innerText.split(' ')[1]) >= {taken}")


def wait_for_speech(page: Any) -> None:
    wait_for_level(page, "> -40", readings=1)


def wait_for_quiet(page: Any) -> None:
    """Longer than any pause within the sentence."""
    wait_for_level(page, "< -55", readings=5)


def read_sentence(page: Any) -> None:
    """Record as a person does: start in silence, let the sentence pass, stop in silence."""
    wait_for_speech(page)
    wait_for_quiet(page)
    page.keyboard.press("Space")
    wait_for_speech(page)
    wait_for_quiet(page)
    page.keyboard.press("Space")
    wait_for_mode(page, "review")


def best_fit(recorded: np.ndarray, played: np.ndarray) -> tuple[int, float]:
    """Where what was played fits the recording best, and their correlation there; 1 means the same at any level."""
    windows = np.lib.stride_tricks.sliding_window_view(recorded, len(played))
    fits = windows @ played / np.linalg.norm(windows, axis=1) / np.linalg.norm(played)
    at = int(np.argmax(fits))
    return at, float(fits[at])


def heard_share(recorded: np.ndarray, played: np.ndarray, *, rate: int) -> float:
    """Share of the tenths of a second that are in the recording as they were played, one after another.

    A busy machine leaves a zero-filled moment now and then, and what follows comes later by that: hence piece by piece.
    """
    size, slack = rate // 10, rate // 20
    shift = int(np.argmax(correlate(recorded, played[: 10 * size], mode="valid")))
    heard = []
    for at in range(0, len(played) - size, size):
        piece, begin = played[at : at + size], max(0, shift + at - slack)
        if piece.std() < 0.02:
            continue  # hardly louder than the room
        around = recorded[begin : begin + size + 2 * slack]
        found, fit = best_fit(around, piece) if len(around) >= size else (0, 0.0)
        heard.append(fit > 0.99)
        if heard[-1]:
            shift = begin + found - at
    assert len(heard) > 15
    return float(np.mean(heard))


def test_a_sentence_goes_from_the_microphone_into_the_folder(address: str, open_page: Callable[..., Any], raw: Path):
    page = open_page(address)
    page.get_by_role("heading", name="Before you record").wait_for()
    page.keyboard.press("Space")  # no key records before consent
    assert not raw.exists()
    page.get_by_label("Name of the person").fill("Anna Example")
    page.get_by_label("my own voice").check()
    page.get_by_role("button", name="Agree").click()
    wait_for_mode(page, "ready")
    assert "Name: Anna Example" in (raw / "consent.txt").read_text()
    assert page.locator("#sentence").inner_text() == SENTENCES[0]

    read_sentence(page)
    findings = page.locator("#findings li").all_inner_texts()
    assert [f for f in findings if "too busy" not in f] == []  # what the machine misses is said; all else is good
    page.keyboard.press("Enter")
    wait_for_mode(page, "ready")
    assert page.locator("#sentence").inner_text() == SENTENCES[1]

    assert (raw / "metadata.csv").read_text() == f"anna_0001|{SENTENCES[0]}\n"
    clip = soundfile.info(raw / "wavs/anna_0001.wav")
    assert (clip.channels, clip.subtype) == (1, "PCM_16")
    played = speech(clip.samplerate)
    recorded, _ = soundfile.read(raw / "wavs/anna_0001.wav")
    assert heard_share(recorded, played, rate=clip.samplerate) > 0.6  # 1.0 where the machine keeps up
    assert np.abs(recorded).max() == pytest.approx(0.5, rel=0.05)  # no gain was applied


def test_a_reload_loses_neither_the_take_nor_the_clip(recorder: Any, raw: Path):
    read_sentence(recorder)
    recorder.reload()
    wait_for_mode(recorder, "review")
    assert recorder.locator("#sentence").inner_text() == SENTENCES[0]
    recorder.keyboard.press("Enter")
    wait_for_mode(recorder, "off")  # the microphone is opened by the person, not by the page
    recorder.reload()
    wait_for_mode(recorder, "off")
    assert recorder.locator("#sentence").inner_text() == SENTENCES[1]
    assert recorder.locator("#clips li").count() == 1
    recorder.keyboard.press("u")
    wait_for_mode(recorder, "review")
    assert list((raw / "wavs").iterdir()) == []


def test_everything_can_be_done_with_the_keyboard(address: str, open_page: Callable[..., Any], raw: Path):
    page = open_page(address)
    page.get_by_role("heading", name="Before you record").wait_for()
    tab_to(page, "name")
    page.keyboard.type("Anna s r u l Example")  # letters in a field are letters
    tab_to(page, "agreed")
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    wait_for_mode(page, "ready")
    page.keyboard.press("s")
    page.wait_for_function("text => document.querySelector('#sentence').innerText === text", arg=SENTENCES[1])
    page.keyboard.press("Space")
    wait_for_mode(page, "recording")
    page.keyboard.press("Escape")
    wait_for_mode(page, "ready")
    read_sentence(page)
    page.keyboard.press("Space")
    page.wait_for_function("() => !document.querySelector('#player').paused")
    page.keyboard.press("r")
    wait_for_mode(page, "recording")
    assert page.evaluate("document.querySelector('#player').paused")
    page.keyboard.press("Escape")
    wait_for_mode(page, "review")  # the take before is still there
    page.keyboard.press("Enter")
    wait_for_mode(page, "ready")
    tab_to(page, "shortcuts")
    page.keyboard.press("Space")
    page.keyboard.press("u")  # keys are off: nothing happens
    tab_to(page, "undo")
    page.keyboard.press("Enter")  # but a button with the focus is a button
    wait_for_mode(page, "review")
    assert (raw / "metadata.csv").read_text() == ""


def tab_to(page: Any, name: str) -> None:
    for _ in range(60):
        if page.evaluate("document.activeElement?.id") == name:
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{name} is not reached with the Tab key")


def test_a_clip_is_read_again_from_the_list(recorder: Any, raw: Path):
    read_sentence(recorder)
    recorder.get_by_role("button", name="Keep").click()
    wait_for_mode(recorder, "ready")
    first = (raw / "wavs/anna_0001.wav").read_bytes()
    recorder.locator("summary", has_text="Recorded").click()
    recorder.get_by_role("button", name="Read anna_0001 again").click()
    recorder.get_by_text("in place of anna_0001").wait_for()
    read_sentence(recorder)
    recorder.keyboard.press("Enter")
    wait_for_mode(recorder, "ready")
    assert recorder.locator("#sentence").inner_text() == SENTENCES[1]
    assert (raw / "metadata.csv").read_text() == f"anna_0001|{SENTENCES[0]}\n"
    assert (raw / "wavs/anna_0001.wav").read_bytes() != first


def test_a_key_that_is_pressed_twice_records_nothing(recorder: Any):
    recorder.keyboard.press("Space")
    recorder.keyboard.press("Space")
    recorder.get_by_text("Nothing was recorded yet").wait_for()
    assert recorder.evaluate("document.body.dataset.mode") == "ready"


def test_silence_is_refused_in_words(recorder: Any):
    wait_for_speech(recorder)
    wait_for_quiet(recorder)
    recorder.keyboard.press("Space")
    wait_for_seconds(recorder, 0.3)
    recorder.keyboard.press("Space")
    wait_for_mode(recorder, "review")
    assert "No voice was heard" in recorder.locator("#findings").inner_text()
    assert recorder.get_by_role("button", name="Keep").is_disabled()


def test_a_take_that_did_not_arrive_is_sent_again(recorder: Any, complaints: list[str]):
    recorder.route("**/api/take*", lambda route: route.abort())
    wait_for_speech(recorder)
    recorder.keyboard.press("Space")
    wait_for_seconds(recorder, 0.5)
    recorder.keyboard.press("Space")
    wait_for_mode(recorder, "unsent")
    assert "does not answer" in recorder.locator("#problem").inner_text()
    assert len(complaints) == 1  # the browser's own line about the request
    complaints.clear()
    recorder.unroute("**/api/take*")
    recorder.keyboard.press("Enter")
    wait_for_mode(recorder, "review")
    assert recorder.locator("#problem").is_hidden()


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("NotAllowedError", "Allow it"),
        ("NotFoundError", "Plug one in"),
        ("NotReadableError", "Close calls"),
    ],
)
def test_a_microphone_that_is_refused_or_absent_is_explained(
    session: Session,
    open_session: Callable[..., Session],
    serve: Callable[[Session], str],
    open_page: Callable[..., Any],
    name: str,
    remedy: str,
):
    page = open_page(serve(open_session(sentences=SENTENCES)))
    wait_for_mode(page, "off")
    refuse = "name => { navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('no', name); }; }"
    page.evaluate(refuse, name)
    page.get_by_role("button", name="Turn on").click()
    page.get_by_role("alert").wait_for()
    assert remedy in page.get_by_role("alert").inner_text()
    assert page.evaluate("document.body.dataset.mode") == "off"


def test_every_control_has_a_name_and_nothing_is_wider_than_a_telephone(recorder: Any):
    recorder.set_viewport_size({"width": 340, "height": 700})
    assert recorder.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    unnamed = """() => [...document.querySelectorAll('button, input, select, canvas, [role=meter]')]
      .filter(e => !(e.textContent.trim() || e.ariaLabel || e.labels?.length)).map(e => e.outerHTML)"""
    assert recorder.evaluate(unnamed) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_picture_in_the_docs_is_small_and_of_this_page(
    session: Session,
    open_session: Callable[..., Session],
    serve: Callable[[Session], str],
    open_page: Callable[..., Any],
    raw: Path,
    tmp_path: Path,
    scheme: str,
):
    (raw / "wavs").mkdir(parents=True)
    chosen = [u for u in read_metadata(DEMO / "metadata.csv") if u.id != SPOKEN][:36]
    for utterance in chosen:
        shutil.copy(DEMO / f"wavs/{utterance.id}.flac", raw / "wavs")
    (raw / "metadata.csv").write_text("".join(f"{u.id}|{u.text}\n" for u in chosen))
    page = open_page(
        serve(open_session(sentences=SENTENCES)), viewport={"width": 1000, "height": 820}, color_scheme=scheme
    )
    wait_for_mode(page, "off")
    page.keyboard.press("Space")
    wait_for_mode(page, "ready")
    read_sentence(page)
    page.locator("#wave[data-drawn]").wait_for()
    wait_for_speech(page)  # so that the meter shows something
    picture = tmp_path / "record.png"
    page.screenshot(path=picture)
    assert picture.stat().st_size < 200_000
    if os.environ.get("UPDATE_SCREENSHOTS") and scheme == "light":
        shutil.copy(picture, PROJECT / "docs/record.png")
