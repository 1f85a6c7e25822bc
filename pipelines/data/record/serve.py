"""Serving on this machine only."""

import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI

from voice.errors import InputError

HOST = "127.0.0.1"  # never another: whoever reaches the page can record and hear


@contextlib.contextmanager
def listen_on(port: int) -> Iterator[socket.socket]:
    """A socket that only this machine reaches; port 0 takes any. Raises InputError where the port is taken."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # or a restart waits for old connections
        try:
            listener.bind((HOST, port))
            listener.listen()
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"port {port} cannot be used ({reason}). Choose another one: PORT={port + 1}.") from error
        yield listener


def server_of(app: FastAPI) -> uvicorn.Server:
    """A server that does not wait for open pages when it is told to stop."""
    return uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))


def serve(app: FastAPI, listener: socket.socket) -> None:
    """Serve until Ctrl+C."""
    with contextlib.suppress(KeyboardInterrupt):
        server_of(app).run(sockets=[listener])
