"""record: a page on this machine that records a voice, sentence by sentence, into data/raw/<voice>.

python -m pipelines.data.record voice=anna language=en data.asr=pocketsphinx
"""

import functools
from dataclasses import dataclass
from pathlib import Path

from pipelines.data import coverage
from pipelines.data.record.app import build_app
from pipelines.data.record.folder import check_name
from pipelines.data.record.serve import HOST, listen_on, serve
from pipelines.data.record.session import Session
from pipelines.data.record.settings import Recording
from pipelines.data.record.words import check_words, open_recogniser
from voice.bounds import within
from voice.stage import stage


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
        sentences=coverage.prompts(config.language),
        rank=functools.partial(coverage.most_useful, config.language),
        limits=settings,
        listen=listen,
    )


@stage(Record)
def main(config: Record) -> None:
    """Serve the page until Ctrl+C."""
    with listen_on(config.port) as listener:
        app = build_app(open_session(config), max_take_seconds=config.data.max_take_seconds)
        print(f"Record {config.voice}: http://{HOST}:{config.port}  (Ctrl+C stops; what is kept is kept)", flush=True)
        serve(app, listener)


if __name__ == "__main__":
    main()
