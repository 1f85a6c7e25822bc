"""Whether the service can speak."""

from enum import StrEnum


class Phase(StrEnum):
    """From its start."""

    LOADING = "loading"
    READY = "ok"
    FAILED = "failed"
