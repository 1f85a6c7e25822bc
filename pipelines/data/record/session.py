"""The recording session of one voice: which sentence is next, which take is under review, what is kept.

Every step leaves the folders such that a session that starts there goes on where this one stopped: a take is on disk
before it is shown, a clip's audio before its line, and a take under review goes only after its clip is whole.
"""

import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from pipelines.data.record import consent, folder
from pipelines.data.record.checks import Finding, Severity, check, measure
from pipelines.data.record.desk import Desk, Kept, Pending
from pipelines.data.record.settings import Recording
from pipelines.data.record.state import Clip, Marks, Progress, Review, Sentence, State, Tier
from pipelines.data.record.take import Take, decode
from pipelines.data.split import tier
from voice.errors import InputError
from voice.manifest import Utterance
from voice.text import same_text_key

Rank = Callable[[Sequence[str], Sequence[str], int], list[str]]  # (spoken, candidates, count) -> the most useful ones
Listen = Callable[[Take, str], list[Finding]]  # (take, sentence) -> what is wrong with its words


class ConsentError(InputError):
    """Nothing is recorded without consent."""


class StepError(InputError):
    """The page asks for a step that this session is not at: two pages are open, or a key came twice."""


class Session:
    """All steps, one at a time."""

    def __init__(
        self,
        voice: str,
        *,
        raw: Path,
        desk: Path,
        language: str,
        sentences: Sequence[str],
        rank: Rank,
        limits: Recording,
        listen: Listen | None = None,
    ) -> None:
        """Take up what lies in `raw` (data/raw/<voice>) and `desk`. Raises InputError where metadata.csv is wrong."""
        self._voice, self._raw, self._language, self._limits = voice, raw, language, limits
        self._rank, self._listen = rank, listen
        self._sentences = [s for s in sentences if "|" not in s]  # a bar would end the text in metadata.csv
        self._desk = Desk(desk)
        self._lock = threading.RLock()
        self._clips = self._read_clips()
        self._review = self._resume()
        self._sentence = self._choose()

    def _read_clips(self) -> list[Clip]:
        audio = folder.audio_of(self._raw)
        listed = folder.read_utterances(self._raw)
        return [Clip(u.id, u.text, folder.seconds_of(audio[u.id])) for u in listed if u.id in audio]

    def _resume(self) -> Review | None:
        pending = self._desk.pending()
        if not pending:
            return None
        try:
            take = decode(self._desk.take.read_bytes(), max_seconds=self._limits.max_take_seconds)
        except InputError:  # somebody changed the file or the limit
            self._desk.set_aside(self._desk.take)
            self._desk.clear()
            return None
        return self._look_at(pending, take)

    def _choose(self) -> Sentence | None:
        pending = self._desk.pending()
        if pending:
            return Sentence(pending.text, pending.id if pending.replaces else None)
        left = self._left()
        fresh = [s for s in left if s not in self._desk.notes.skipped] or left  # what was skipped comes last
        if not fresh:
            return None
        best = self._rank([c.text for c in self._clips], fresh, 1) or fresh
        return Sentence(best[0], None)

    def _left(self) -> list[str]:
        spoken = {same_text_key(c.text) for c in self._clips}
        return [s for s in self._sentences if same_text_key(s) not in spoken]

    def state(self) -> State:
        """Everything that the page shows."""
        with self._lock:
            last = self._desk.notes.last_kept
            return State(
                voice=self._voice,
                language=self._language,
                checklist=consent.CHECKLIST,
                statement=consent.STATEMENT,
                consent=consent.read_consent(self._raw),
                sentence=self._sentence,
                review=self._review,
                progress=self._progress(),
                clips=self._clips,
                undo=last.id if last and not self._review else None,
                marks=Marks(
                    self._limits.max_take_seconds, self._limits.min_peak_dbfs, self._limits.max_noise_floor_dbfs
                ),
            )

    def _progress(self) -> Progress:
        minutes, clips = sum(c.seconds for c in self._clips) / 60, len(self._clips)
        following = folder.next_tier(minutes, clips)
        name = tier(minutes, clips)
        return Progress(minutes, clips, name, Tier(*following) if following else None, len(self._left()))

    def agree(self, name: str, *, at: datetime) -> None:
        """Save the speaker's consent."""
        with self._lock:
            consent.write_consent(self._raw, name, at=at)

    def record(self, wav: bytes, *, text: str) -> None:
        """Take a recording of the sentence `text` under review, in place of the one before.

        Raises ConsentError without consent, StepError for another sentence, InputError for what is not a take.
        """
        with self._lock:
            if not consent.read_consent(self._raw):
                raise ConsentError("nobody has agreed to be recorded yet. Reload the page and give consent first.")
            if self._sentence is None or text != self._sentence.text:
                raise StepError("this page shows another sentence than the recorder. Reload it.")
            take = decode(wav, max_seconds=self._limits.max_take_seconds)
            pending = Pending(self._clip_name(), text, bool(self._sentence.replaces))
            self._desk.put(pending, wav)
            self._review = self._look_at(pending, take)

    def _clip_name(self) -> str:
        if self._sentence and self._sentence.replaces:
            return self._sentence.replaces
        if self._review:
            return self._review.id
        names = set(folder.audio_of(self._raw)) | {u.id for u in folder.read_utterances(self._raw)}
        notes = self._desk.notes
        notes.last_number = max(notes.last_number, folder.highest_number(self._voice, names)) + 1
        self._desk.save_notes()
        return f"{self._voice}_{notes.last_number:04d}"

    def _look_at(self, pending: Pending, take: Take) -> Review:
        measured = measure(take, self._limits)
        findings = check(measured, take.rate, self._limits)
        usable = all(f.severity is not Severity.REFUSE for f in findings)
        if usable and self._listen:
            findings += self._listen(take, pending.text)
        return Review(pending.id, measured, findings, usable)

    def keep(self) -> None:
        """Make the reviewed take a clip: its audio, then its line. Raises StepError without a take that may be kept."""
        with self._lock:
            pending = self._desk.pending()
            if not pending or not self._review or not self._review.may_be_kept:
                raise StepError("there is no take to keep. Record the sentence first.")
            wav, clip = self._desk.take.read_bytes(), self._raw / "wavs" / f"{pending.id}.wav"
            old = folder.audio_of(self._raw).get(pending.id)
            # the same bytes: a crash came after this step, and it is done again
            before = self._desk.set_aside(old) if old and old.read_bytes() != wav else None
            folder.write_durably(clip, wav)
            if old and old != clip:
                old.unlink()  # two files of one name: preprocess would not know which
            folder.add_line(self._raw, Utterance(pending.id, pending.text))
            self._desk.notes.last_kept = Kept(pending.id, pending.text, before)
            self._finish()

    def _finish(self) -> None:
        self._desk.save_notes()
        self._desk.clear()
        self._review = None
        self._clips = self._read_clips()
        self._sentence = self._choose()

    def skip(self) -> None:
        """Go on to another sentence; this one comes back at the end. A take under review is set aside, not removed."""
        with self._lock:
            if self._sentence is None:
                raise StepError("there is no sentence to skip.")
            if self._review:
                self._desk.set_aside(self._desk.take)
            if not self._sentence.replaces:
                self._pass_over(self._sentence.text)
            self._finish()

    def _pass_over(self, text: str) -> None:
        skipped = self._desk.notes.skipped
        if text not in skipped:
            skipped.append(text)
        if set(self._left()) <= set(skipped):
            skipped[:] = [text]  # the round is over: those skipped earlier come again, this one last

    def redo(self, clip: str) -> None:
        """Read a kept clip's sentence again; the clip stays until the new take is kept. Raises StepError."""
        with self._lock:
            if self._review:
                raise StepError("a take is under review. Keep it or skip it first.")
            found = next((c for c in self._clips if c.id == clip), None)
            if not found:
                raise StepError(f"there is no clip {clip!r}. Reload the page.")
            self._sentence = Sentence(found.text, found.id)

    def undo(self) -> None:
        """Bring the last kept clip back under review, and what it replaced back to its place. Raises StepError."""
        with self._lock:
            last = self._desk.notes.last_kept
            audio = folder.audio_of(self._raw).get(last.id) if last else None
            if not last or not audio or self._review:
                raise StepError("there is nothing to undo.")
            self._desk.put(Pending(last.id, last.text, bool(last.before)), audio.read_bytes())
            if last.before:
                earlier = self._desk.aside(last.before)
                place = audio.with_suffix(earlier.suffix)
                folder.write_durably(place, earlier.read_bytes())
            else:
                folder.drop_line(self._raw, last.id)
                place = None
            if audio != place:
                audio.unlink()
            self._desk.notes.last_kept = None
            self._desk.save_notes()
            self._clips, self._review = self._read_clips(), self._resume()
            self._sentence = self._choose()

    def take_audio(self) -> Path | None:
        """The audio of the take under review."""
        return self._desk.take if self._review else None

    def clip_audio(self, clip: str) -> Path | None:
        """The audio of a clip; None where there is none of that name."""
        return folder.audio_of(self._raw).get(clip)
