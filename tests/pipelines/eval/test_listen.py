"""The blind listening test: trials, what goes over HTTP, and the page in a real browser."""

import io
import random
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from fastapi.testclient import TestClient

from pipelines.data.quality.level import loudness
from pipelines.data.record.serve import listen_on, server_of
from pipelines.eval.ballot import NEITHER, read_votes
from pipelines.eval.listen.app import LUFS, build_app, levelled
from pipelines.eval.listen.trials import Session, Spoken, Trial, pair_up
from pipelines.eval.panel import Recording
from pipelines.eval.takes import Take
from tests.sounds import speechlike
from voice.audio import encode, write_wav
from voice.errors import InputError

PAGE = "http://127.0.0.1:8083"
LEVELS = {"finetuned": 0.05, "zero_shot": 0.2}


def spoken(tmp_path: Path, system: str, *, sentences: int = 6, failed: tuple[int, ...] = ()) -> Spoken:
    folder = tmp_path / system
    folder.mkdir(exist_ok=True)
    takes = []
    for n in range(sentences):
        audio = encode(speechlike(1.0, level=LEVELS[system], pitch=100 + 10 * n), container="flac")
        (folder / f"s{n}_0.flac").write_bytes(audio)
        error = "cannot" if n in failed else ""
        takes.append(
            Take(f"s{n}", "fixed", "short", f"Sentence {n}.", "", 0, n, "" if error else f"s{n}_0.flac", error=error)
        )
    return Spoken(system, folder, takes)


@pytest.fixture
def owner(tmp_path: Path) -> list[Recording]:
    for name in ("s1", "clip"):
        write_wav(tmp_path / f"{name}.wav", speechlike(1.0))
    return [Recording(name, "Text.", tmp_path / f"{name}.wav") for name in ("s1", "clip")]


@pytest.fixture
def trials(tmp_path: Path, owner: list[Recording]) -> list[Trial]:
    pair = spoken(tmp_path, "finetuned"), spoken(tmp_path, "zero_shot", failed=(3,))
    return pair_up(*pair, owner, draw=random.Random(0))


@pytest.fixture
def session(tmp_path: Path, trials: list[Trial]) -> Session:
    return Session.of("me", trials, tmp_path / "listening.csv")


def choose(session: Session, system: str) -> None:
    trial = session.trial
    assert trial is not None
    session.choose(session.at, "a" if trial.a.system == system else "b", time=NOW)


NOW = datetime(2026, 11, 25, 10, 0)


def test_pairs_are_what_both_could_say_and_x_says_the_same_where_it_was_recorded(trials: list[Trial], owner):
    assert sorted(trial.sentence for trial in trials) == ["s0", "s1", "s2", "s4", "s5"]
    assert {trial.x for trial in trials if trial.sentence == "s1"} == {owner[0].path}


def test_sides_and_order_are_drawn(tmp_path: Path, owner: list[Recording]):
    pair = spoken(tmp_path, "finetuned"), spoken(tmp_path, "zero_shot")
    drawn = [pair_up(*pair, owner, draw=random.Random(seed)) for seed in range(40)]
    sides = Counter(trial.a.system for trials in drawn for trial in trials)
    assert abs(sides["finetuned"] - sides["zero_shot"]) < 60  # of 240: four standard deviations
    assert len({tuple(trial.sentence for trial in trials) for trials in drawn}) > 30


def test_a_vote_is_on_disk_at_once_and_the_session_goes_on_there(tmp_path: Path, session: Session, trials: list[Trial]):
    choose(session, "finetuned")
    choose(session, "zero_shot")
    votes = read_votes(tmp_path / "listening.csv")
    assert [vote.chosen for vote in votes] == ["finetuned", "zero_shot"]
    assert {(vote.one, vote.other) for vote in votes} == {("finetuned", "zero_shot")}
    again = Session.of("me", trials, tmp_path / "listening.csv")
    assert (len(again.trials), again.earlier) == (3, 2)
    assert len(Session.of("you", trials, tmp_path / "listening.csv").trials) == 5


def test_whoever_goes_back_may_change_their_mind(tmp_path: Path, session: Session):
    first = session.trial
    choose(session, "finetuned")
    session.back()
    assert session.trial == first
    session.choose(0, NEITHER, time=NOW)
    assert [vote.chosen for vote in read_votes(tmp_path / "listening.csv")] == ["finetuned", NEITHER]


@pytest.mark.parametrize(("number", "choice"), [(1, "a"), (0, "finetuned")])
def test_a_vote_on_another_pair_or_for_a_name_is_refused(session: Session, number: int, choice: str):
    with pytest.raises(InputError):
        session.choose(number, choice, time=NOW)


def test_nothing_to_hear_says_what_to_run(tmp_path: Path):
    with pytest.raises(InputError, match="make repro"):
        Session.of("me", [], tmp_path / "listening.csv")


@pytest.fixture
def client(session: Session) -> TestClient:
    return TestClient(build_app(session), base_url=PAGE, headers={"Origin": PAGE}, raise_server_exceptions=False)


def test_the_page_is_told_nothing_of_whose_side_it_is(client: TestClient):
    for side in "ab":
        client.get(f"/api/audio/0/{side}")
    answers = [client.get("/api/state").text, client.post("/api/vote", json={"trial": 0, "choice": "a"}).text]
    assert '"trial":1' in answers[1]
    answers += [client.get(f"/{name}").text for name in ("", "listen.js", "style.css")]
    assert not any(word in answer for answer in answers for word in ("finetuned", "zero_shot"))
    assert "flac" not in client.get("/api/audio/0/a").headers.get("content-disposition", "")


def test_a_pair_that_was_not_heard_cannot_be_voted_on(client: TestClient, session: Session):
    client.get("/api/audio/0/a")
    refused = client.post("/api/vote", json={"trial": 0, "choice": "a"})
    assert refused.status_code == 409
    assert "Play both sides" in refused.text
    assert session.at == 0


def test_all_three_are_equally_loud(client: TestClient, session: Session):
    for side in ("a", "b", "x"):
        samples, rate = soundfile.read(io.BytesIO(client.get(f"/api/audio/0/{side}").content), dtype="float32")
        assert rate == 24_000
        assert loudness(samples) == pytest.approx(LUFS, abs=0.5)


def test_what_cannot_be_as_loud_without_clipping_is_as_loud_as_it_can(tmp_path: Path):
    click = np.zeros(24_000, np.float32)
    click[::4_000] = 0.9
    write_wav(tmp_path / "click.wav", click)
    samples, _ = soundfile.read(io.BytesIO(levelled(tmp_path / "click.wav")))
    assert np.abs(samples).max() == pytest.approx(0.98, abs=0.01)


@pytest.mark.parametrize("path", ["/api/audio/99/a", "/api/audio/0/c", "/../trials.py", "/nothing"])
def test_there_is_nothing_else_to_fetch(client: TestClient, path: str):
    assert client.get(path).status_code in (404, 409)


def test_another_site_cannot_vote(session: Session):
    stranger = TestClient(build_app(session), base_url=PAGE, headers={"Origin": "http://elsewhere.example"})
    assert stranger.post("/api/vote", json={"trial": 0, "choice": "a"}).status_code == 403
    assert session.at == 0


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture
def address(session: Session) -> Iterator[str]:
    with listen_on(0) as listener:
        server = server_of(build_app(session))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the PATH")
def test_the_whole_test_is_done_by_keyboard_and_ends_with_a_file_of_votes(
    address: str, session: Session, tmp_path: Path
):
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    wrong: list[str] = []
    with playwright.sync_playwright() as engine:
        flags = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=flags)
        page: Any = browser.new_page()
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(address)
        page.get_by_text("0 of 5 pairs").wait_for()
        page.keyboard.press("1")  # nothing was heard yet
        for done in range(5):
            assert page.get_by_role("button", name="A is more like me").is_disabled()
            for side in "xab":
                page.keyboard.press(side)
                page.locator(f"#play-{side}.heard").wait_for()
            page.keyboard.press("1" if done else "0")
            page.get_by_text(f"{done + 1} of 5 pairs").wait_for()
        page.get_by_role("heading", name="That was the last pair").wait_for()
        browser.close()
    votes = read_votes(tmp_path / "listening.csv")
    assert [vote.chosen for vote in votes] == [NEITHER, *(trial.a.system for trial in session.trials[1:])]
    assert wrong == []
