"""The MCP server and its tool."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import BaseModel, Field

from mcp_client.client import ServiceError, Sound, VoiceService
from mcp_client.player import PlaybackError

Play = Callable[[Sound], Awaitable[None]]


class Spoken(BaseModel):
    """What was played. The text is not repeated: models answer their own words."""

    seconds: float = Field(description="duration of the speech")


def build_server(service: VoiceService, play: Play) -> MCPServer:
    """Build the server on a voice service and something that plays sound."""
    server = MCPServer(
        "voice", instructions="Speaks to the person at this computer, in their own voice.", version="0.1.0"
    )

    @server.tool(
        title="Speak aloud",
        annotations=ToolAnnotations(
            read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=False
        ),
    )
    async def speak(
        text: Annotated[str, Field(description="plain sentences, as a person would say them; no code, no markdown")],
        language: Annotated[
            str | None, Field(description="ISO code such as en or de; the voice's own if left out")
        ] = None,
    ) -> Spoken:
        """Say a short text aloud on this computer's speaker and return when it has been said.

        One to three sentences work best. Cancelling stops the sound.
        """
        if not text.strip():
            raise ToolError("There is no text to speak. Send at least one word.")
        try:
            sound = await service.synthesize(text, language=language)
            await play(sound)
        except (ServiceError, PlaybackError) as error:
            raise ToolError(str(error)) from error
        return Spoken(seconds=round(sound.seconds, 2))

    return server
