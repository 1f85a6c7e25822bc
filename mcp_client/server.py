"""The MCP server and its tools, described for the model that reads them."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Literal

import anyio
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import BaseModel, Field

from mcp_client.client import Speech
from mcp_client.errors import VoiceError
from mcp_client.narrator import Job, Narrator
from mcp_client.saving import save_wav
from mcp_client.settings import Settings

GRACE_SECONDS = 2.0  # a refusal of the service is told at once, if it comes so soon
WAIT_SECONDS = 40.0  # editors give a call up after 60 s, whatever its progress

INSTRUCTIONS = (
    "Speaks aloud to the person at this computer, in the voice they chose. Write as one speaks: one to three short "
    "sentences, no code, no addresses. `speak` returns at once; do not wait for the end or repeat what was said."
)

Text = Annotated[str, Field(description="what to say; markdown is turned into speech, code is left out")]
VoiceName = Annotated[str | None, Field(description="a voice_id of list_voices; the person's own if left out")]
Language = Annotated[str | None, Field(description="ISO code such as en or de; the voice's own if left out")]
Instructions = Annotated[str | None, Field(description="how to say it: 'calm and slow'; not every voice can")]
Speed = Annotated[float, Field(description="1 is natural", ge=0.25, le=4.0)]


class Spoken(BaseModel):
    """What became of a text. It is not repeated: models answer their own words."""

    job_id: str = Field(description="what `stop` takes")
    state: str = Field(description="queued, speaking, paused, done, stopped or failed")
    position: int = Field(description="how many are before it, those of other windows included")
    seconds: float = Field(description="how much has been heard")
    notice: str | None = Field(None, description="an earlier failure that the person should be told")


class Stopped(BaseModel):
    """What was stopped."""

    job_ids: list[str] = Field(description="jobs of this window; other windows' are stopped, too, if all are")


class VoiceLine(BaseModel):
    """A voice."""

    voice_id: str = Field(description="what `speak` takes")
    name: str = Field(description="for people")
    kind: str = Field(description="how it came to be")


class Voices(BaseModel):
    """Who can speak."""

    voices: list[VoiceLine] = Field(description="the first one speaks where none is asked for")


class Status(BaseModel):
    """How things are."""

    service: str = Field(description="`ok`, or why it can't be reached and what to do")
    url: str = Field(description="where it is looked for")
    device: str = Field(description="the output device that was chosen, or the system's")
    speaking: str | None = Field(description="job that is being said in this window")
    queued: int = Field(description="jobs that wait in this window")
    line: int = Field(description="windows and commands that speak or wait to, this one included")
    last_first_sound_ms: int | None = Field(description="from the last call to its first sound")
    underruns: int = Field(description="pauses because the sound came too slowly, since the start")
    last_error: str | None = Field(description="why the last text was not said, if it was not")


class Saved(BaseModel):
    """A file."""

    path: str = Field(description="the WAV file")
    seconds: float = Field(description="its duration")


def build_server(settings: Settings, make_narrator: Callable[[], Narrator]) -> MCPServer:
    """Build the server; the narrator is made when it starts to serve."""
    narrators: list[Narrator] = []

    @asynccontextmanager
    async def life(server: MCPServer) -> AsyncIterator[None]:
        narrator = make_narrator()
        narrators[:] = [narrator]
        async with anyio.create_task_group() as group:
            group.start_soon(narrator.run)
            try:
                yield
            finally:
                group.cancel_scope.cancel()

    server = MCPServer("voice", instructions=INSTRUCTIONS, version="0.1.0", lifespan=life)
    _add_speaking(server, lambda: narrators[0])
    _add_control(server, lambda: narrators[0])
    _add_looking(server, lambda: narrators[0], settings)
    return server


@asynccontextmanager
async def _told() -> AsyncIterator[None]:
    """Errors that a person can act on reach the model as text."""
    try:
        yield
    except VoiceError as error:
        raise ToolError(str(error)) from error


def _hints(*, read_only: bool = False, idempotent: bool = False) -> ToolAnnotations:
    return ToolAnnotations(
        read_only_hint=read_only, destructive_hint=False, idempotent_hint=idempotent, open_world_hint=False
    )


def _add_speaking(server: MCPServer, narrator: Callable[[], Narrator]) -> None:
    @server.tool(title="Speak aloud", annotations=_hints())
    async def speak(
        ctx: Context,
        text: Text,
        voice: VoiceName = None,
        speed: Speed = 1.0,
        instructions: Instructions = None,
        language: Language = None,
        mode: Annotated[
            Literal["queue", "interrupt"],
            Field(description="queue: after what is being said; interrupt: stop everything else and say this now"),
        ] = "queue",
        wait: Annotated[bool, Field(description="return when it has been said, at most 40 s; rarely needed")] = False,
    ) -> Spoken:
        """Say a text aloud on this computer's speaker. Returns at once, while it is spoken.

        Keep the first sentence short: the sound starts sooner. To say something else instead, use mode=interrupt.
        """
        async with _told():
            job = narrator().say(Speech(text, voice, language, instructions, speed), interrupt=mode == "interrupt")
            position = narrator().position(job)
            try:
                if wait:
                    await _until_said(ctx, job)
                elif not position:
                    with anyio.move_on_after(GRACE_SECONDS):
                        await job.accepted.wait()
            except anyio.get_cancelled_exc_class():
                narrator().stop_job(job)
                raise
            if job.error:
                narrator().untold = None
                raise job.error
        return _spoken(narrator(), job)


async def _until_said(ctx: Context, job: Job) -> None:
    said = 0.0
    with anyio.move_on_after(WAIT_SECONDS):
        while not job.over.is_set():
            with anyio.move_on_after(0.5):
                await job.over.wait()
            if job.ring.played_seconds > said:  # progress must increase
                said = job.ring.played_seconds
                await ctx.report_progress(round(said, 2), message="speaking")


def _spoken(narrator: Narrator, job: Job) -> Spoken:
    notice, narrator.untold = narrator.untold, None
    return Spoken(
        job_id=job.id,
        state=job.state.value,
        position=narrator.position(job),
        seconds=round(job.ring.played_seconds, 2),
        notice=str(notice) if notice else None,
    )


def _add_control(server: MCPServer, narrator: Callable[[], Narrator]) -> None:
    @server.tool(title="Stop speaking", annotations=_hints(idempotent=True))
    async def stop(
        job_id: Annotated[str | None, Field(description="one job; all of them, in every window, if left out")] = None,
    ) -> Stopped:
        """Stop what is being said, at once. Without a job_id also what waits, in all windows."""
        async with _told():
            if job_id is None:
                narrator().turns.stop_all()
            return Stopped(job_ids=narrator().stop(job_id))

    @server.tool(title="Pause", annotations=_hints(idempotent=True))
    async def pause() -> Spoken:
        """Hold what is being said in this window; `resume` goes on at the same word, for up to five minutes."""
        async with _told():
            return _spoken(narrator(), narrator().pause())

    @server.tool(title="Resume", annotations=_hints(idempotent=True))
    async def resume() -> Spoken:
        """Go on with what was paused."""
        async with _told():
            return _spoken(narrator(), narrator().resume())


def _add_looking(server: MCPServer, narrator: Callable[[], Narrator], settings: Settings) -> None:
    @server.tool(title="List voices", annotations=_hints(read_only=True, idempotent=True))
    async def list_voices() -> Voices:
        """List the voices that `speak` can use."""
        async with _told():
            voices = await narrator().service.voices()
        return Voices(voices=[VoiceLine(voice_id=v.voice_id, name=v.name, kind=v.kind) for v in voices])

    @server.tool(title="Status of the voice", annotations=_hints(read_only=True, idempotent=True))
    async def status() -> Status:
        """Say whether the voice service can be reached, what is being said, and how well it plays."""
        return await _status(narrator(), settings)

    @server.tool(title="Save speech to a file", annotations=_hints())
    async def save(
        text: Text,
        name: Annotated[str, Field(description="file name such as greeting.wav; an existing file is kept")],
        voice: VoiceName = None,
        speed: Speed = 1.0,
        instructions: Instructions = None,
        language: Language = None,
    ) -> Saved:
        """Write a text, spoken, to a WAV file in the folder that the person allows. Plays nothing."""
        async with _told():
            speech = Speech(text, voice, language, instructions, speed)
            path, seconds = await save_wav(speech, name, service=narrator().service, settings=settings)
        return Saved(path=str(path), seconds=round(seconds, 2))


async def _status(narrator: Narrator, settings: Settings) -> Status:
    service = f"it did not answer within {GRACE_SECONDS:g} s"
    with anyio.move_on_after(GRACE_SECONDS):
        try:
            service = await narrator.service.health()
        except VoiceError as error:
            service = str(error)
    first = narrator.last_first_sound
    return Status(
        service=service,
        url=settings.url,
        device=settings.device or "the system's default output",
        speaking=narrator.current.id if narrator.current else None,
        queued=narrator.queued,
        line=narrator.turns.before(),
        last_first_sound_ms=None if first is None else round(1000 * first),
        underruns=narrator.underruns,
        last_error=str(narrator.last.error) if narrator.last and narrator.last.error else None,
    )
