"""The page in a real browser, made of the demo voice: players decode, the table sorts, nothing is asked of any network.

UPDATE_SCREENSHOTS=1 python -m pytest -m browser tests/pipelines/data/test_data_page.py  # for docs/data-report.png
"""

import io
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.data import describe
from tests.pipelines.data.described import row, write_summary, write_voice
from voice.audio import read_waveform, seconds, write_wav
from voice.manifest import read_metadata

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install playwright)")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the PATH"),
]

PROJECT = Path(__file__).resolve().parents[3]
DEMO = PROJECT / "data/raw/demo"
DROPPED = {
    "demo_007": "clipped in 2.31% of its samples. Lower the microphone's gain.",
    "demo_032": "clipped in 1.12% of its samples. Lower the microphone's gain.",
    "demo_045": "another speaker",
}
FLAGGED = {
    "demo_013": "pause of 2.4 s",
    "demo_026": "signal to noise 14.2 dB; pause of 2.1 s",
    "demo_051": "other words were heard",
}


def write_demo(processed: Path) -> None:
    """The demo's audio and texts; lengths are measured, the other figures are drawn from what recordings measure."""
    draw = np.random.default_rng(0)
    texts = {u.id: u.text for u in read_metadata(DEMO / "metadata.csv")}
    spoken = {name: read_waveform(DEMO / f"wavs/{name}.flac") for name in texts}
    rows = [
        row(
            name,
            "dropped" if name in DROPPED else "flagged" if name in FLAGGED else "kept",
            DROPPED.get(name) or FLAGGED.get(name) or "",
            seconds=round(seconds(waveform), 3),
            lufs=round(draw.normal(-24, 2), 1),
            peak_dbfs=round(draw.normal(-6, 2), 1),
            clipped_share=0.02 if "clipped" in DROPPED.get(name, "") else 0,
            snr_db=round(draw.normal(31, 5), 1),
            bandwidth_hz=round(draw.normal(10_500, 400)),
            reverberation_seconds=round(draw.gamma(4, 0.05), 3),
            longest_pause_seconds=2.4 if name in FLAGGED else round(draw.gamma(3, 0.12), 2),
            hum_db=round(draw.gamma(2, 0.5), 1),
            characters_per_second=round(len(texts[name]) / seconds(waveform), 2),
            disagreement="" if name in DROPPED else round(draw.beta(1, 9), 3),
            speaker_distance=round(draw.normal(0.18, 0.04), 3),
        )
        for name, waveform in spoken.items()
    ]
    used = {name: text for name, text in texts.items() if name not in DROPPED}
    write_voice(processed, rows, used)
    for name, waveform in spoken.items():
        write_wav(processed / f"wavs/{name}.wav", waveform)
    write_wav(processed / "reference.wav", np.concatenate([spoken[f"demo_{i:03}"] for i in (1, 2, 3)]))
    (processed / "reference.txt").write_text(" ".join(texts[f"demo_{i:03}"] for i in (1, 2, 3)) + "\n")
    minutes = sum(seconds(spoken[name]) for name in used) / 60
    write_summary(processed, minutes=minutes, clips=len(used), tier="below minimum")


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    write_demo(folder / "data/processed/demo")
    arguments = sys.argv
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        try:
            sys.argv = ["describe", "voice=demo"]
            describe.main()
        finally:
            sys.argv = arguments
    return folder / "reports/demo/data.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any, page_file: Path) -> Iterator[Any]:
    """The page; afterwards nothing may have been asked of a network or gone wrong."""
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    asked, wrong = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(page_file.as_uri())
    yield page
    page.close()
    assert wrong == []
    assert {url for url in asked if not url.startswith("data:")} == {page_file.as_uri()}


def column(page: Any, index: int) -> list[str]:
    return [cell.strip() for cell in page.locator(f"#all tbody tr > :nth-child({index})").all_text_contents()]


def test_the_page_is_one_file_that_mail_takes(page_file: Path):
    assert 500_000 < page_file.stat().st_size < 10_000_000


def test_every_player_decodes_what_it_carries(page: Any):
    decoded = page.evaluate(
        """() => Promise.all([...document.querySelectorAll("audio")].map(async audio => {
            if (audio.readyState < 1) await new Promise(done => audio.addEventListener("loadedmetadata", done));
            audio.muted = true;
            await audio.play();
            if (audio.currentTime === 0) await new Promise(done => audio.addEventListener("timeupdate", done));
            audio.pause();
            return { label: audio.ariaLabel, seconds: audio.duration, error: audio.error };
        }))"""
    )
    assert len(decoded) == 19  # data.players and the reference
    assert all(player["error"] is None for player in decoded)
    lengths = {player["label"]: player["seconds"] for player in decoded}
    assert lengths.pop("reference") == pytest.approx(
        sum(seconds(read_waveform(DEMO / f"wavs/demo_00{i}.flac")) for i in (1, 2, 3)), abs=0.1
    )
    for name, length in lengths.items():
        assert length == pytest.approx(seconds(read_waveform(DEMO / f"wavs/{name}.flac")), abs=0.1)


def test_a_click_on_a_head_sorts_and_another_one_turns_the_order(page: Any):
    head = page.locator("#all thead th", has_text="Length")
    assert head.get_attribute("aria-sort") is None
    head.get_by_role("button").click()
    lengths = [float(cell) for cell in column(page, 4)]
    assert lengths == sorted(lengths)
    assert head.get_attribute("aria-sort") == "ascending"
    head.get_by_role("button").click()
    assert [float(cell) for cell in column(page, 4)] == sorted(lengths, reverse=True)


def test_cells_without_a_figure_come_last_either_way(page: Any):
    heads = [text.strip() for text in page.locator("#all thead th").all_text_contents()]
    index = 1 + heads.index("Other words heard, %")
    button = page.locator(f"#all thead th:nth-child({index}) button")
    for _ in range(2):
        button.click()
        assert column(page, index)[-3:] == ["", "", ""]
        assert "" not in column(page, index)[:-3]


def test_the_table_is_sorted_by_keyboard_and_filtered_by_verdict(page: Any):
    page.locator("#all thead button").first.focus()
    page.keyboard.press("Enter")
    assert column(page, 1)[:2] == ["demo_001", "demo_002"]
    page.get_by_label("Show").select_option("flagged")
    assert page.locator("#all tbody tr:visible").count() == 3
    assert page.get_by_role("status").text_content() == "3 clips"


def test_sections_are_reached_from_the_top(page: Any):
    links = page.get_by_role("navigation").get_by_role("link")
    targets = [link.get_attribute("href") for link in links.all()]
    assert len(targets) == 8
    assert all(page.locator(f"section{target} h2").count() == 1 for target in targets)


def test_nothing_is_wider_than_a_telephone(page: Any):
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == 390


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(scheme: str, browser: Any, page_file: Path):
    page = browser.new_page(color_scheme=scheme)
    page.goto(page_file.as_uri())
    ratios = page.evaluate(
        """() => {
            const channels = colour => { // any CSS colour, as the canvas draws it
                const pen = new OffscreenCanvas(1, 1).getContext("2d");
                pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1);
                return [...pen.getImageData(0, 0, 1, 1).data];
            };
            const luminance = ([r, g, b]) => [r, g, b].map(c => c / 255)
                .map(c => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
                .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
            const behind = element => {
                const colour = channels(getComputedStyle(element).backgroundColor);
                return colour[3] ? colour : element.parentElement ? behind(element.parentElement) : null;
            };
            return [...document.querySelectorAll("main *, header *")]
                .filter(e => !e.closest("svg") && [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()))
                .map(e => {
                    const pair = [channels(getComputedStyle(e).color), behind(e)].map(luminance);
                    const [low, high] = pair.sort((a, b) => a - b);
                    return (high + .05) / (low + .05);
                });
        }"""
    )
    page.close()
    assert len(ratios) > 300
    assert min(ratios) >= 4.5  # WCAG 2.2, 1.4.3


@pytest.mark.skipif(not os.environ.get("UPDATE_SCREENSHOTS"), reason="set UPDATE_SCREENSHOTS=1")
def test_screenshot(browser: Any, page_file: Path):
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.goto(page_file.as_uri())
    page.add_style_tag(content="#listen tbody tr:nth-child(n+7), #next tbody tr:nth-child(n+6) { display: none }")
    drawn = Image.open(io.BytesIO(page.screenshot(full_page=True)))
    drawn.quantize(64).save(PROJECT / "docs/data-report.png", optimize=True)  # few colours: a quarter of the size
    page.close()
