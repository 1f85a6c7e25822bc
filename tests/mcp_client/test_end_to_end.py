"""The real service on the tiny model, and the real client: what is played is what the service says again when asked."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client

from mcp_client.client import VoiceService
from mcp_client.narrator import Narrator
from mcp_client.server import build_server
from mcp_client.settings import Settings
from tests.mcp_client.conftest import Speaker

pytest.importorskip("serving.routes", reason="the service has no speech route here")
pytestmark = pytest.mark.anyio
KEY = "open-sesame-" * 4


@pytest.fixture(scope="module")
def real(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from serving.cast import LocalCast
    from tests.serving.conftest import PACK, make_pack, running

    pack = make_pack(tiny_folder, tmp_path_factory.mktemp("packs") / "me")
    with running(LocalCast(pack, pack=PACK), tmp_path_factory.mktemp("state"), keys={"mac": KEY}) as service:
        yield service


@pytest.fixture
def connected(real: Any, tmp_path: Path) -> Any:
    def connect(speaker: Speaker, key: str) -> Client:
        settings = Settings(url=real.url, api_key=key, state_folder=tmp_path / "state", prebuffer_seconds=0.0)
        service = VoiceService(real.url, api_key=key)
        return Client(build_server(settings, lambda: Narrator(settings, service, speaker)))

    return connect


async def test_what_is_heard_is_what_the_service_speaks(real: Any, connected: Any):
    speaker = Speaker()
    async with connected(speaker, KEY) as client:
        result = await client.call_tool("speak", {"text": "Hello **there**.", "wait": True})
        voices = await client.call_tool("list_voices", {})
        status = await client.call_tool("status", {})
    assert not result.is_error, result.content
    body = {"model": "tts-1", "input": "Hello there.", "response_format": "pcm"}
    key = {"Authorization": f"Bearer {KEY}"}
    again = httpx2.post(f"{real.url}/v1/audio/speech", json=body, headers=key, timeout=60)
    assert speaker.heard == [again.content]
    assert voices.structured_content["voices"][0]["voice_id"] == "me"
    assert status.structured_content["service"] == "ok"


async def test_a_wrong_key_and_an_unknown_voice_are_told(connected: Any):
    async with connected(Speaker(), "wrong") as client:
        refused = await client.call_tool("speak", {"text": "Hello."})
    async with connected(Speaker(), KEY) as client:
        unknown = await client.call_tool("speak", {"text": "Hello.", "voice": "nobody", "wait": True})
    assert "TTS_API_KEY" in refused.content[0].text
    assert "nobody" in unknown.content[0].text
