"""The folder's state: nothing is lost, nothing is overwritten, a restart goes on where it was."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipelines.data.clips import find_recordings
from pipelines.data.record import folder
from pipelines.data.record.session import ConsentError, Session, StepError
from tests.pipelines.data.record.conftest import AGREED_AT, SENTENCES, room, spoken, wav
from voice.errors import InputError
from voice.manifest import read_metadata

Open = Callable[..., Session]
FIRST, SECOND, THIRD = SENTENCES
TAKE, OTHER = wav(spoken(4.0)), wav(spoken(5.0))


def lines(raw: Path) -> list[str]:
    return (raw / "metadata.csv").read_text().splitlines()


def clips(raw: Path) -> set[str]:
    return {p.name for p in (raw / "wavs").iterdir()}


def read(session: Session, content: bytes = TAKE) -> None:
    """Read the sentence that is shown."""
    sentence = session.state().sentence
    assert sentence
    session.record(content, text=sentence.text)


def read_and_keep(session: Session, content: bytes = TAKE) -> None:
    read(session, content)
    session.keep()


def test_consent_says_who_what_and_when(raw: Path, session: Session):
    name, statement, date = (raw / "consent.txt").read_text().splitlines()
    assert name == "Name: Anna Example"
    assert "my own, or its owner agreed" in statement
    assert date == "Date: 2026-11-23T14:05:06Z"


def test_without_consent_nothing_is_recorded(open_session: Open, raw: Path):
    session = open_session()
    with pytest.raises(ConsentError):
        session.record(TAKE, text=FIRST)
    assert not raw.exists()


@pytest.mark.parametrize("name", ["", "  \n ", "x" * 101])
def test_consent_needs_a_name(open_session: Open, raw: Path, name: str):
    with pytest.raises(InputError, match="name"):
        open_session().agree(name, at=AGREED_AT)
    assert not raw.exists()


def test_a_name_cannot_add_lines_to_the_consent(open_session: Open, raw: Path):
    open_session().agree("Anna\nStatement: none", at=AGREED_AT)
    assert len((raw / "consent.txt").read_text().splitlines()) == 3


def test_a_consent_that_is_there_is_respected_and_never_replaced(open_session: Open, raw: Path):
    raw.mkdir(parents=True)
    (raw / "consent.txt").write_text("I, Anna, agree.\n")
    session = open_session()
    read(session)
    with pytest.raises(InputError, match="there already"):
        session.agree("Somebody Else", at=AGREED_AT)
    assert (raw / "consent.txt").read_text() == "I, Anna, agree.\n"


def test_keeping_writes_the_take_byte_for_byte_and_its_line(session: Session, raw: Path):
    read_and_keep(session)
    assert lines(raw) == [f"anna_0001|{FIRST}"]
    assert (raw / "wavs/anna_0001.wav").read_bytes() == TAKE
    assert session.state().sentence.text == SECOND
    assert session.state().review is None


def test_what_is_kept_is_what_preprocess_reads(session: Session, raw: Path):
    for _ in SENTENCES:
        read_and_keep(session)
    assert {u.id for u in read_metadata(raw / "metadata.csv")} == set(find_recordings(raw / "wavs"))
    assert session.state().sentence is None


def test_a_second_take_of_a_sentence_replaces_the_one_under_review(session: Session, raw: Path):
    read(session, TAKE)
    read(session, OTHER)
    session.keep()
    assert (raw / "wavs/anna_0001.wav").read_bytes() == OTHER
    assert lines(raw) == [f"anna_0001|{FIRST}"]


def test_silence_cannot_be_kept(session: Session, raw: Path):
    read(session, wav(room(3.0)))
    assert not session.state().review.may_be_kept
    with pytest.raises(StepError):
        session.keep()
    assert not (raw / "wavs").exists()


def test_what_is_not_audio_leaves_the_take_under_review_alone(session: Session, raw: Path):
    read(session)
    with pytest.raises(InputError, match="not a WAV"):
        read(session, b"not audio")
    session.keep()
    assert (raw / "wavs/anna_0001.wav").read_bytes() == TAKE


def test_a_take_of_another_sentence_is_refused(session: Session):
    with pytest.raises(StepError, match="another sentence"):
        session.record(TAKE, text=SECOND)


def test_keeping_twice_keeps_once(session: Session, raw: Path):
    read_and_keep(session)
    with pytest.raises(StepError):
        session.keep()
    assert lines(raw) == [f"anna_0001|{FIRST}"]


def test_a_restart_goes_on_with_the_next_sentence(session: Session, open_session: Open):
    read_and_keep(session)
    again = open_session().state()
    assert again.sentence.text == SECOND
    assert [c.id for c in again.clips] == ["anna_0001"]
    assert again.consent


def test_a_restart_shows_the_take_that_was_under_review(session: Session, open_session: Open, raw: Path):
    read(session)
    again = open_session()
    assert again.state().review == session.state().review
    again.keep()
    assert (raw / "wavs/anna_0001.wav").read_bytes() == TAKE


def test_what_lies_in_the_folder_stays_as_it_is(open_session: Open, raw: Path):
    (raw / "wavs").mkdir(parents=True)
    soundfile.write(raw / "wavs/mine.flac", spoken(3.0), 48_000)
    mine = (raw / "wavs/mine.flac").read_bytes()
    before = f"\ufeffmine|{FIRST.upper()}|a third column\r\nlost|No audio here."
    (raw / "metadata.csv").write_bytes(before.encode())
    session = open_session()
    session.agree("Anna", at=AGREED_AT)
    assert session.state().sentence.text == SECOND  # the first is spoken, in other letters
    read_and_keep(session)
    assert (raw / "metadata.csv").read_bytes() == f"{before}\nanna_0001|{SECOND}\n".encode()
    assert (raw / "wavs/mine.flac").read_bytes() == mine


def test_names_in_the_folder_are_never_given_again(open_session: Open, raw: Path):
    (raw / "wavs").mkdir(parents=True)
    (raw / "wavs/anna_0007.wav").write_bytes(b"not listed, not even audio")
    session = open_session()
    session.agree("Anna", at=AGREED_AT)
    read_and_keep(session)
    assert lines(raw) == [f"anna_0008|{FIRST}"]


def test_the_name_of_a_clip_that_is_gone_is_not_given_again(session: Session, open_session: Open, raw: Path):
    read_and_keep(session)
    (raw / "wavs/anna_0001.wav").unlink()
    (raw / "metadata.csv").unlink()
    again = open_session()
    read_and_keep(again)
    assert lines(raw) == [f"anna_0002|{FIRST}"]


def test_a_broken_manifest_stops_the_start_and_names_the_line(open_session: Open, raw: Path):
    raw.mkdir(parents=True)
    (raw / "metadata.csv").write_text("no bar\n")
    with pytest.raises(InputError, match=r"metadata\.csv:1"):
        open_session()


def test_skipped_sentences_come_back_after_the_others(session: Session):
    shown = [session.state().sentence.text]
    for _ in range(4):
        session.skip()
        shown.append(session.state().sentence.text)
    assert shown == [FIRST, SECOND, THIRD, FIRST, SECOND]


def test_skipping_is_remembered_over_a_restart(session: Session, open_session: Open):
    session.skip()
    assert open_session().state().sentence.text == SECOND


def test_a_take_of_a_skipped_sentence_is_set_aside(session: Session, tmp_path: Path):
    read(session)
    session.skip()
    assert session.state().review is None
    [aside] = (tmp_path / "desk/aside").iterdir()
    assert aside.read_bytes() == TAKE


def test_undo_brings_the_clip_back_under_review(session: Session, raw: Path):
    read_and_keep(session)
    read_and_keep(session, OTHER)
    session.undo()
    state = session.state()
    assert (state.sentence.text, state.review.id, state.undo) == (SECOND, "anna_0002", None)
    assert lines(raw) == [f"anna_0001|{FIRST}"]
    assert clips(raw) == {"anna_0001.wav"}
    session.keep()
    assert lines(raw) == [f"anna_0001|{FIRST}", f"anna_0002|{SECOND}"]
    assert (raw / "wavs/anna_0002.wav").read_bytes() == OTHER


def test_undo_works_after_a_restart_and_of_the_only_clip(session: Session, open_session: Open, raw: Path):
    read_and_keep(session)
    again = open_session()
    again.undo()
    assert again.state().clips == []
    assert lines(raw) == []
    again.keep()
    assert lines(raw) == [f"anna_0001|{FIRST}"]


def test_there_is_nothing_to_undo_at_first_nor_twice(session: Session):
    with pytest.raises(StepError):
        session.undo()
    read_and_keep(session)
    session.undo()
    with pytest.raises(StepError):
        session.undo()


def test_a_clip_that_is_read_again_stays_until_the_new_take_is_kept(session: Session, raw: Path):
    read_and_keep(session)
    session.redo("anna_0001")
    assert session.state().sentence.replaces == "anna_0001"
    read(session, OTHER)
    assert (raw / "wavs/anna_0001.wav").read_bytes() == TAKE
    session.keep()
    assert (raw / "wavs/anna_0001.wav").read_bytes() == OTHER
    assert lines(raw) == [f"anna_0001|{FIRST}"]
    assert session.state().sentence.text == SECOND


def test_leaving_a_redo_leaves_the_clip(session: Session, raw: Path):
    read_and_keep(session)
    session.redo("anna_0001")
    read(session, OTHER)
    session.skip()
    assert (raw / "wavs/anna_0001.wav").read_bytes() == TAKE
    assert session.state().sentence.text == SECOND


def test_undoing_a_redo_restores_the_first_take_in_its_container(session: Session, open_session: Open, raw: Path):
    (raw / "wavs").mkdir(parents=True)
    soundfile.write(raw / "wavs/mine.flac", spoken(3.0), 48_000)
    mine = (raw / "wavs/mine.flac").read_bytes()
    (raw / "metadata.csv").write_text("mine|My own words.\n")
    session = open_session()
    session.redo("mine")
    read_and_keep(session, OTHER)
    assert clips(raw) == {"mine.wav"}  # two files of one name would stop preprocess
    session.undo()
    assert clips(raw) == {"mine.flac"}
    assert (raw / "wavs/mine.flac").read_bytes() == mine
    assert lines(raw) == ["mine|My own words."]
    session.keep()
    assert (raw / "wavs/mine.wav").read_bytes() == OTHER


def test_redo_needs_a_clip_and_a_free_desk(session: Session):
    with pytest.raises(StepError, match="no clip"):
        session.redo("../consent")
    read_and_keep(session)
    read(session)
    with pytest.raises(StepError, match="under review"):
        session.redo("anna_0001")


def test_a_file_that_appeared_under_the_takes_name_is_set_aside_not_lost(session: Session, raw: Path, tmp_path: Path):
    read(session)
    (raw / "wavs").mkdir()
    (raw / "wavs/anna_0001.wav").write_bytes(OTHER)
    session.keep()
    [aside] = (tmp_path / "desk/aside").iterdir()
    assert aside.read_bytes() == OTHER


class PowerCut(BaseException):
    """Nothing catches it."""


def crash_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Let the power go at the n-th time that a file is to be written."""
    write, count = folder.write_durably, iter(range(1, 100))

    def failing(path: Path, content: bytes) -> None:
        if next(count) == step:
            draft = path.with_name(f".{path.name}.draft")
            draft.write_bytes(content[: len(content) // 2])
            raise PowerCut
        write(path, content)

    for module in ("folder", "desk"):
        monkeypatch.setattr(f"pipelines.data.record.{module}.write_durably", failing)


@pytest.mark.parametrize("step", [1, 2, 3])  # audio, line, notes
def test_a_crash_while_keeping_loses_nothing(
    session: Session, open_session: Open, raw: Path, monkeypatch: pytest.MonkeyPatch, step: int
):
    read_and_keep(session)
    read(session, OTHER)
    with monkeypatch.context() as patch:
        crash_at(patch, step)
        with pytest.raises(PowerCut):
            session.keep()
    again = open_session()
    if again.state().review:
        again.keep()
    assert lines(raw) == [f"anna_0001|{FIRST}", f"anna_0002|{SECOND}"]
    assert (raw / "wavs/anna_0001.wav").read_bytes() == TAKE
    assert (raw / "wavs/anna_0002.wav").read_bytes() == OTHER


@pytest.mark.parametrize("step", [1, 2, 3, 4])  # take, its name, line, notes
def test_a_crash_while_undoing_loses_nothing(
    session: Session, open_session: Open, raw: Path, monkeypatch: pytest.MonkeyPatch, step: int
):
    read_and_keep(session)
    with monkeypatch.context() as patch:
        crash_at(patch, step)
        with pytest.raises(PowerCut):
            session.undo()
    again = open_session()
    if again.state().review:
        again.keep()
    assert lines(raw) == [f"anna_0001|{FIRST}"]
    assert (raw / "wavs/anna_0001.wav").read_bytes() == TAKE


def test_progress_counts_what_is_kept_and_names_what_the_next_tier_takes(open_session: Open, raw: Path):
    (raw / "wavs").mkdir(parents=True)
    soundfile.write(raw / "wavs/long.wav", np.zeros(8_000 * 330, np.int16), 8_000)
    (raw / "metadata.csv").write_text("long|Long.\n")
    progress = open_session().state().progress
    assert (progress.clips, progress.minutes, progress.tier) == (1, 5.5, "below minimum")
    assert (progress.next.name, progress.next.minutes, progress.next.clips) == ("minimum", 5.0, 50)
    assert progress.sentences_left == 3


@pytest.mark.parametrize(
    ("minutes", "clips", "expected"),
    [(0, 0, "minimum"), (5, 50, "good"), (14, 200, "good"), (15, 150, "excellent"), (40, 299, "excellent")],
)
def test_the_next_tier_is_the_nearest_that_is_not_reached(minutes: float, clips: int, expected: str):
    assert folder.next_tier(minutes, clips)[0] == expected
    assert folder.next_tier(30, 300) is None


def test_the_most_useful_sentence_comes_next(open_session: Open):
    asked: list[tuple[list[str], list[str]]] = []

    def last(spoken: list[str], candidates: list[str], count: int) -> list[str]:
        asked.append((list(spoken), list(candidates)))
        return candidates[-count:]

    session = open_session(rank=last)
    session.agree("Anna", at=AGREED_AT)
    read_and_keep(session)
    assert session.state().sentence.text == SECOND
    assert asked == [([], list(SENTENCES)), ([THIRD], [FIRST, SECOND])]


def test_where_no_sentence_adds_coverage_they_come_in_order(open_session: Open):
    assert open_session(rank=lambda *_: []).state().sentence.text == FIRST


def test_a_take_that_was_damaged_meanwhile_is_set_aside(session: Session, open_session: Open, tmp_path: Path):
    read(session)
    (tmp_path / "desk/take.wav").write_bytes(b"damaged")
    assert open_session().state().review is None
    assert len(list((tmp_path / "desk/aside").iterdir())) == 1


def test_the_desk_remembers_in_plain_json(session: Session, tmp_path: Path):
    session.skip()
    assert json.loads((tmp_path / "desk/notes.json").read_text())["skipped"] == [FIRST]


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "..", "a b", "x\n", "demo", "Demo"])
def test_a_voice_needs_a_name_that_is_a_folder_and_not_the_demos(name: str):
    with pytest.raises(InputError, match="VOICE=my_voice"):
        folder.check_name(name)


@pytest.mark.parametrize("name", ["anna", "anna_2", "my-voice", "Jürgen"])
def test_plain_names_are_taken(name: str):
    assert folder.check_name(name) == name
