"""What is on air: loads a voice pack, lets it speak once before anyone hears it, and watches over it.

One thread loads, so that the service answers meanwhile; the same one changes voices when it is asked to, and looks
after the engine when a request has failed. Whoever is speaking when the voice changes goes on with the old one."""

import logging
import os
import queue
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from serving import metrics
from serving.cast import Cast, Member, probe
from serving.library import Library
from serving.logs import event
from serving.phase import Phase
from serving.problems import Problem, not_ready
from serving.settings import Settings
from serving.state import ANSWER, WANTED, State
from voice.errors import InputError

OpenCast = Callable[[str], Cast]
CRASHED = 70  # exit code: EX_SOFTWARE
_POLL_SECONDS = 0.5
_PROBE_SECONDS = 120.0


class Station:
    """The voices on air."""

    def __init__(
        self,
        settings: Settings,
        state: State,
        library: Library,
        open_cast: OpenCast,
        *,
        own: str,
        die: Callable[[], None] = lambda: os._exit(CRASHED),
    ) -> None:
        """`own` is the pack that the Bento was built for; `die` ends the process for its supervisor to start anew."""
        self.phase = Phase.LOADING
        self.library = library
        self._settings, self._state, self._open, self._own, self._die = settings, state, open_cast, own, die
        self._cast: Cast | None = None
        self._answered: Any = None
        self._suspicions: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="voice-station", daemon=True)

    def start(self) -> None:
        """Begin to load."""
        before = self._state.begin()
        if before is not None:
            metrics.restarts.inc()
            metrics.bury(before)
            event("restarted after a crash", level=logging.ERROR, pid=before)
        self._thread.start()

    def stop(self) -> None:
        """The process is going to end because it was told to."""
        self._stopped.set()
        self._state.end()

    @property
    def cast(self) -> Cast:
        """Who can speak. Raises Problem 503 while nobody can."""
        if self._cast is None:
            if self.phase is Phase.FAILED:
                raise Problem(503, "the voice could not be loaded; the server's log says why.", "not_loaded")
            raise not_ready()
        return self._cast

    def member(self, voice: str | None) -> Member:
        """The voice of an id; OpenAI's names and none at all mean the first one. Raises Problem 404."""
        members: Mapping[str, Member] = self.cast.members
        if voice in members:
            return members[voice]  # type: ignore[index]
        if voice is None or voice.lower() in self._settings.openai_voices:
            return next(iter(members.values()))
        message = f"there is no voice {voice[:64]!r}. GET /v1/audio/voices lists those there are."
        raise Problem(404, message, "voice_not_found", param="voice")

    def suspect(self) -> None:
        """A request failed for a reason of the engine's: have it looked after."""
        self._suspicions.put(True)

    def _run(self) -> None:
        pack = self._state.first_pack(self._own)
        try:
            self._put_on_air(pack)
        except Exception as error:
            self.phase = Phase.FAILED
            event("not loaded", level=logging.CRITICAL, error=error, pack=pack)
        while not self._stopped.is_set():
            try:
                self._suspicions.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                self._look_for_wishes()
            else:
                self._examine()

    def _put_on_air(self, pack: str) -> Cast:
        cast = self._open(pack)
        self.library.introduce(cast)
        probe(cast, self._settings.probe_text)  # warms it up, too
        self._cast, self.phase = cast, Phase.READY
        event("on air", pack=cast.identity.pack, voice=cast.identity.name, voices=len(cast.members))
        return cast

    def _look_for_wishes(self) -> None:
        wish = self._state.read(WANTED)
        if not wish or wish == self._answered:
            return
        self._answered = wish
        if self._state.read(ANSWER).get("wish") == wish:  # of a former process
            return
        pack = str(wish.get("pack"))
        try:
            if self._cast is None or self._cast.identity.pack != pack:
                self._put_on_air(pack)
                self._state.now_speaks(pack)
        except Exception as error:
            event("not promoted", level=logging.ERROR, error=error, pack=pack)
            message = str(error) if isinstance(error, InputError | RuntimeError) else type(error).__name__
            self._state.write(ANSWER, wish=wish, ok=False, message=message)
        else:
            self._state.write(ANSWER, wish=wish, ok=True, message=f"{pack} is on air")

    def _examine(self) -> None:
        """A failure may be one text's or the engine's: if it cannot speak at all any more, so can't this process."""
        if self._cast is None:
            return
        with ThreadPoolExecutor(1) as pool:
            try:
                pool.submit(probe, self._cast, self._settings.probe_text).result(timeout=_PROBE_SECONDS)
            except Exception as error:
                event("the engine is broken; the process ends", level=logging.CRITICAL, error=error)
                self._die()
                return
        event("the engine still speaks", level=logging.WARNING)
