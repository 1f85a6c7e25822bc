"""What goes wrong, as text that a person can act on: what, where, remedy."""


class VoiceError(Exception):
    """Base of what is told to the person; anything else is a bug."""


class ServiceError(VoiceError):
    """What the voice service could not do."""


class PlaybackError(VoiceError):
    """Why there is no sound."""


class RequestError(VoiceError):
    """What was asked for cannot be done as it was asked."""
