"""What Prometheus reads at /metrics, beside BentoML's own.

BentoML runs prometheus_client over files of all processes (PROMETHEUS_MULTIPROC_DIR), so counters outlive a worker.
"""

import contextlib
import os

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)
_RTF = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0)

requests = Counter("voice_requests_total", "Requests for speech", ["route", "format", "outcome"])
problems = Counter("voice_errors_total", "Refusals and failures by kind", ["code"])
characters = Counter("voice_characters_total", "Characters spoken")
audio_seconds = Counter("voice_audio_seconds_total", "Seconds of speech made")
runaways = Counter("voice_runaways_total", "Utterances that would not have ended by themselves", ["ending"])
restarts = Counter("voice_engine_restarts_total", "Times that the process began after one that crashed")
uploads = Counter("voice_uploads_total", "Uploaded references", ["outcome"])
first_byte_seconds = Histogram("voice_first_byte_seconds", "From request to first byte of sound", buckets=_SECONDS)
first_sound_seconds = Histogram(
    "voice_first_sound_seconds", "From request to the first sample above -46 dBFS, as played", buckets=_SECONDS
)
queue_seconds = Histogram("voice_queue_seconds", "Wait for a place", buckets=_SECONDS)
rtf = Histogram("voice_rtf", "Seconds taken per second of speech, queue left out", buckets=_RTF)
active = Gauge("voice_active_streams", "Requests that are being spoken", multiprocess_mode="livesum")
waiting = Gauge("voice_queue_length", "Requests that wait for a place", multiprocess_mode="livesum")


def bury(pid: int) -> None:
    """Forget the gauges of a worker that was killed."""
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        from prometheus_client import multiprocess

        with contextlib.suppress(OSError):
            multiprocess.mark_process_dead(pid)
