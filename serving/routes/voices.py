"""Who can speak, and voices made from a recording."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, File, Form, Path, Request, UploadFile

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
        UploadFile,
        File(description="WAV, MP3, M4A or FLAC up to 10 MB; 6 to 60 s, best 10 to 30; 24 kHz or more; one speaker"),
    ],
    ref_text: Annotated[
        str, Form(description="the words that are said in it, up to 2,000 characters", max_length=2_000)
    ],
    consent: Annotated[str, Form(description=f"this sentence: {CONSENT}", max_length=500)],
    name: Annotated[str, Form(description="for people, up to 100 characters", min_length=1, max_length=100)],
) -> UploadedVoice:
    """Make a voice from a recording (zero-shot). It is kept until it is deleted."""
    content = await audio_sample.read()
    try:
        made = await _imitate(desk_of(http), Upload(content, ref_text, consent, name, caller(http).name))
    except Problem as problem:
        metrics.uploads.labels(problem.code).inc()
        raise
    metrics.uploads.labels("done").inc()
    return made


@dataclass(frozen=True, slots=True)
class Upload:
    """What was sent, and by whom."""

    content: bytes
    text: str
    consent: str
    name: str
    caller: str


async def _imitate(desk: Desk, upload: Upload) -> UploadedVoice:
    if not is_consent(upload.consent):
        message = f"nothing is imitated without consent. Send `consent` as: {CONSENT}"
        raise Problem(400, message, "no_consent", param="consent")
    try:
        text, name = sayable(upload.text).strip(), sayable(upload.name).strip()
    except ValueError as error:
        raise Problem(400, f"`ref_text` and `name` are needed as words: one {error}.", "no_words") from None
    cast = desk.station.cast
    recording = await desk.chore(lambda: reference.read(upload.content, desk.settings))
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
