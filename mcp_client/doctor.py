"""`voice-mcp doctor`: what works and what does not, one line each with the remedy."""

import time
from urllib.parse import urlsplit

import anyio

from mcp_client import device
from mcp_client.client import Speech, VoiceService
from mcp_client.errors import VoiceError
from mcp_client.settings import Settings


async def examine(settings: Settings) -> int:
    """Print the findings; returns how many are bad."""
    bad = 0
    service = VoiceService(settings.url, api_key=settings.api_key)
    for name, check in (
        ("address", _address), ("service", _service), ("key", _key), ("latency", _latency), ("device", _device),
    ):  # fmt: skip
        try:
            print(f"ok    {name}: {await check(settings, service)}")
        except VoiceError as error:
            bad += 1
            print(f"bad   {name}: {error}")
    await service.close()
    return bad


async def _address(settings: Settings, service: VoiceService) -> str:
    parts = urlsplit(settings.url)
    if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        return f"{settings.url}; text and key cross the network unencrypted: use the SSH tunnel or https"
    return settings.url


async def _service(settings: Settings, service: VoiceService) -> str:
    return f"it is {await service.health()}"


async def _key(settings: Settings, service: VoiceService) -> str:
    voices = await service.voices()
    return f"{'accepted' if settings.api_key else 'none needed'}; {len(voices)} voices: " + ", ".join(
        voice.voice_id for voice in voices[:10]
    )


async def _latency(settings: Settings, service: VoiceService) -> str:
    began, first = time.monotonic(), 0.0
    async with service.speak(Speech("Ready.", voice=settings.voice)) as sound:
        async for chunk in sound.chunks:
            if chunk:
                first = time.monotonic() - began
                break
    heard = first + settings.prebuffer_seconds + device.LATENCY_SECONDS
    return f"first sound {first * 1000:.0f} ms after the call, heard at the latest {heard * 1000:.0f} ms after it"


async def _device(settings: Settings, service: VoiceService) -> str:
    return await anyio.to_thread.run_sync(_open_device, settings)


def _open_device(settings: Settings) -> str:
    names = ", ".join(device.output_names()) or "none"
    stream = device.OutputStream(sample_rate=24_000, device=settings.device)
    latency = stream.latency_seconds
    stream.close()
    return f"{settings.device or 'system default'}, latency {latency * 1000:.0f} ms (there are: {names})"
