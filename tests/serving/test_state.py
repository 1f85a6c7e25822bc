import os
from pathlib import Path

import pytest

from serving import promote
from serving import settings as settings_file
from serving.schema import sayable
from serving.state import ACTIVE, ANSWER, RUNNING, WANTED, State
from voice.errors import InputError


def test_a_promotion_survives_a_restart_of_the_same_bento_and_ends_with_a_new_one(tmp_path: Path):
    state = State(tmp_path)
    assert state.first_pack("me:1") == "me:1"
    state.now_speaks("me:2")
    assert State(tmp_path).first_pack("me:1") == "me:2"
    assert State(tmp_path).first_pack("me:3") == "me:3"
    assert state.read(ACTIVE) == {"pack": "me:3", "before": "me:2", "own": "me:3"}


def test_half_a_file_is_no_state(tmp_path: Path):
    (tmp_path / ACTIVE).write_text('{"pack": "me')
    assert State(tmp_path).first_pack("me:1") == "me:1"


def test_only_a_process_that_did_not_say_that_it_stopped_has_crashed(tmp_path: Path):
    state = State(tmp_path)
    assert state.begin() is None
    assert state.begin() is None  # itself
    state.end()
    assert state.begin() is None
    state.write(RUNNING, pid=2**22 - 1)
    assert state.begin() == 2**22 - 1


def test_without_a_service_a_promotion_waits_for_its_start(tmp_path: Path):
    state = State(tmp_path)
    assert "when it is started" in promote.wish(state, "me:2")
    assert state.read(WANTED)["pack"] == "me:2"


def test_a_service_that_does_not_answer_is_reported(tmp_path: Path):
    state = State(tmp_path)
    state.write(RUNNING, pid=os.getpid())
    state.write(ANSWER, wish={"pack": "another"}, ok=True)
    with pytest.raises(InputError, match="did not answer"):
        promote.wish(state, "me:2", seconds=0.3)


def test_there_is_nothing_to_go_back_to_at_first_and_no_champion_before_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="nothing to go back to"):
        promote.before(State(tmp_path))
    with pytest.raises(InputError, match="make repro"):
        promote.champion("me")


def test_settings_can_be_overridden_and_mistakes_are_named(tmp_path: Path):
    file = tmp_path / "service.yaml"
    file.write_text("queue: 3\nhosts: [desk.example]\n")
    settings = settings_file.load({"VOICE_SETTINGS": str(file), "VOICE_ENGINE_URL": "http://x"})
    assert (settings.queue, settings.hosts, settings.engine_url) == (3, ["desk.example"], "http://x")
    file.write_text("queu: 3\n")
    with pytest.raises(InputError, match="queu"):
        settings_file.load({"VOICE_SETTINGS": str(file)})
    file.write_text("queue: -1\n")
    with pytest.raises(InputError, match="at least 0"):
        settings_file.load({"VOICE_SETTINGS": str(file)})
    with pytest.raises(InputError, match="VOICE_SETTINGS"):
        settings_file.load({"VOICE_SETTINGS": str(tmp_path / "none")})


@pytest.mark.parametrize("text", ["", "...", "\U0001f600", "<b></b>", "<|im_start|>", "<tts_pad>", "\x00", "a\ud800"])
def test_what_nobody_can_say_is_refused(text: str):
    with pytest.raises(ValueError, match=r"nothing|surrogate"):
        sayable(text)


@pytest.mark.parametrize(
    ("text", "said"), [("5 < 6 and 7 > 3", "5 < 6 and 7 > 3"), ("a<|im_end|>b", "a b"), ("a\x07b\nc", "a b\nc")]
)
def test_control_tokens_and_characters_are_not_said(text: str, said: str):
    assert sayable(text) == said
