"""Curating real recordings: another woman's clips among the owner's are found, and the owner's are not lost."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from pipelines.data.clips import Clip, find_recordings
from pipelines.data.curate import Case, find_foreign_speakers
from pipelines.data.preprocess import preprocess
from pipelines.data.recipe import Recipe
from pipelines.data.review import Decision
from pipelines.data.rules import Limits
from pipelines.data.transcripts import Origin, Transcript
from voice.stage import CONF

RECORDINGS = Path(__file__).resolve().parents[4] / "shared/recordings"
pytestmark = [
    pytest.mark.recordings,
    pytest.mark.skipif(not RECORDINGS.is_dir(), reason="needs ../shared/recordings"),
]
FOREIGN_SHARE = 0.03


def settings(name: str) -> dict[str, object]:
    return {str(key): value for key, value in OmegaConf.load(CONF / f"data/{name}.yaml").items()}


def test_three_percent_of_another_speaker_are_found_with_at_most_one_percent_of_the_owners_clips_lost(tmp_path: Path):
    own = find_recordings(RECORDINGS / "kathleen/wavs")
    other = find_recordings(RECORDINGS / "other_speaker")
    owners = round(len(other) / FOREIGN_SHARE) - len(other)
    paths = [*list(own.values())[:: len(own) // owners][:owners], *other.values()]
    clips = [Clip(path.stem, path.stem, path.as_posix()) for path in paths]
    recipe, limits = Recipe(**settings("preprocess")), Limits(**settings("curate"))  # type: ignore[arg-type]
    measured = preprocess(clips, tmp_path / "out", recipe, workers=None, store=tmp_path / "store")
    cases = [
        Case(clip, m, Transcript(clip.id, clip.id, Origin.WRITTEN, "", None, Decision.OPEN))
        for clip, m in zip(clips, measured, strict=True)
    ]
    find_foreign_speakers(cases, limits)
    dropped = {case.id for case in cases if case.verdict == "dropped"}
    assert set(other) <= dropped
    assert len(dropped - set(other)) <= 0.01 * owners
