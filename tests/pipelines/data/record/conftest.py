"""A recorder in an empty folder, and what a microphone might deliver."""

import io
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import soundfile
from omegaconf import OmegaConf

from pipelines.data.record.session import Session
from pipelines.data.record.settings import Recording
from voice.stage import CONF

RATE = 48_000
SENTENCES = ("First the kettle sang.", "Who opened the gate?", "What a day!")
AGREED_AT = datetime(2026, 11, 23, 14, 5, 6, tzinfo=UTC)

LIMITS: Recording = OmegaConf.to_object(  # type: ignore[assignment]
    OmegaConf.merge(OmegaConf.structured(Recording), OmegaConf.load(CONF / "data/record.yaml"))
)


def in_order(spoken: Sequence[str], candidates: Sequence[str], count: int) -> list[str]:
    """The most useful sentences are the first ones."""
    return list(candidates[:count])


def voiced(seconds: float, *, rate: int = RATE, level: float = 0.1) -> np.ndarray:
    """Harmonics of 120 Hz in syllables, four a second, that fall by 20 dB between them."""
    t = np.arange(round(seconds * rate)) / rate
    tone = sum(np.sin(2 * np.pi * 120 * k * t) / k for k in range(1, 20))
    return (level * tone * (0.55 - 0.45 * np.cos(2 * np.pi * 4 * t))).astype(np.float32)


def room(seconds: float, *, rate: int = RATE, level: float = 0.0003) -> np.ndarray:
    """Steady noise, at -70 dBFS by default."""
    return (level * np.random.default_rng(0).standard_normal(round(seconds * rate))).astype(np.float32)


def spoken(seconds: float = 4.0, *, before: float = 0.5, after: float = 0.5, rate: int = RATE) -> np.ndarray:
    """Speech in a quiet room with a moment of silence on both sides."""
    silent = (np.zeros(round(s * rate), np.float32) for s in (before, after))
    clean = np.concatenate([next(silent), voiced(seconds, rate=rate), next(silent)])
    return clean + room(len(clean) / rate, rate=rate)


def wav(samples: np.ndarray, *, rate: int = RATE, subtype: str = "PCM_16", container: str = "WAV") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, subtype=subtype, format=container)
    return buffer.getvalue()


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return tmp_path / "data/raw/anna"


@pytest.fixture
def open_session(raw: Path, tmp_path: Path) -> Callable[..., Session]:
    """Start a session on the same folders, as a restarted recorder does."""

    def open_session(**changes: object) -> Session:
        options = {"language": "en", "sentences": SENTENCES, "rank": in_order, "limits": LIMITS} | changes
        return Session("anna", raw=raw, desk=tmp_path / "desk", **options)  # type: ignore[arg-type]

    return open_session


@pytest.fixture
def session(open_session: Callable[..., Session]) -> Session:
    """A session whose speaker has agreed."""
    session = open_session()
    session.agree("Anna Example", at=AGREED_AT)
    return session
