"""listen: a page on this machine where the owner hears the fine-tuned voice and zero-shot blindly and chooses.

python -m pipelines.eval.listen voice=anna
"""

import random
from dataclasses import dataclass
from pathlib import Path

from pipelines.data.record.serve import HOST, listen_on, serve
from pipelines.eval.ballot import VOTES
from pipelines.eval.listen.app import build_app
from pipelines.eval.listen.trials import Session, Spoken, pair_up
from pipelines.eval.panel import held_out_clips
from pipelines.eval.settings import System
from pipelines.eval.takes import read_takes
from voice.bounds import within
from voice.stage import stage


@dataclass
class Listen:  # conf/listen.yaml
    """Settings of the page."""

    voice: str
    port: int = within(low=1, high=65_535)


def open_session(voice: str) -> Session:
    """Pair up what the last evaluation spoke. Raises InputError where there is nothing."""
    folders = {system: Path("reports") / voice / "audio" / system for system in (System.FINETUNED, System.ZERO_SHOT)}
    one, other = (Spoken(system, folder, read_takes(folder)) for system, folder in folders.items())
    owner = held_out_clips(Path("data/processed") / voice)
    return Session.of(voice, pair_up(one, other, owner, draw=random.Random()), VOTES)


@stage(Listen)
def main(config: Listen) -> None:
    """Serve the page until Ctrl+C."""
    with listen_on(config.port) as listener:
        app = build_app(open_session(config.voice))
        print(
            f"Listen to {config.voice}: http://{HOST}:{config.port}  (Ctrl+C stops; votes are in {VOTES})", flush=True
        )
        serve(app, listener)


if __name__ == "__main__":
    main()
