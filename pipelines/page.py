"""Pages that need nothing but themselves: one HTML file, its style and its audio inside."""

import base64
import functools
from pathlib import Path

import jinja2

from voice.audio import encode, read_waveform

HERE = Path(__file__).parent


def template(path: Path) -> jinja2.Template:
    """Load a page's template, whose values are escaped and which may include page.css."""
    loader = jinja2.FileSystemLoader([path.parent, HERE])
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template(path.name)


@functools.cache
def audio_source(path: Path) -> str:
    """A clip as the `src` of a player: mp3 plays in every browser, and MLflow's frames reach no other files."""
    return "data:audio/mpeg;base64," + base64.b64encode(encode(read_waveform(path), container="mp3")).decode()
