"""metadata.csv, LJSpeech's way: one `id|text` line per clip; what stands after a second bar is ignored."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from voice.errors import InputError
from voice.publish import publish


@dataclass(frozen=True, slots=True)
class Utterance:
    """One spoken sentence: its clip's name without suffix, and what was said."""

    id: str
    text: str


def _parse(line: str, *, require_text: bool) -> Utterance:
    name, bar, rest = line.partition("|")
    if not bar:
        raise ValueError(f"no `|` in {line[:60]!r}. Write `id|text`.")
    utterance = Utterance(name.strip(), rest.partition("|")[0].strip())
    if not utterance.id or "/" in utterance.id or "\\" in utterance.id or utterance.id.startswith("."):
        raise ValueError(f"{utterance.id!r} is not a clip name. Use the file's name without folder and suffix.")
    if require_text and not utterance.text:
        raise ValueError(f"clip {utterance.id!r} has no text. Write what was said, or remove the line.")
    return utterance


def read_metadata(path: Path, *, require_text: bool = True) -> list[Utterance]:
    """Read a manifest. Raises InputError that names the line: no bar, empty id or text, an id twice, not UTF-8.

    Without `require_text` an empty text stays empty: it is not known yet.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise InputError(
            f"{path} is missing. Write one `id|text` line for each clip in wavs/ (see README.md)."
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 (byte {error.start}). Save it as UTF-8.") from None
    seen: dict[str, int] = {}
    utterances = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            utterance = _parse(line, require_text=require_text)
            if utterance.id in seen:
                raise ValueError(f"clip {utterance.id!r} is already on line {seen[utterance.id]}. Keep one of them.")
        except ValueError as error:
            raise InputError(f"{path}:{number}: {error}") from error
        seen[utterance.id] = number
        utterances.append(utterance)
    if not utterances:
        raise InputError(f"{path}: holds no clips. Write one `id|text` line for each clip in wavs/.")
    return utterances


def write_metadata(path: Path, utterances: Iterable[Utterance]) -> None:
    """Write `id|text` lines, in the order given."""
    with publish(path) as draft:
        draft.write_text("".join(f"{u.id}|{u.text}\n" for u in utterances), encoding="utf-8")
