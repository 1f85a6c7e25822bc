"""Folders of weights: local ones as they are, others from the Hugging Face hub."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from voice.errors import InputError


def fetch(source: str, revision: str | None = None, *, files: Sequence[str] | None = None, instead: str) -> Path:
    """Return the folder of `source`, a folder or a hub id; of the hub's files those that match `files`.

    Raises InputError where it cannot be had, ending with `instead`: what works without the hub.
    """
    if Path(source).is_dir():
        return Path(source)
    if source.startswith(("/", ".", "~")):
        raise InputError(f"model folder {source} does not exist. Set it under conf/ to a hub id or a folder, {instead}")
    try:
        return Path(snapshot_download(source, revision=revision, allow_patterns=list(files) if files else None))
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise InputError(
            f"model {source} could not be fetched from the hub ({reason}). Go online, download it elsewhere and name "
            f"its folder under conf/, {instead}"
        ) from error


def version(folder: Path) -> str:
    """Which weights a fetched folder holds: its commit on the hub, or a hash of a local folder's files."""
    if folder.parent.name == "snapshots":  # the hub's cache: models--owner--name/snapshots/<commit>
        return f"{folder.parent.parent.name}@{folder.name}"
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        digest.update(f"{path.name}\0".encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
