"""Processes that work for a stage: they leave Ctrl-C to it and do not outlive it."""

import os
import signal
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from multiprocessing.forkserver import ensure_running


def workers(count: int) -> ProcessPoolExecutor:
    """A pool of so many processes. What they run must be importable: not from a `__main__.py`."""
    # a fork server: the stage may have loaded torch, whose threads do not survive a fork
    context = get_context("forkserver")
    context.set_forkserver_preload(_ours())
    # as long as it imports, it does not leave Ctrl-C to the stage by itself
    allowed = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, allowed)
    return ProcessPoolExecutor(count, mp_context=context, initializer=_serve)


def _ours() -> list[str]:
    # what the stage has imported takes seconds: the server does so once, for all pools, not each process for itself
    stage = sys.modules["__main__"].__spec__  # but the stage itself, which `runpy` will not find imported already
    names = [name for name in sys.modules if name.split(".")[0] in ("pipelines", "voice")]
    return [name for name in names if stage is None or name != stage.name]


def _serve() -> None:
    # Ctrl-C reaches every process of a terminal: it is for the stage to decide what follows
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_the_stage, daemon=True).start()


def _leave_with_the_stage() -> None:
    # a pool whose owner was killed waits for work for ever: its processes hold the pipe open for each other
    if stage := parent_process():
        stage.join()
        os._exit(1)
