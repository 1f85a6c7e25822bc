"""The page in a real browser.

UPDATE_SCREENSHOTS=1 python -m pytest -m browser tests/serving/test_page.py    # rewrites docs/voice-page.png
"""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serving.conftest import Running, Start
from tests.serving.test_uploads import file_of, recorded

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install playwright)")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the PATH"),
]
SCREENSHOT = Path(__file__).resolve().parents[2] / "docs/voice-page.png"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    page = browser.new_page(viewport={"width": 860, "height": 900})
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    page.close()
    assert not [error for error in errors if "status of 4" not in error]


def shows(page: Any, where: str, pattern: str) -> None:
    playwright.expect(page.locator(where)).to_have_text(re.compile(pattern), timeout=60_000)


def test_typing_choosing_hearing(service: Running, page: Any):
    page.goto(service.url)
    page.wait_for_selector("#voice option", state="attached")
    page.fill("#text", "Hello.")
    for form in ("wav", "pcm", "mp3", "flac"):
        page.select_option("#format", form)
        page.click("#go")
        shows(page, "#made-in", r" s$")
        assert page.text_content("#first-byte").endswith("ms")
        if form != "flac":  # its header tells no length
            shows(page, "#length", r" s$")
            seconds = float(page.text_content("#length").removesuffix(" s"))
            assert 0.5 < seconds < 10
        assert page.get_attribute("#save", "download") == f"speech.{form}"
    page.select_option("#format", "wav")
    page.fill("#speed", "2")
    page.click("#go")
    shows(page, "#length", r" s$")
    assert float(page.text_content("#length").removesuffix(" s")) < seconds


def test_recordings_become_a_voice(service: Running, page: Any, tmp_path: Path):
    clips = [tmp_path / name for name in ("first.wav", "second.wav")]
    for clip in clips:
        clip.write_bytes(file_of(recorded(6)))
    page.goto(service.url)
    page.click("summary")
    page.fill("#name", "Anna")
    page.set_input_files("#files", clips)
    for clip in clips:
        page.get_by_label(f"What is said in {clip.name}").fill("Some words that were said.")
    page.check("#consent")
    page.click("#upload button:not([type=button])")
    shows(page, "#made", "can speak now")
    page.click("#go")
    shows(page, "#length", r" s$")
    if os.environ.get("UPDATE_SCREENSHOTS"):
        page.screenshot(path=SCREENSHOT, full_page=True)
    page.click("#forget")
    playwright.expect(page.locator("#voice option")).to_have_count(1)


def test_a_refusal_is_shown_and_a_key_is_asked_for(serve: Start, page: Any):
    service = serve(keys={"mac": "k" * 32})
    page.goto(service.url)
    page.wait_for_selector("#key-form:not([hidden])")
    assert "key is needed" in page.text_content("#problem")
    page.fill("#key", "k" * 32)
    page.click("#key-form button")
    page.wait_for_selector("#voice option", state="attached")
    page.fill("#text", "...")
    page.click("#go")
    page.wait_for_selector("#problem:not([hidden])")
    assert "nothing that can be said" in page.text_content("#problem")
