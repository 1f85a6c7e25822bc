"""What goes over HTTP."""

from pydantic import BaseModel, Field


class SynthesizeRequest(BaseModel):
    """A text to speak."""

    text: str = Field(description="the words to speak", min_length=1, max_length=4_096)
    language: str | None = Field(None, description="ISO code such as `en`, or `auto`; the voice's own if left out")
    seed: int = Field(0, ge=0, lt=2**63, description="the same seed and text give the same audio")


class SynthesizeResponse(BaseModel):
    """A whole utterance."""

    audio: str = Field(description="base64 of a mono 16-bit WAV file")
    format: str = Field(description="always `wav`")
    sample_rate: int = Field(description="Hz")


class Health(BaseModel):
    """The service's state."""

    status: str = Field(description="`ok` once the voice is loaded")
    voice: str = Field(description="name of the voice that speaks")
    kind: str = Field(description="`finetuned` or `zero_shot`")


class Problem(BaseModel):
    """What is wrong and what to do."""

    message: str


class ErrorResponse(BaseModel):
    """The body of every 4xx and 5xx answer."""

    error: Problem
