"""Processes that work for a stage: they leave Ctrl-C to it and do not outlive it."""

import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process


def workers(count: int) -> ProcessPoolExecutor:
    """A pool of so many processes. What they run must be importable, each imports it anew: not from a `__main__.py`."""
    # a fork server: the stage may have loaded torch, whose threads do not survive a fork
    return ProcessPoolExecutor(count, mp_context=get_context("forkserver"), initializer=_serve)


def _serve() -> None:
    # Ctrl-C reaches every process of a terminal: it is for the stage to decide what follows
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_the_stage, daemon=True).start()


def _leave_with_the_stage() -> None:
    # a pool whose owner was killed waits for work for ever: its processes hold the pipe open for each other
    if stage := parent_process():
        stage.join()
        os._exit(1)
