"""The BentoML service of a packaged voice.

bentoml serve voice-demo:latest --host 127.0.0.1 --port 8080
"""

import os
from pathlib import Path
from typing import Any

import bentoml

from serving import settings as settings_file
from serving.app import create_app
from serving.cast import Cast, LocalCast, RemoteCast
from serving.desk import Desk
from serving.guard import Guard
from serving.keys import Keys
from serving.library import Library
from serving.logs import write_json_lines
from serving.phase import Phase
from serving.settings import Settings
from serving.state import State, folder_of
from serving.station import Station
from voice.errors import InputError

TAG_FILE = Path(__file__).with_name("pack_tag.txt")  # written by serving.package into the Bento it builds
LONGEST_SECONDS = 1_200  # until BentoML answers 504: our own limits (queue, hang) come first

app = create_app()


def pack_tag() -> str:
    """The voice pack in BentoML's model store that this Bento was built for."""
    if not TAG_FILE.is_file():
        raise InputError("this is the source, not a Bento. Run `dvc repro`, then `make serve`.")
    return TAG_FILE.read_text(encoding="utf-8").strip()


def open_cast(settings: Settings, pack: str) -> Cast:
    """Load a pack from BentoML's store, or reach the server that speaks instead. Raises InputError if there is none."""
    if settings.engine_url:
        key = os.environ.get("VOICE_ENGINE_KEY")
        return RemoteCast(settings.engine_url, model=settings.engine_model, voice=settings.engine_voice, api_key=key)
    try:
        model = bentoml.models.get(pack)
    except (bentoml.exceptions.BentoMLException, ValueError) as error:
        raise InputError(f"{pack!r} is not in BentoML's model store. Run `make repro`, or `bentoml import`.") from error
    return LocalCast.of(settings, Path(model.path), pack)


@bentoml.service(
    name="voice",
    workers=1,  # one engine: it speaks for all at a time
    traffic={"timeout": LONGEST_SECONDS},
    http={"host": "127.0.0.1", "port": 8080},  # unless told otherwise; BentoML's own are 0.0.0.0 and 3000
    logging={"access": {"enabled": False}},  # ours says more, and never the text
)
@bentoml.asgi_app(app, path="/")
class VoiceService:
    """Loads the voice; the routes are in `serving.routes`."""

    pack = bentoml.models.BentoModel(pack_tag())

    def __init__(self) -> None:
        write_json_lines()
        settings = settings_file.load()
        own = pack_tag()
        state = State(folder_of(own.partition(":")[0]))
        library = Library(state.folder / "voices", most=settings.uploads)
        self._station = Station(settings, state, library, lambda pack: open_cast(settings, pack), own=own)
        app.state.desk = Desk(settings, self._station)
        self._station.start()

    def __is_ready__(self) -> bool:
        return self._station.phase is Phase.READY

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def stop(self) -> None:
        """Told to stop: those who are being spoken to have been served."""
        self._station.stop()


served: Any = VoiceService  # the decorator makes a service of the class
served.add_asgi_middleware(Guard, settings=settings_file.load(), keys=Keys.from_environment())
