from pathlib import Path

import pytest

from voice.errors import InputError
from voice.manifest import Utterance, read_metadata, write_metadata


def manifest(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "metadata.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_third_column_a_byte_order_mark_and_windows_line_ends_are_ignored(tmp_path: Path):
    path = manifest(tmp_path, b"\xef\xbb\xbfa|One, two.|one two\r\n\r\n b |Drei.\r\n")
    assert read_metadata(path) == [Utterance("a", "One, two."), Utterance("b", "Drei.")]


@pytest.mark.parametrize(
    ("content", "line", "says"),
    [
        ("a|One.\nb Two.\n", 2, "no `|`"),
        ("a|One.\n\n|Two.\n", 3, "not a clip name"),
        ("a|One.\nb| \n", 2, "no text"),
        ("a|One.\na|Two.\n", 2, "already on line 1"),
        ("../a|One.\n", 1, "not a clip name"),
    ],
)
def test_a_bad_line_is_named_by_its_number(tmp_path: Path, content: str, line: int, says: str):
    with pytest.raises(InputError) as error:
        read_metadata(manifest(tmp_path, content))
    assert f"metadata.csv:{line}:" in str(error.value)
    assert says in str(error.value)


@pytest.mark.parametrize("content", ["", "\n\n", b"a|\xff\xfe\n"])
def test_an_empty_or_undecodable_manifest_is_refused(tmp_path: Path, content: str | bytes):
    with pytest.raises(InputError, match=r"metadata\.csv"):
        read_metadata(manifest(tmp_path, content))


def test_a_missing_manifest_says_what_to_write(tmp_path: Path):
    with pytest.raises(InputError, match="Write one"):
        read_metadata(tmp_path / "metadata.csv")


def test_what_is_written_is_read_back(tmp_path: Path):
    utterances = [Utterance("b", "Zwei, ü."), Utterance("a", "One.")]
    write_metadata(tmp_path / "metadata.csv", utterances)
    assert read_metadata(tmp_path / "metadata.csv") == utterances
