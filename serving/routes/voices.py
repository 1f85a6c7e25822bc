"""Who can speak, and voices made from recordings."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, File, Form, Path, Request, UploadFile
from pydantic import StringConstraints

from serving import metrics
from serving.cast import Member
from serving.desk import Desk, caller, desk_of
from serving.library import CONSENT, is_consent
from serving.problems import Problem
from serving.schema import DeletedVoice, UploadedVoice, VoiceInfo, VoiceList, errors, sayable
from serving.uploads import reference
from voice.errors import InputError

router = APIRouter(prefix="/v1/audio/voices", tags=["voices"])

_REFUSALS = errors(401, 403, 503)
_CHANGES = errors(400, 401, 403, 408, 409, 413, 422, 429, 503)
_MOST_WORDS = 2_000  # characters


def describe(member: Member) -> VoiceInfo:
    """A voice, over HTTP."""
    return VoiceInfo(
        voice_id=member.id,
        name=member.name,
        kind=member.kind,  # type: ignore[arg-type]
        language=member.language,
        takes_instructions=member.takes_instructions,
    )


@router.get("", responses=_REFUSALS)
async def voices(http: Request) -> VoiceList:
    """List the voices: the packaged one first, then stock voices of its checkpoint and uploaded ones."""
    return VoiceList(voices=[describe(member) for member in desk_of(http).station.cast.members.values()])


@router.post("", responses=_CHANGES, status_code=201)
async def upload(
    http: Request,
    audio_sample: Annotated[
        list[UploadFile],
        File(
            description="WAV, MP3, M4A or FLAC, one or several of the same speaker, which are heard in their order and "
            "equally loud; in all up to 10 MB and 6 to 60 s, best 10 to 30, each of several 3 s or more; 24 kHz or "
            "more",
            min_length=1,
        ),
    ],
    ref_text: Annotated[
        list[Annotated[str, StringConstraints(max_length=_MOST_WORDS)]],
        Form(
            description="the words that are said in each recording, in the same order; in all up to 2,000 characters",
            min_length=1,
        ),
    ],
    consent: Annotated[str, Form(description=f"this sentence: {CONSENT}", max_length=500)],
    name: Annotated[str, Form(description="for people, up to 100 characters", min_length=1, max_length=100)],
) -> UploadedVoice:
    """Make a voice from recordings (zero-shot). It is kept until it is deleted."""
    contents = [await sample.read() for sample in audio_sample]
    try:
        made = await _imitate(desk_of(http), Upload(contents, ref_text, consent, name, caller(http).name))
    except Problem as problem:
        metrics.uploads.labels(problem.code).inc()
        raise
    metrics.uploads.labels("done").inc()
    return made


@dataclass(frozen=True, slots=True)
class Upload:
    """What was sent, and by whom."""

    contents: list[bytes]
    texts: list[str]  # what is said in each
    consent: str
    name: str
    caller: str

    @property
    def words(self) -> str:
        """What is said in all of them. Raises Problem 400 where it does not fit to them."""
        recordings, texts = len(self.contents), len(self.texts)
        if texts != recordings:
            message = f"there are {recordings} `audio_sample` and {texts} `ref_text`. Send one text for each, in order."
            raise Problem(400, message, "texts_and_recordings_differ", param="ref_text")
        words = " ".join(_sayable(text, "ref_text") for text in self.texts)
        if len(words) > _MOST_WORDS:
            message = f"`ref_text` takes {len(words):,} characters in all, {_MOST_WORDS:,} are the most. Send less."
            raise Problem(400, message, "too_many_words", param="ref_text")
        return words


def _sayable(text: str, param: str) -> str:
    try:
        return sayable(text).strip()
    except ValueError as error:
        raise Problem(400, f"`{param}` is needed as words: it {error}.", "no_words", param=param) from None


async def _imitate(desk: Desk, upload: Upload) -> UploadedVoice:
    if not is_consent(upload.consent):
        message = f"nothing is imitated without consent. Send `consent` as: {CONSENT}"
        raise Problem(400, message, "no_consent", param="consent")
    text, name = upload.words, _sayable(upload.name, "name")
    cast = desk.station.cast
    recording = await desk.chore(lambda: reference.read(upload.contents, desk.settings))
    try:
        voice_id = await desk.chore(
            lambda: desk.station.library.add(cast, name, recording.waveform, text, caller=upload.caller)
        )
    except InputError as error:
        raise Problem(400, str(error), "cannot_imitate") from error
    made = describe(cast.members[voice_id])
    return UploadedVoice(**made.model_dump(), warnings=recording.warnings)


@router.delete("/{voice_id}", responses={**_CHANGES, **errors(404)})
async def delete(http: Request, voice_id: Annotated[str, Path(description="id of an uploaded voice")]) -> DeletedVoice:
    """Delete an uploaded voice and its recording. Who is speaking as it finishes."""
    desk = desk_of(http)
    await desk.chore(lambda: desk.station.library.remove(desk.station.cast, voice_id))
    return DeletedVoice(voice_id=voice_id, deleted=True)
