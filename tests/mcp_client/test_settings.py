from pathlib import Path

import pytest

from mcp_client.errors import RequestError
from mcp_client.settings import DEFAULT_URL, load


@pytest.mark.parametrize("value", ["", " ", "${env:TTS_SERVER_URL}", "${TTS_SERVER_URL}"])
def test_what_the_editor_left_unset_means_the_default(value: str, tmp_path: Path):
    assert load({"TTS_SERVER_URL": value, "TTS_SETTINGS": str(tmp_path / "none")}).url == DEFAULT_URL


def test_the_environment_wins_over_the_file(tmp_path: Path):
    file = tmp_path / "env"
    file.write_text("# mine\nTTS_API_KEY='sesame'\nTTS_SERVER_URL=http://file:1/\nnonsense\n")
    settings = load({"TTS_SETTINGS": str(file), "TTS_SERVER_URL": "http://shell:2/"})
    assert (settings.url, settings.api_key) == ("http://shell:2", "sesame")


@pytest.mark.parametrize("value", ["soon", "-1", "nan", "99999"])
def test_a_wrong_number_is_named(value: str, tmp_path: Path):
    with pytest.raises(RequestError, match="TTS_LEAD_MS"):
        load({"TTS_LEAD_MS": value, "TTS_SETTINGS": str(tmp_path / "none")})
