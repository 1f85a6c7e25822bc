"""What is asked of a checkpoint that never met the speakers: chosen clips, whose voice it is, every figure at once."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.pretrain.aligner.model import Recogniser, Shape
from pipelines.pretrain.corpus import Clip, Shard
from pipelines.pretrain.evaluate import WAYS, NanoScore, choose_speakers, evaluate, likeness, voice_prints
from pipelines.pretrain.run import STATE_FILE
from tests.pipelines.pretrain.test_speaker import FORMANTS
from tests.sounds import spoken_by
from voice.audio import seconds, to_pcm16
from voice.errors import InputError
from voice.speaker import Resemblyzer

SECONDS = (0.6, 1.4, 1.2, 1.3, 1.1)
LIMITS = {"sentences": 2, "prints": 2, "reference_seconds": [1.0, 5.0], "min_words": 1, "references": 3}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two speakers with five clips each, and one with two."""
    folder = tmp_path_factory.mktemp("corpus")
    clips, parts, start = [], [], 0
    for (speaker, formants), count in zip(list(FORMANTS.items())[:3], (5, 5, 2), strict=True):
        for number in range(count):
            part = to_pcm16(spoken_by(formants, seed=number, seconds=SECONDS[number]))
            clips.append(Clip(f"{speaker}{number}", speaker, start, len(part), f"Clip {number}."))
            parts.append(part)
            start += len(part)
    Shard(folder / "eval-0000", tuple(clips)).write(np.concatenate(parts))
    return folder


@pytest.fixture(scope="module")
def aligner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a training of the recogniser leaves behind, before its first step."""
    shape, folder = Shape(width=8, kernel=3, layers=1, dropout=0.0), tmp_path_factory.mktemp("aligner")
    torch.save({"shape": asdict(shape), "recogniser": Recogniser(shape).state_dict()}, folder / STATE_FILE)
    return folder


def test_a_speaker_has_a_reference_sentences_and_other_clips_and_none_twice(corpus):
    speakers = choose_speakers(corpus, "eval", **LIMITS)
    assert [s.name for s in speakers] == list(FORMANTS)[:2], "two clips are too few"
    for speaker in speakers:
        assert [s.text for s in speaker.references] == ["Clip 1."], "the first that is long enough; no other is left"
        said = [s.text for s in (*speaker.others, *speaker.sentences)]
        assert said == ["Clip 0.", "Clip 2.", "Clip 3.", "Clip 4."]


def test_a_long_reference_is_made_of_clips_that_serve_for_nothing_else(corpus):
    for speaker in choose_speakers(corpus, "eval", **{**LIMITS, "sentences": 1, "prints": 1}):
        assert [s.text for s in speaker.references] == ["Clip 1.", "Clip 3.", "Clip 4."]
        assert [s.text for s in speaker.briefly().references] == ["Clip 1."]


def test_sentences_are_said_several_at_a_time(corpus):
    speaker = choose_speakers(corpus, "eval", **LIMITS)[0]
    [both] = speaker.at_length(4).sentences
    assert both.text == "Clip 3. Clip 4."
    assert seconds(both.waveform) == pytest.approx(SECONDS[3] + 0.35 + SECONDS[4], abs=0.01)
    assert [said.text for said in speaker.at_length(1).sentences] == ["Clip 3.", "Clip 4."]


def test_nobody_to_judge_is_said(corpus):
    with pytest.raises(InputError, match="nanoscore"):
        choose_speakers(corpus, "eval", **{**LIMITS, "reference_seconds": [50.0, 60.0]})


def test_a_recording_is_nearest_to_its_own_speaker(corpus):
    speakers, encoder = choose_speakers(corpus, "eval", **LIMITS), Resemblyzer()
    prints = voice_prints(speakers, encoder)
    waveforms = [s.references[0].waveform for s in speakers]
    cosines = likeness(waveforms, [s.name for s in speakers], prints, encoder)
    assert (cosines[:, 0] > cosines[:, 1]).all()
    swapped = likeness(waveforms, [s.name for s in reversed(speakers)], prints, encoder)
    np.testing.assert_allclose(swapped, cosines[:, ::-1], atol=1e-6)


def test_every_source_is_judged_in_every_way(corpus, aligner, tiny_folder, tmp_path):
    config = NanoScore(
        checkpoint=str(tiny_folder), corpus=str(corpus), aligner=str(aligner), sources=["eval"], recordings=None,
        out=str(tmp_path), sentences={"eval": 1}, prints=2, reference_seconds=[1.0, 5.0], min_words=1, references=2,
        joined=2, seed=0,
    )  # fmt: skip
    scores = list(evaluate(config, tmp_path / "audio"))
    assert [(s.way, s.speakers, s.clones) for s in scores] == [(way, 2, 2) for way in WAYS]
    assert all(s.wer_rise == s.wer - s.wer_original for s in scores)
    assert all(s.cer_aligner == pytest.approx(s.substitutions + s.deletions + s.insertions) for s in scores)
    assert all(s.nearest_own_original == 1.0 for s in scores), "who can be told apart at all"
    assert len(list((tmp_path / "audio" / "eval").rglob("*.wav"))) == 10
