"""conf/serve/service.yaml: what the service allows, typed, with a further file and the environment over it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from voice.bounds import check, within
from voice.engine.linear import Precision
from voice.errors import InputError
from voice.stage import CONF, one_line

FILE = CONF / "serve/service.yaml"


@dataclass(kw_only=True)
class ReferenceLimits:
    """What an uploaded reference must be."""

    min_seconds: float = within(above=0)
    max_seconds: float = within(above=0, high=60)
    min_recording_seconds: float = within(low=0.5)
    pause_seconds: float = within(low=0, high=2)
    min_rate: int = within(low=8_000)
    good_rate: int = within(low=8_000)
    min_peak_dbfs: float = within(high=0)
    max_clipped_share: float = within(low=0, high=1)
    min_snr_db: float = within(low=0)


@dataclass(kw_only=True)
class DeliverySettings:
    """Which parts of what makes speech pleasant are on (voice/engine/delivery.py)."""

    pauses: bool
    trim: bool
    even_loudness: bool
    watch: bool
    retries: int = within(low=0, high=10)


@dataclass(kw_only=True)
class Settings:
    """The service's."""

    active: int = within(low=1, high=1024)
    queue: int = within(low=0, high=4096)
    wait_seconds: float = within(above=0)
    aside_seconds: float = within(above=0)
    stall_seconds: float = within(above=0)
    hang_seconds: float = within(above=0)
    requests_per_minute: int = within(low=1)
    refusals_per_minute: int = within(low=1)
    body_kilobytes: int = within(low=1)
    upload_megabytes: int = within(low=1, high=100)
    body_seconds: float = within(above=0)
    uploads: int = within(low=0)
    decode_seconds: int = within(low=1)
    decode_megabytes: int = within(low=512)
    hosts: list[str]
    mp3_kbps: int = within(low=8, high=160)
    opus_kbps: int = within(low=6, high=256)
    aac_kbps: int = within(low=16, high=256)
    probe_text: str
    precision: Precision | None
    slots: int | None = within(low=1, high=256)
    delivery: DeliverySettings
    engine_url: str | None
    engine_model: str | None
    engine_voice: str | None
    openai_models: list[str]
    openai_voices: list[str]
    reference: ReferenceLimits


def load(environment: Mapping[str, str] = os.environ, **changes: Any) -> Settings:
    """Read the settings. Raises InputError for a wrong key, type or value, and for a file that is not there."""
    files = [FILE, *([Path(environment["VOICE_SETTINGS"])] if environment.get("VOICE_SETTINGS") else [])]
    try:
        layers = [OmegaConf.structured(Settings), *(OmegaConf.load(file) for file in files), OmegaConf.create(changes)]
        merged = OmegaConf.merge(*layers)
        if url := environment.get("VOICE_ENGINE_URL"):
            merged.engine_url = url
        settings: Settings = OmegaConf.to_object(merged)  # type: ignore[assignment]
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}. Correct VOICE_SETTINGS.") from error
    except OmegaConfBaseException as error:
        raise InputError(f"{files[-1]}: {one_line(error)} See conf/serve/service.yaml for keys and types.") from error
    check(settings)
    return settings
