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
