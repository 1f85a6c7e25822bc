"""What somebody who comes with a long reference costs those who are speaking.

python -m benchmarks.arrivals --shape 0.6b --seconds 15 60

One voice speaks frame by frame; another is asked for, whose reference is that long. The longest wait for a frame of the
first one, and how long the second one's first chunk takes: with prompts read in stretches, and at once.
"""

import pipelines  # noqa: F401, I001  sets how OpenMP waits, before torch is imported
import argparse
import statistics
import threading
import time

import torch

from benchmarks.engine import NEVER
from benchmarks.shapes import SHAPES, build_model
from voice import checkpoint
from voice.audio import FRAME_RATE
from voice.engine import prompts
from voice.engine.engine import Engine
from voice.engine.linear import Precision
from voice.engine.voices import Voice
from voice.request import Request

TEXT = "A few words to be spoken, and a few more."
BEFORE, AFTER = 6, 4  # frames before somebody comes, and of theirs
AT_ONCE = 10**6  # positions


def clone_of(engine: Engine, seconds: float, seed: int) -> Voice:
    """A voice with a reference of random codes."""
    frames, groups = round(seconds * FRAME_RATE), engine.core.frames.predictor.groups
    generator = torch.Generator().manual_seed(seed)
    width = engine.core.frames.talker.like.shape[1]
    codes = torch.randint(0, 1_000, (frames, groups), generator=generator)
    words = tuple(torch.randint(0, 1_000, (round(3 * seconds),), generator=generator).tolist())
    return Voice("me", embedding=torch.randn(width, generator=generator), words=words, codes=codes)


def arrive(engine: Engine, seconds: float, seed: int) -> tuple[float, float, float]:
    """(median wait for a frame before, the longest one since somebody came, their first chunk), in seconds."""
    core = engine.core
    speaker = Voice("me", embedding=torch.randn(core.frames.talker.like.shape[1]))
    newcomer = core.lay_out(Request(TEXT, "me"), clone_of(engine, seconds, seed), budget=AFTER)  # decoded beforehand
    speaking = engine.scheduler.submit(core.lay_out(Request(TEXT, "me"), speaker, budget=300), ramp=(1,), ahead=None)
    waits, heard = list[float](), threading.Event()

    def listen() -> None:
        last = time.perf_counter()
        for _ in speaking:
            waits.append(time.perf_counter() - last)
            last = time.perf_counter()
            heard.set()

    thread = threading.Thread(target=listen)
    thread.start()
    while len(waits) < BEFORE:
        heard.wait()
        heard.clear()
    came, started = len(waits), time.perf_counter()
    stream = iter(engine.scheduler.submit(newcomer, ramp=(1,)))
    next(stream)
    first = time.perf_counter() - started
    list(stream)
    speaking.cancel()
    thread.join()
    return statistics.median(waits[1:came]), max(waits[came:]), first


def main() -> None:
    """Build, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="reduced")
    parser.add_argument("--precision", type=Precision, default=Precision.float32, choices=list(Precision))
    parser.add_argument("--seconds", nargs="+", type=float, default=[15.0, 60.0])
    options = parser.parse_args()
    device = checkpoint.default_device()
    dtype = torch.float32 if options.precision is Precision.float32 else torch.bfloat16
    tts = build_model(options.shape, device=device, dtype=dtype)
    tts.model.config.talker_config.codec_eos_token_id = NEVER
    print("| reference s | read | a frame before, s | longest wait since, s | first chunk of the newcomer, s |")
    print("|---|---|---|---|---|")
    stretch = prompts.STRETCH[torch.device(device).type]
    ways = {f"{stretch} positions at a time": stretch, "at once": AT_ONCE}
    engine = Engine.of(tts, precision=options.precision)
    arrive(engine, 1.0, 0)
    for seconds in options.seconds:
        for name, positions in ways.items():
            engine.core._prompts._stretch = positions
            rows = [arrive(engine, seconds, seed) for seed in (1, 2)]
            cells = " | ".join(f"{statistics.median(column):.2f}" for column in zip(*rows, strict=True))
            print(f"| {seconds:g} | {name} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
