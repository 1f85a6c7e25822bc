"""record: a page on this machine that records a voice, sentence by sentence, into data/raw/<voice>.

python -m pipelines.data.record voice=anna language=en data.asr=pocketsphinx
"""

import contextlib
import functools
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from pipelines.data import coverage
from pipelines.data.record.app import build_app
from pipelines.data.record.folder import check_name
from pipelines.data.record.session import Session
from pipelines.data.record.settings import Recording
from pipelines.data.record.words import check_words, open_recogniser
from voice.bounds import within
from voice.errors import InputError
from voice.stage import stage

HOST = "127.0.0.1"  # never another: whoever reaches the page can record and hear


@dataclass
class Record:  # conf/record.yaml
    """Settings of the page."""

    voice: str
    language: str
    data: Recording
    port: int = within(low=1, high=65_535)


def open_session(config: Record) -> Session:
    """Take up the voice's folder. Raises InputError for a name, language or folder that cannot be recorded into."""
    voice, settings = check_name(config.voice), config.data
    sentences = coverage.prompts(config.language)
    recogniser = open_recogniser(settings, language=config.language)
    listen = None
    if recogniser:
        listen = functools.partial(
            check_words, recogniser=recogniser, language=config.language, max_wer=settings.max_wer
        )
    return Session(
        voice,
        raw=Path("data/raw") / voice,
        desk=Path(".cache/record") / voice,
        language=config.language,
        sentences=sentences,
        rank=functools.partial(coverage.most_useful, config.language),
        limits=settings,
        listen=listen,
    )


@contextlib.contextmanager
def listen_on(port: int) -> Iterator[socket.socket]:
    """A socket that only this machine reaches. Raises InputError where the port is taken."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # or a restart waits for old connections
        try:
            listener.bind((HOST, port))
            listener.listen()
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"port {port} cannot be used ({reason}). Choose another one: PORT={port + 1}.") from error
        yield listener


@stage(Record)
def main(config: Record) -> None:
    """Serve the page until Ctrl+C."""
    with listen_on(config.port) as listener, contextlib.suppress(KeyboardInterrupt):
        app = build_app(open_session(config), max_take_seconds=config.data.max_take_seconds)
        print(f"Record {config.voice}: http://{HOST}:{config.port}  (Ctrl+C stops; what is kept is kept)", flush=True)
        settings = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
        uvicorn.Server(settings).run(sockets=[listener])


if __name__ == "__main__":
    main()
