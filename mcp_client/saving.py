"""Speech to a file, in the one folder that is allowed: the name comes from a model."""

import os
import wave
from pathlib import Path

from mcp_client.client import MOST_CHARACTERS, Speech, VoiceService
from mcp_client.errors import RequestError, ServiceError
from mcp_client.narrator import prepare
from mcp_client.settings import Settings
from mcp_client.speakable import pieces


async def save_wav(speech: Speech, name: str, *, service: VoiceService, settings: Settings) -> tuple[Path, float]:
    """Write a new WAV file, whole or not at all; returns it and its seconds. Raises RequestError and ServiceError."""
    speech = prepare(speech, settings)
    path = _place(name, settings.save_folder)
    pcm, rates = bytearray(), set[int]()
    for text in pieces(speech.text, MOST_CHARACTERS):
        part = Speech(text, speech.voice, speech.language, speech.instructions, speech.speed)
        async with service.speak(part) as sound:
            rates.add(sound.sample_rate)
            async for chunk in sound.chunks:
                pcm += chunk
        if not pcm or len(pcm) % 2:
            raise ServiceError("The service's sound was not whole, so nothing was saved. See its log; try again.")
    if len(rates) != 1:
        raise ServiceError("The service changed its sample rate in mid-speech, so nothing was saved. See its log.")
    [rate] = rates
    _write(path, bytes(pcm), rate)
    return path, len(pcm) / 2 / rate


def _place(name: str, folder: Path) -> Path:
    plain = name.strip()
    if plain.endswith(".wav"):
        plain = plain[:-4]
    if not plain or plain.startswith(".") or len(plain) > 100 or not all(c.isalnum() or c in " ._-" for c in plain):
        raise RequestError(f"{name!r} is no file name. Use letters, digits, spaces, - and _; it is put into {folder}.")
    path = folder / f"{plain}.wav"
    if path.exists() or path.is_symlink():
        raise RequestError(f"{path} is there already and is kept. Choose another name.")
    return path


def _write(path: Path, pcm: bytes, rate: int) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as raw, wave.open(raw, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes(pcm)
        os.link(partial, path)  # fails if the name was taken meanwhile
    except FileExistsError as error:
        raise RequestError(f"{path} is there already and is kept. Choose another name.") from error
    except OSError as error:
        raise RequestError(
            f"{path} cannot be written ({error.strerror}). Set TTS_SAVE_DIR to a folder of yours."
        ) from error
    finally:
        partial.unlink(missing_ok=True)
