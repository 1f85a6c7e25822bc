"""What the service costs: latency and throughput with many clients, and how much of it is the service's own.

    python -m benchmarks.serve                                # `tiny` in this process, over real HTTP on loopback
    python -m benchmarks.serve --pack models/me/pack          # another voice pack
    python -m benchmarks.serve --url http://127.0.0.1:8080    # a service that runs; without the bare engine
    python -m benchmarks.serve --soak 600                     # instead: seconds of mixed traffic, and its memory

Times are taken by the clients. The bare engine's are of the same requests, without HTTP, by as many threads.
"""

import argparse
import contextlib
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import psutil
import uvicorn

from serving import settings as settings_file
from serving.app import create_app
from serving.cast import LocalCast
from serving.desk import Desk
from serving.guard import Guard
from serving.keys import Keys
from serving.library import Library
from serving.phase import Phase
from serving.state import State
from serving.station import Station
from voice import checkpoint
from voice.audio import SAMPLE_RATE
from voice.request import Request

TEXT = "Good morning."
CLIENTS = (1, 4, 16, 64)


@dataclass(frozen=True, slots=True)
class Answer:
    """One utterance, as its client saw it."""

    first_seconds: float
    seconds: float
    audio_seconds: float


def over_http(http: httpx2.Client, seed: int) -> Answer:
    """Ask a service."""
    began, first, size = time.perf_counter(), 0.0, 0
    body = {"input": TEXT, "response_format": "pcm", "seed": seed}
    with http.stream("POST", "/v1/audio/speech", json=body) as response:
        response.raise_for_status()
        for part in response.iter_raw():
            first = first or time.perf_counter() - began
            size += len(part)
    return Answer(first, time.perf_counter() - began, size / 2 / SAMPLE_RATE)


def bare(cast: LocalCast, seed: int) -> Answer:
    """Ask the engine."""
    member = next(iter(cast.members.values()))
    began, first, samples = time.perf_counter(), 0.0, 0
    for chunk in member.tts.stream(Request(TEXT, member.tts.voice, language=member.language, seed=seed)):
        first = first or time.perf_counter() - began
        samples += len(chunk)
    return Answer(first, time.perf_counter() - began, samples / SAMPLE_RATE)


def measure(ask: Callable[[int], Answer], *, clients: int, requests: int) -> str:
    """Have so many clients send so many requests; a line of a table."""
    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        answers = list(pool.map(ask, range(requests)))
    taken = time.perf_counter() - began
    firsts = sorted(1000 * answer.first_seconds for answer in answers)
    wholes = [answer.seconds for answer in answers]
    spoken = sum(answer.audio_seconds for answer in answers)
    p95 = firsts[min(len(firsts) - 1, round(0.95 * len(firsts)))]
    return (
        f"{clients} | {requests} | {statistics.median(firsts):.0f} | {p95:.0f} | {statistics.median(wholes):.2f} | "
        f"{spoken / taken:.2f}"
    )


@contextlib.contextmanager
def service(cast: LocalCast) -> Iterator[str]:
    """Serve a cast on loopback: guard, routes, station, as under BentoML."""
    settings = settings_file.load(requests_per_minute=1_000_000)
    # asyncio turns Nagle's algorithm off only where the socket says that it is TCP: 40 ms of every first byte
    with tempfile.TemporaryDirectory() as folder, socket.socket(proto=socket.IPPROTO_TCP) as listener:
        library = Library(Path(folder) / "voices", most=settings.uploads)
        station = Station(settings, State(Path(folder)), library, lambda pack: cast, own=cast.identity.pack)
        app = create_app()
        app.state.desk = Desk(settings, station)
        guard = Guard(app, settings=settings, keys=Keys({}))
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(guard, log_level="critical"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        station.start()
        thread.start()
        while station.phase is Phase.LOADING or not server.started:
            time.sleep(0.05)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        station.stop()
        server.should_exit = True
        thread.join(30)


def soak(url: str, *, seconds: float, process: psutil.Process, clients: int = 8) -> Iterator[str]:
    """Mixed traffic: each format, clients that leave half way, refusals. Yields the memory as it goes."""
    until, counts, lock = (
        time.monotonic() + seconds,
        {"spoken": 0, "left": 0, "refused": 0, "failed": 0},
        threading.Lock(),
    )

    def traffic(client: int) -> None:
        turn = client
        while time.monotonic() < until:
            turn += 1
            outcome = one_of_many(url, turn)
            with lock:
                counts[outcome] += 1

    threads = [threading.Thread(target=traffic, args=(client,)) for client in range(clients)]
    for thread in threads:
        thread.start()
    step, began = max(1.0, seconds / 10), time.monotonic()
    while any(thread.is_alive() for thread in threads):
        time.sleep(min(step, max(0.1, until - time.monotonic())))
        memory = process.memory_info().rss / 2**20
        yield f"{time.monotonic() - began:.0f} s: {memory:.0f} MB, {process.num_threads()} threads, {counts}"


def one_of_many(url: str, turn: int) -> str:
    """A request of the kind that is due."""
    forms = ("pcm", "wav", "mp3", "flac", "opus", "aac")
    body: dict[str, Any] = {"input": "Hello there.", "response_format": forms[turn % 6], "speed": (1, 1, 1.5)[turn % 3]}
    if turn % 7 == 0:
        body["input"] = "..."
    try:
        with httpx2.stream("POST", f"{url}/v1/audio/speech", json=body, timeout=120) as response:
            if response.status_code != httpx2.codes.OK:
                return "refused" if response.status_code < 500 else "failed"
            parts = response.iter_raw()
            next(parts)
            if turn % 5 == 0:
                return "left"
            for _ in parts:
                pass
            return "spoken"
    except httpx2.HTTPError:
        return "failed"


def tiny_pack(folder: Path) -> Path:
    """A zero-shot pack of `tiny` and a clip of the demo voice."""
    import shutil

    from voice.audio import read_waveform, write_wav
    from voice.pack import REFERENCE_AUDIO, REFERENCE_TEXT, Kind, VoiceCard

    pack = folder / "tiny"
    shutil.copytree(checkpoint.resolve(checkpoint.TINY).path, pack)
    write_wav(pack / REFERENCE_AUDIO, read_waveform(Path("data/raw/demo/wavs/demo_028.flac")))
    (pack / REFERENCE_TEXT).write_text("What is said there.")
    VoiceCard("tiny", Kind.ZERO_SHOT, None, "en", "tiny", "0", "0", "0").write(pack)
    return pack


def report(url: str, cast: LocalCast | None, *, rounds: int) -> None:
    """Print the table: the service, and the bare engine beside it."""
    # one client: each of its own would load certificates first
    http = httpx2.Client(base_url=url, timeout=600, limits=httpx2.Limits(max_connections=max(CLIENTS)))
    print("| what | clients | requests | first byte ms, median | p95 | whole s, median | s of speech a second |")
    print("|---|---|---|---|---|---|---|")
    for clients in CLIENTS:
        requests = max(8, rounds * clients)
        if cast is not None:
            print("| engine |", measure(partial(bare, cast), clients=clients, requests=requests), "|", flush=True)
        print("| service |", measure(partial(over_http, http), clients=clients, requests=requests), "|", flush=True)


def main() -> None:
    """Measure or soak."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve")
    parser.add_argument("--pack", type=Path, help="folder of a voice pack; `tiny` if left out")
    parser.add_argument("--url", help="a service that runs")
    parser.add_argument("--rounds", type=int, default=2, help="requests of each client")
    parser.add_argument("--soak", type=float, help="seconds of mixed traffic")
    arguments = parser.parse_args()
    if arguments.url:
        report(arguments.url, None, rounds=arguments.rounds)
        return
    with tempfile.TemporaryDirectory() as folder:
        cast = LocalCast(arguments.pack or tiny_pack(Path(folder)), pack="benchmark")
        with service(cast) as url:
            if arguments.soak:
                for line in soak(url, seconds=arguments.soak, process=psutil.Process()):
                    print(line, flush=True)
                return
            report(url, cast, rounds=arguments.rounds)


if __name__ == "__main__":
    main()
