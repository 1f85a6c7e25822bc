"""What judges said before: a line for each clip, by the hash of its audio, in a file for each judge.

A line is written as soon as it is known, so that a scoring that was interrupted goes on where it stopped, and the clips
that another evaluation shares are not judged again.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(".cache/judged")


def audio_digest(path: Path) -> str:
    """Hash of an audio file; 32 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


class Memory:
    """One judge's answers. `identity` says everything that they depend on besides the audio."""

    def __init__(self, folder: Path, name: str, identity: str) -> None:
        self._path = folder / f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.jsonl"
        self._known = dict(_lines(self._path))

    def recall(self, paths: Sequence[Path], judge: Callable[[Sequence[Path]], Iterator[Any]]) -> Iterator[Any]:
        """What the judge says of each file, in order; only what is not known yet is judged, each content once."""
        digests = [audio_digest(path) for path in paths]
        new = {d: p for d, p in zip(digests, paths, strict=True) if d not in self._known}
        answers = judge(list(new.values())) if new else iter(())
        unheard = iter(new)
        for digest in digests:
            while digest not in self._known:
                self._note(next(unheard), next(answers))
            yield self._known[digest]

    def _note(self, digest: str, answer: Any) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        torn = self._path.is_file() and not self._path.read_bytes().endswith(b"\n")
        with self._path.open("a", encoding="utf-8") as file:
            if torn:  # the power went while a line was being written
                file.write("\n")
            file.write(json.dumps([digest, answer]) + "\n")
        self._known[digest] = answer


def _lines(path: Path) -> Iterator[tuple[str, Any]]:
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            digest, answer = json.loads(line)
        except ValueError:  # the line that was being written when the power went
            continue
        yield digest, answer
