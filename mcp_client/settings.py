"""What the person chose: environment first, then ~/.config/voice-mcp/env (NAME=value lines)."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mcp_client.errors import RequestError

DEFAULT_URL = "http://127.0.0.1:8080"
FILE = Path("~/.config/voice-mcp/env")
SAVE_FOLDER = Path("~/voice-mcp")
STATE_FOLDER = Path("~/.cache/voice-mcp")


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the voice is served, and how it is played here."""

    url: str = DEFAULT_URL  # TTS_SERVER_URL
    api_key: str | None = None  # TTS_API_KEY
    voice: str | None = None  # TTS_VOICE: the service's own if unset
    device: str | None = None  # TTS_DEVICE: part of an output device's name; the system's default if unset
    lead_seconds: float = 0.0  # TTS_LEAD_MS: silence first; Bluetooth swallows about the first 0.4 s after a pause
    prebuffer_seconds: float = 0.2  # TTS_PREBUFFER_MS: sound held back, so that a stutter of the network is not heard
    save_folder: Path = SAVE_FOLDER  # TTS_SAVE_DIR: the only place that `save` writes to
    state_folder: Path = STATE_FOLDER  # TTS_STATE_DIR: the queue that all windows share


def load(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings. Raises RequestError for a value that is not a number where one is needed."""
    values = {**_read(Path(environment.get("TTS_SETTINGS") or FILE).expanduser()), **_set(environment)}
    folders = {"TTS_SAVE_DIR": SAVE_FOLDER, "TTS_STATE_DIR": STATE_FOLDER}
    save, state = (Path(values.get(name) or default).expanduser().absolute() for name, default in folders.items())
    return Settings(
        url=values.get("TTS_SERVER_URL", DEFAULT_URL).rstrip("/"),
        api_key=values.get("TTS_API_KEY"),
        voice=values.get("TTS_VOICE"),
        device=values.get("TTS_DEVICE"),
        lead_seconds=_seconds(values, "TTS_LEAD_MS", 0.0),
        prebuffer_seconds=_seconds(values, "TTS_PREBUFFER_MS", 0.2),
        save_folder=save,
        state_folder=state,
    )


def _set(values: Mapping[str, str]) -> dict[str, str]:
    # editors pass `${env:NAME}` on as it stands where NAME is not set
    return {
        name: value.strip()
        for name, value in values.items()
        if name.startswith("TTS_") and value.strip() and "${" not in value
    }


def _read(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{path} cannot be read ({error}). Mend or delete it.") from error
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return _set({name.strip(): value.strip().strip("\"'") for name, value in pairs})


def _seconds(values: Mapping[str, str], name: str, default: float) -> float:
    if name not in values:
        return default
    try:
        milliseconds = float(values[name])
    except ValueError:
        milliseconds = -1.0
    if not 0 <= milliseconds <= 5_000:
        raise RequestError(f"{name} is {values[name]!r}. Set it to milliseconds from 0 to 5000.")
    return milliseconds / 1000
