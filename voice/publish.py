"""Outputs appear whole or not at all: they are written under a temporary name and renamed when complete."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def publish(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path` (a file or a folder); rename it to `path` if nothing was raised."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    remove(draft)
    try:
        yield draft
        _put(draft, path)
    finally:
        remove(draft)


def _put(draft: Path, path: Path) -> None:
    if not path.is_dir() or path.is_symlink():
        if draft.is_dir():
            remove(path)
        draft.replace(path)  # a file replaces a file in one step
        return
    before = path.with_name(f".{path.name}.before")  # folders cannot: the old one goes last
    remove(before)
    path.rename(before)
    draft.rename(path)
    remove(before)
