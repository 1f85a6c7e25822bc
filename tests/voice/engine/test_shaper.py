"""The shaper keeps back what may be an edge, and loses nothing else."""

import numpy as np
import pytest

from tests.voice.engine.waveforms import tone
from voice.audio import seconds
from voice.engine.shaper import Shaper


def test_a_shaper_gives_back_all_it_kept():
    shaper = Shaper(trim=True, even_loudness=False)
    heard = [shaper.push(chunk) for chunk in np.array_split(tone(1.0), 7)]
    assert seconds(np.concatenate([*heard, shaper.end_piece(broken=False, pause_seconds=0)])) == pytest.approx(
        1.0, abs=0.01
    )


def levels(shaper: Shaper, amplitude: float, *, foreseen: bool = False) -> list[float]:
    """Peaks of the quarters of a piece of 2 s, as they leave."""
    chunks = np.array_split(tone(2.0, amplitude), 4)
    if foreseen:
        shaper.foresee(chunks)
    heard = np.concatenate([*map(shaper.push, chunks), shaper.end_piece(broken=False, pause_seconds=0)])
    return [float(np.abs(part).max()) for part in np.array_split(heard, 4)]


def test_a_piece_that_is_known_beforehand_has_one_loudness_from_its_first_sample():
    shaper = Shaper(trim=False, even_loudness=True)
    assert levels(shaper, 0.2) == pytest.approx([0.2] * 4, rel=0.01)
    assert levels(shaper, 0.25, foreseen=True) == pytest.approx([0.2] * 4, rel=0.01)
    assert levels(shaper, 0.16, foreseen=True) == pytest.approx([0.2] * 4, rel=0.01)
    unforeseen = levels(shaper, 0.25)
    assert unforeseen[0] == pytest.approx(0.25 * 0.2 / 0.16, rel=0.01), (
        "the gain of the piece before, until it is heard"
    )
    assert unforeseen[-1] == pytest.approx(0.2, rel=0.01)


def test_no_piece_is_changed_by_more_than_3_db():
    shaper = Shaper(trim=False, even_loudness=True)
    levels(shaper, 0.2)
    assert levels(shaper, 0.05, foreseen=True) == pytest.approx([0.05 * 10 ** (3 / 20)] * 4, rel=0.01)
