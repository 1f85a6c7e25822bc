"""What the routes share: who is on air, the gate, the threads that pull chunks, and who asks."""

import asyncio
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from starlette.requests import Request as HttpRequest

from serving.formats import Format, encoder
from serving.gate import Gate
from serving.guard import Caller
from serving.problems import Problem
from serving.session import Ask, Session
from serving.settings import Settings
from serving.station import Station
from voice import tts
from voice.numerals import readings

T = TypeVar("T")
_NOBODY = Caller("local", is_known=True)
YEARS = 1  # of the readings: numbers, with years as years


@dataclass
class Desk:
    """One for the app."""

    settings: Settings
    station: Station
    started: int = field(default_factory=lambda: int(time.time()))

    def __post_init__(self) -> None:
        settings = self.settings
        self.gate = Gate(active=settings.active, queue=settings.queue, wait_seconds=settings.wait_seconds)
        # each may be pulling a chunk, those that have left but not noticed it yet, too
        self._pool = ThreadPoolExecutor(2 * (settings.active + settings.queue), thread_name_prefix="voice-pull")
        self._chores = ThreadPoolExecutor(2, thread_name_prefix="voice-chore")

    async def chore(self, work: Callable[[], T]) -> T:
        """Run something slow that is no speech: decoding and imitating an upload, two at a time."""
        return await asyncio.get_running_loop().run_in_executor(self._chores, work)

    def session(
        self,
        http: HttpRequest,
        *,
        text: str,
        form: Format,
        voice: str | None = None,
        language: str | None = None,
        seed: int = 0,
        instructions: str | None = None,
        speed: float = 1.0,
        normalize: bool = False,
    ) -> Session:
        """A request that is ready to wait for its place. Raises Problem for a voice or instructions that cannot be."""
        member = self.station.member(voice)
        instructions = (instructions or "").strip() or None
        if instructions and not member.takes_instructions:
            message = f"voice {member.id!r} takes no instructions. Leave `instructions` out."
            raise Problem(400, message, "no_instructions", param="instructions")
        if member.kind == "designed" and not instructions:
            message = "this voice is made from its description. Send one in `instructions`."
            raise Problem(400, message, "instructions_needed", param="instructions")
        spoken_in = language or member.language
        words = spelled_out(text, spoken_in) if normalize else text
        who = caller(http).name
        request = tts.Request(
            words,
            member.tts.voice,
            language=spoken_in,
            instruct=instructions,
            seed=seed,
            playback_speed=speed,
            caller=who,
        )
        ask = Ask(http.url.path, member, request, form.value, speed, request_id(http), who)
        sound = encoder(form, self.settings)
        return Session(ask, sound, self.gate, self._pool, hang_seconds=self.settings.hang_seconds)

    def headers(self, session: Session) -> dict[str, str]:
        """What an answer with sound says beside it."""
        return {"X-Voice": session.voice_id, "X-Voice-Pack": self.station.cast.identity.pack}


def spelled_out(text: str, language: str) -> str:
    """Numerals as words, years as years."""
    found = readings(text, language)
    words = found[min(YEARS, len(found) - 1)]
    return re.sub(r"\s+([.,;:!?%)])", r"\1", words)


def desk_of(http: HttpRequest) -> Desk:
    """The app's desk."""
    desk: Any = http.app.state.desk
    if desk is None:
        raise Problem(503, "the service is starting.", "loading", headers={"Retry-After": "5"})
    return desk


def caller(http: HttpRequest) -> Caller:
    """Who asks, as the guard found."""
    return getattr(http.state, "caller", _NOBODY)


def request_id(http: HttpRequest) -> str:
    """The request's, as the guard gave it."""
    return getattr(http.state, "request_id", "")
