from dataclasses import replace
from pathlib import Path

import pytest
from scipy.stats import binomtest

from pipelines.eval.ballot import NEITHER, VOTES, Poll, Vote, cast, poll, read_votes
from voice.errors import InputError

VOTE = Vote("me", "en_001", 0, "finetuned", "zero_shot", "hash-f", "hash-z", "finetuned", "2026-11-25T10:00:00+00:00")
AUDIO = {"finetuned": {"hash-f", "hash-g"}, "zero_shot": {"hash-z"}}


def test_the_committed_file_is_read_and_takes_votes(tmp_path: Path):
    path = tmp_path / "listening.csv"
    path.write_bytes(VOTES.read_bytes())
    before = len(read_votes(path))
    cast(path, VOTE)
    assert read_votes(path)[before:] == [VOTE]


def test_votes_on_audio_that_is_gone_on_others_and_of_others_do_not_count():
    votes = [
        VOTE,
        replace(VOTE, one_audio="hash-of-an-older-training"),
        replace(VOTE, voice="you", one_audio="hash-g"),
        replace(VOTE, one="finetuned_in_context", one_audio="x", chosen=NEITHER),
        replace(VOTE, sentence="en_002", one_audio="hash-g", chosen="zero_shot"),
    ]
    assert poll(votes, "me", "finetuned", "zero_shot", AUDIO, first=20) == Poll(won=1, lost=1, tied=0)
    assert poll(votes, "me", "zero_shot", "finetuned", AUDIO, first=20) == Poll(won=1, lost=1, tied=0)


def test_a_changed_mind_counts_once():
    votes = [VOTE, replace(VOTE, chosen=NEITHER)]
    assert poll(votes, "me", "finetuned", "zero_shot", AUDIO, first=20) == Poll(0, 0, 1)


def test_takes_of_one_sentence_are_one_vote_and_later_sentences_none():
    takes = [replace(VOTE, take=take, one_audio=f"hash-{take}") for take in range(4)]
    later = [
        replace(VOTE, sentence=f"en_{n:03}", one_audio=f"hash-{n}", chosen="zero_shot", time=f"2026-11-26T10:0{n}:00")
        for n in range(4, 9)
    ]
    audio = {"finetuned": {f"hash-{n}" for n in range(9)}, "zero_shot": {"hash-z"}}
    assert poll(takes, "me", "finetuned", "zero_shot", audio, first=20) == Poll(1, 0, 0)
    assert poll([*later, *takes], "me", "finetuned", "zero_shot", audio, first=3) == Poll(1, 2, 0)


def test_preference_is_a_sign_test():
    assert Poll(15, 5, 9).p_value == pytest.approx(binomtest(15, 20).pvalue)
    assert Poll(15, 5, 0).prefers(at_least=20)
    assert not Poll(14, 6, 0).prefers(at_least=20)  # p = 0.115
    assert not Poll(15, 5, 9).prefers(at_least=21)
    assert Poll(0, 0, 4).p_value == 1.0


@pytest.mark.parametrize("line", ["me,en_001,x,a,b,1,2,a,t", "me,en_001,0,a,b,1,2,c,t", "me"])
def test_a_broken_line_is_named(tmp_path: Path, line: str):
    path = tmp_path / "listening.csv"
    path.write_text(VOTES.read_text().splitlines()[0] + f"\n{line}\n")
    with pytest.raises(InputError, match=r"listening.csv:2"):
        read_votes(path)
