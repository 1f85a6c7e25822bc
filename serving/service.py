"""The BentoML service of a packaged voice.

bentoml serve voice-demo:latest --host 127.0.0.1 --port 8080
"""

from pathlib import Path

import bentoml

from serving.app import Speaker, create_app
from voice.engine.delivery import Delivery
from voice.errors import InputError
from voice.pack import VoiceCard
from voice.tts import Qwen3TTS

TAG_FILE = Path(__file__).with_name("pack_tag.txt")  # written by serving.package into the Bento it builds

app = create_app()


def pack_tag() -> str:
    """The voice pack in BentoML's model store that this Bento speaks as."""
    if not TAG_FILE.is_file():
        raise InputError("this is the source, not a Bento. Run `dvc repro`, then `make serve`.")
    return TAG_FILE.read_text(encoding="utf-8").strip()


@bentoml.service(name="voice", workers=1, traffic={"timeout": 300})
@bentoml.asgi_app(app, path="/")
class VoiceService:
    """Loads the voice once; the routes are in `serving.app`."""

    pack = bentoml.models.BentoModel(pack_tag())

    def __init__(self) -> None:
        folder = Path(self.pack.path)
        app.state.speaker = Speaker(VoiceCard.read(folder), Qwen3TTS.from_pack(folder, delivery=Delivery()))
