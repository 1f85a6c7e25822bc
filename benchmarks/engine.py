"""The engine beside the official package: one run, the same weights, texts and numbers of frames.

python -m benchmarks.engine --shape 0.6b --precision float32 bfloat16 int8     # random weights of the published size
python -m benchmarks.engine --model models/demo/finetuned --streams 1 4        # a checkpoint at hand
python -m benchmarks.engine --shape 1.7b --streams 1 4 16 64                   # for a CUDA device

The two speak in turns, `--rounds` times, and medians are shown: another job on the machine disturbs both alike. The
floor is the time in which a large copy moves as many bytes as a frame's weights have.
"""

import pipelines  # noqa: F401, I001  sets how OpenMP waits, before torch is imported
import argparse
import resource
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.shapes import SHAPES, build_model
from voice import checkpoint
from voice.engine.engine import Engine
from voice.engine.linear import Precision
from voice.engine.voices import Voice
from voice.request import Request
from voice.upstream import Qwen3TTSModel

TEXT = "The quick brown fox jumps over the lazy dog, and then it does so once more."
FRAME_SECONDS = 0.08
AUDIBLE = 0.01  # samples above it can be heard; with random weights all chunks are audible
NEVER = 0x7FFF  # an end that is no code: the real one is suppressed with the other ids, every utterance runs its length


@dataclass
class Times:
    """One run. Seconds."""

    whole: float
    first_chunk: float
    first_audible: float
    frames: int
    parts: dict[str, float] = field(default_factory=dict)  # of all frames

    @property
    def frame(self) -> float:
        """Of the whole utterance, prompt and codec included, each frame."""
        return self.whole / self.frames

    @property
    def later_frame(self) -> float:
        """From the first chunk to the last, each frame."""
        return (self.whole - self.first_chunk) / max(self.frames - 1, 1)


def bytes_a_frame(talker: Any, precision: Precision) -> int:
    """Weights that one frame reads: the talker and all heads once, the predictor's layers once a codebook."""
    size = {Precision.float32: 4, Precision.bfloat16: 2, Precision.int8: 1}[precision]

    def numbers(module: Any) -> int:
        return sum(p.numel() for p in module.parameters() if p.ndim > 1)

    predictor = talker.code_predictor
    passes = numbers(predictor.model.layers) * (len(predictor.lm_head))
    return size * (numbers(talker.model.layers) + numbers(talker.codec_head) + passes + numbers(predictor.lm_head))


def copy_rate(device: str) -> float:
    """Bytes a second that a large copy moves, read and written."""
    source = torch.ones(2**28, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)

    def once() -> float:
        started = time.perf_counter()
        for _ in range(4):
            target.copy_(source)
        _wait(device)
        return time.perf_counter() - started

    return 4 * 2 * len(source) / min(once() for _ in range(4))


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def time_official(tts: Qwen3TTSModel, prompt: Any, frames: int) -> Times:
    """The whole utterance: nothing is heard before."""
    started = time.perf_counter()
    tts.generate_voice_clone(
        TEXT, language="english", voice_clone_prompt=prompt, max_new_tokens=frames + 1, eos_token_id=NEVER,
        non_streaming_mode=True,
    )  # fmt: skip
    whole = time.perf_counter() - started
    return Times(whole, whole, whole, frames)


def timed(parts: dict[str, float], name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that adds its time to a part."""

    def call(*arguments: Any, **options: Any) -> Any:
        started = time.perf_counter()
        try:
            return function(*arguments, **options)
        finally:
            parts[name] = parts.get(name, 0.0) + time.perf_counter() - started

    return call


def time_engine(engine: Engine, voice: Voice, frames: int, streams: int) -> list[Times]:
    """So many utterances at once; of each when its chunks came."""
    core, parts = engine.core, dict[str, float]()
    originals = (core.frame, core.draw, core.read, core.samples)
    decode = core.samples
    core.frame = timed(parts, "whole frames", core.frame)  # type: ignore[method-assign]
    core.draw = timed(parts, "predictor", core.draw)  # type: ignore[method-assign]
    core.read = timed(parts, "talker", core.read)  # type: ignore[method-assign]
    core.samples = timed(parts, "codec", lambda due: list(decode(due)))  # type: ignore[method-assign]
    times: list[Times] = []

    def listen(seed: int) -> None:
        utterance = core.lay_out(Request(TEXT, voice.name, language="en", seed=seed), voice, budget=frames)
        started = time.perf_counter()
        first = audible = 0.0
        for chunk in engine.scheduler.submit(utterance):
            first = first or time.perf_counter() - started
            if not audible and abs(chunk).max() > AUDIBLE:
                audible = time.perf_counter() - started
        times.append(Times(time.perf_counter() - started, first, audible or first, frames))

    threads = [threading.Thread(target=listen, args=(seed,)) for seed in range(streams)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    core.frame, core.draw, core.read, core.samples = originals  # type: ignore[method-assign]
    times[0].parts = {name: spent / frames for name, spent in parts.items()}
    return times


def compare(
    tts: Qwen3TTSModel, engine: Engine, options: argparse.Namespace, precision: Precision, floor: float
) -> None:
    """Print a table of one precision."""
    width = tts.model.config.talker_config.hidden_size
    voice = Voice("me", embedding=torch.randn(width, generator=torch.Generator().manual_seed(0)))
    prompt = {
        "ref_code": [None], "ref_spk_embedding": [voice.embedding], "x_vector_only_mode": [True], "icl_mode": [False]
    }  # fmt: skip
    time_engine(engine, voice, 4, 1)
    official: list[Times] = []
    ours: list[Times] = []
    for _ in range(options.rounds):
        if precision is not Precision.int8:
            official.append(time_official(tts, prompt, options.frames))
        ours += time_engine(engine, voice, options.frames, 1)
    if official:
        whole = statistics.median(t.whole for t in official)
        print(_row("qwen_tts", precision, Times(whole, whole, whole, options.frames), floor))
    names = ("whole", "first_chunk", "first_audible")
    whole, first, audible = (statistics.median(getattr(t, name) for t in ours) for name in names)
    median = Times(whole, first, audible, options.frames)
    print(_row("engine", precision, median, floor))
    parts = {name: statistics.median(t.parts[name] for t in ours) for name in ours[0].parts}
    for name, spent in {**parts, "prompt and host": max(median.frame - sum(parts.values()), 0.0)}.items():
        print(f"|   of which {name} | | | {1e3 * spent:.1f} | | | | | | |")
    for streams in options.streams:
        if streams > 1:
            started = time.perf_counter()
            times = time_engine(engine, voice, options.frames, streams)
            elapsed = time.perf_counter() - started
            audio = streams * options.frames * FRAME_SECONDS / elapsed
            first = sorted(t.first_audible for t in times)[int(0.95 * (streams - 1))]
            print(
                f"| engine, {audio:.2f} s of audio a second | {precision} | {streams} | | | | {first:.3f} (p95) | | | |"
            )


def _row(who: str, precision: Precision, times: Times, floor: float) -> str:
    later = f"{1e3 * times.later_frame:.1f}" if times.first_chunk < times.whole else ""
    frame, first = times.frame, f"{times.first_chunk:.3f} | {times.first_audible:.3f}"
    ratios = f"{frame / FRAME_SECONDS:.2f} | {frame / floor:.2f}"
    return f"| {who} | {precision} | 1 | {1e3 * frame:.1f} | {later} | {first} | {ratios} | {times.whole:.2f} |"


def main() -> None:
    """Build or load, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="reduced")
    parser.add_argument("--model", help="a checkpoint's folder instead of random weights")
    parser.add_argument("--precision", nargs="+", type=Precision, default=[Precision.float32], choices=list(Precision))
    parser.add_argument("--frames", type=int, default=25)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", nargs="+", type=int, default=[1])
    options = parser.parse_args()
    device = checkpoint.default_device()
    rate = copy_rate(device)
    name = torch.cuda.get_device_name() if device != "cpu" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{options.model or options.shape}, {name}, {options.frames} frames, a copy moves {rate / 1e9:.1f} GB/s\n")
    columns = "ms a frame | of later ones | first chunk s | first audible s | RTF | x floor | whole s"
    print(f"| who | weights | streams | {columns} |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for precision in options.precision:
        dtype = torch.float32 if precision is Precision.float32 else torch.bfloat16
        if options.model:
            tts = checkpoint.load(Path(options.model), device=device, dtype=dtype, cloning=True)
        else:
            tts = build_model(options.shape, device=device, dtype=dtype)
        tts.model.config.talker_config.codec_eos_token_id = NEVER
        floor = bytes_a_frame(tts.model.talker, precision) / rate
        engine = Engine.of(tts, slots=max(options.streams), positions=512, precision=precision)
        compare(tts, engine, options, precision, floor)
        del tts, engine
    peak = (
        torch.cuda.max_memory_allocated()
        if device != "cpu"
        else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    )
    print(f"\npeak memory {peak / 1e9:.2f} GB, both at once")


if __name__ == "__main__":
    main()
