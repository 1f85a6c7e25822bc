"""What is being said and what is next: the jobs of one window, spoken one after another."""

import time
from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

import anyio

from mcp_client.client import MOST_CHARACTERS, Speech, VoiceService
from mcp_client.errors import RequestError, ServiceError, VoiceError
from mcp_client.ring import SAMPLE_RATE, Ring
from mcp_client.settings import Settings
from mcp_client.speakable import pieces, speakable
from mcp_client.turns import Ticket, Turns

POLL_SECONDS = 0.02
MOST_TEXT = 50_000  # characters; about an hour
MOST_JOBS = 50
IDLE_SECONDS = 3.0  # then the device is freed
PAUSE_SECONDS = 300.0  # a pause longer than this is a stop: other windows are waiting


class State(str, Enum):  # noqa: UP042  Python 3.10 has no StrEnum
    """Where a job is."""

    QUEUED = "queued"
    SPEAKING = "speaking"
    PAUSED = "paused"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


class Playing(Protocol):
    """What `player.Speaker` is to the narrator."""

    @property
    def latency_seconds(self) -> float: ...  # noqa: D102
    async def open(self, sample_rate: int = SAMPLE_RATE) -> None: ...  # noqa: D102
    async def play(self, ring: Ring) -> None: ...  # noqa: D102
    async def close(self) -> None: ...  # noqa: D102


@dataclass
class Job:
    """One text on its way to the ear."""

    id: str
    speech: Speech
    ring: Ring
    stops: int  # the line's stops when it was asked for
    ticket: Ticket  # its place in the line of all windows
    asked_at: float = field(default_factory=time.monotonic)
    state: State = State.QUEUED
    error: VoiceError | None = None
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    accepted: anyio.Event = field(default_factory=anyio.Event)  # the service speaks, or it is over
    over: anyio.Event = field(default_factory=anyio.Event)

    def finish(self, state: State) -> None:
        """It is over."""
        self.ticket.leave()
        self.state = state
        self.accepted.set()
        self.over.set()


class Narrator:
    """Speaks what it is asked to, in order, when the shared speaker is free."""

    def __init__(self, settings: Settings, service: VoiceService, speaker: Playing) -> None:
        self.service = service
        self.turns = Turns(settings.state_folder)
        self.current: Job | None = None
        self.last: Job | None = None
        self.last_first_sound: float | None = None  # seconds from the call to the first sample heard
        self.underruns = 0
        self.untold: VoiceError | None = None  # a failure that nobody has been told
        self._settings = settings
        self._speaker = speaker
        self._jobs: deque[Job] = deque()
        self._prebuffer_seconds = settings.prebuffer_seconds
        self._count = 0

    def say(self, speech: Speech, *, interrupt: bool = False) -> Job:
        """Put a text in the queue, or before it with all else stopped. Raises RequestError if it can't be spoken."""
        speech = prepare(speech, self._settings)
        if interrupt:
            self.turns.stop_all()
            self.stop()
        if len(self._jobs) >= MOST_JOBS:
            raise RequestError(f"{MOST_JOBS} texts are waiting already. Stop them, or wait.")
        self._count += 1
        ring = Ring(prebuffer_seconds=self._prebuffer_seconds, lead_seconds=self._settings.lead_seconds)
        job = Job(f"speech-{self._count}", speech, ring, self.turns.stops(), self.turns.draw())
        self._jobs.append(job)
        return job

    def position(self, job: Job) -> int:
        """How many are before it, in this window and in others."""
        return 0 if job.over.is_set() else self.turns.before(job.ticket.number)

    @property
    def queued(self) -> int:
        """How many wait in this window."""
        return len(self._jobs)

    def stop(self, job_id: str | None = None) -> list[str]:
        """Stop one job or all of this window; returns the ids. Raises RequestError for an id that is not there."""
        jobs = [*([self.current] if self.current else []), *self._jobs]
        chosen = [job for job in jobs if job_id in (None, job.id)]
        if job_id and not chosen:
            raise RequestError(f"There is no {job_id} to stop: it is over, or never was. `status` lists what there is.")
        for job in chosen:
            self.stop_job(job)
        return [job.id for job in chosen]

    def stop_job(self, job: Job) -> None:
        """Stop it, whether it waits, speaks or is over."""
        if job in self._jobs:
            self._jobs.remove(job)
            job.finish(State.STOPPED)
        job.scope.cancel()

    def pause(self) -> Job:
        """Hold what is being said. Raises RequestError if nothing is."""
        if not self.current or self.current.state is not State.SPEAKING:
            raise RequestError("Nothing is being said in this window.")
        self.current.ring.pause()
        self.current.state = State.PAUSED
        return self.current

    def resume(self) -> Job:
        """Go on. Raises RequestError if nothing is paused."""
        if not self.current or self.current.state is not State.PAUSED:
            raise RequestError("Nothing is paused in this window.")
        self.current.ring.resume()
        self.current.state = State.SPEAKING
        return self.current

    async def run(self) -> None:
        """Speak, for ever. Cancelling stops the sound and frees the device."""
        idle_since = time.monotonic()
        try:
            while True:
                if self._jobs:
                    await self._perform(self._jobs.popleft())
                    idle_since = time.monotonic()
                elif time.monotonic() - idle_since > IDLE_SECONDS:
                    await self._speaker.close()
                    idle_since = float("inf")
                await anyio.sleep(POLL_SECONDS)
        finally:
            with anyio.CancelScope(shield=True):
                self.stop()
                await self._speaker.close()
                await self.service.close()

    async def _perform(self, job: Job) -> None:
        self.current = self.last = job
        try:
            with job.scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._watch, job)
                    await self._speak(job)
                    group.cancel_scope.cancel()
            ended = _end(job)
        except BaseException:
            ended = State.STOPPED  # the server ends
            raise
        finally:
            self.current = None
            self._note(job)
            job.finish(ended)

    async def _speak(self, job: Job) -> None:
        await self.turns.reached(job.ticket)
        try:
            await self._speaker.open()
        except VoiceError as error:
            job.error = error
            return
        async with anyio.create_task_group() as group:
            group.start_soon(self._fetch, job)
            await job.accepted.wait()
            try:
                if not job.error:
                    await self._speaker.play(job.ring)
            except VoiceError as error:
                job.error = error
            group.cancel_scope.cancel()

    async def _fetch(self, job: Job) -> None:
        try:
            for text in pieces(job.speech.text, MOST_CHARACTERS):
                await self._fetch_piece(job, text)
                if job.ring.is_truncated:
                    raise ServiceError("The service's sound ended in mid-sample: something is missing. See its log.")
        except VoiceError as error:
            job.error = error
        finally:
            job.ring.end()
            job.accepted.set()

    async def _fetch_piece(self, job: Job, text: str) -> None:
        speech = Speech(text, job.speech.voice, job.speech.language, job.speech.instructions, job.speech.speed)
        async with self.service.speak(speech) as sound:
            if job.accepted.is_set() and sound.sample_rate != job.ring.sample_rate:
                raise ServiceError("The service changed its sample rate in mid-speech. See its log.")
            job.ring.sample_rate = sound.sample_rate
            if not job.accepted.is_set():
                job.state = State.SPEAKING
                job.accepted.set()
            async for chunk in sound.chunks:
                job.ring.write(chunk)
                while job.ring.is_full:
                    await anyio.sleep(POLL_SECONDS)

    async def _watch(self, job: Job) -> None:
        """Stop when another process says so, or when a pause has lasted too long."""
        paused = 0.0
        while True:
            await anyio.sleep(POLL_SECONDS)
            paused = paused + POLL_SECONDS if job.ring.is_paused else 0.0
            if self.turns.stops() != job.stops or paused > PAUSE_SECONDS:
                job.scope.cancel()

    def _note(self, job: Job) -> None:
        ring = job.ring
        self.underruns += ring.underruns
        base = (
            self._settings.prebuffer_seconds
        )  # it grows where the network stutters, and shrinks back after a clean run
        self._prebuffer_seconds = max(base, ring.prebuffer_seconds if ring.underruns else ring.prebuffer_seconds / 2)
        if ring.first_sample_at:
            self.last_first_sound = ring.first_sample_at + self._speaker.latency_seconds - job.asked_at
        if job.error:
            self.untold = job.error


def prepare(speech: Speech, settings: Settings) -> Speech:
    """What will be sent: text for the ear, and the person's voice. Raises RequestError if there is nothing to say."""
    if len(speech.text) > MOST_TEXT:
        raise RequestError(f"The text has {len(speech.text):,} characters; {MOST_TEXT:,} is the most. Say less of it.")
    text = speakable(speech.text)
    if not any(character.isalnum() for character in text):
        raise RequestError("There is nothing to say in that text. Send at least one word.")
    voice = speech.voice or settings.voice
    return Speech(text, voice, speech.language, speech.instructions, speech.speed)


def _end(job: Job) -> State:
    if job.error:
        return State.FAILED
    return State.STOPPED if job.scope.cancel_called else State.DONE
