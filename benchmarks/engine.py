"""The engine beside the official package: one run, the same weights, texts and numbers of frames.

python -m benchmarks.engine --shape 0.6b --precision float32 bfloat16 int8 int4 # random weights of the published size
python -m benchmarks.engine --model models/demo/finetuned --streams 1 4        # a checkpoint at hand
python -m benchmarks.engine --shape 1.7b --precision bfloat16 --streams 1 4 16 64 --frames 100 --faster    # on CUDA

They speak in turns, `--rounds` times, and medians are shown, with p95 of the first sound over all utterances: another
job on the machine disturbs all alike. The floor is the time in which a large copy, in the same turns, moves as many
bytes as a frame's weights have. Several streams are one batch to the official package. Parts are timed in a run of
their own, in which the device is waited for after each. For each number of streams the engine has as many slots.
Memory is the peak of the process, or of what is reserved on the card, with one system alone: one precision a run.
"""

import pipelines  # noqa: F401, I001  sets how OpenMP waits, before torch is imported
import argparse
import gc
import math
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from benchmarks.faster import Faster
from benchmarks.shapes import SHAPES, build_model
from voice import checkpoint
from voice.audio import FRAME_SAMPLES, SAMPLE_RATE
from voice.engine.engine import Engine
from voice.engine.linear import FINE, Precision
from voice.engine.voices import Voice
from voice.request import Request
from voice.upstream import Qwen3TTSModel

TEXT = "The quick brown fox jumps over the lazy dog, and then it does so once more."
FRAME_SECONDS = 0.08
POSITIONS = 256  # of a slot, beside the frames: the prompt
AUDIBLE = 0.01  # samples above it can be heard; with random weights all chunks are audible
NEVER = 0x7FFF  # an end that is no code: the real one is suppressed with the other ids, every utterance runs its length
SHARED = {Precision.float32, Precision.bfloat16}  # weights that the others read, too
FOUR_BITS = 0.5 + 2 / FINE  # bytes of a weight and its part of a scale


@dataclass
class Times:
    """One run. Seconds."""

    whole: float
    first_chunk: float
    first_audible: float
    frames: int
    first_frames: int = 1  # of the first chunk

    @property
    def frame(self) -> float:
        """Of the whole utterance, prompt and codec included, each frame."""
        return self.whole / self.frames

    @property
    def later_frame(self) -> float:
        """From the first chunk to the last, each frame."""
        return (self.whole - self.first_chunk) / max(self.frames - self.first_frames, 1)


@dataclass(frozen=True)
class Round:
    """Utterances side by side, and the seconds from the first one's start to the last one's end."""

    times: Sequence[Times]
    elapsed: float


def bytes_a_frame(talker: Any, precision: Precision) -> int:
    """Weights that one frame reads: the talker and all heads once, the predictor's layers once a codebook."""
    size = {Precision.float32: 4, Precision.bfloat16: 2, Precision.int8: 1, Precision.int4: 1}[precision]
    often = FOUR_BITS if precision is Precision.int4 else size

    def numbers(module: Any) -> int:
        return sum(p.numel() for p in module.parameters() if p.ndim > 1)

    predictor = talker.code_predictor
    once = numbers(talker.model.layers) + numbers(talker.codec_head) + numbers(predictor.lm_head)
    return round(size * once + often * numbers(predictor.model.layers) * len(predictor.lm_head))


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


class Memory:
    """The peak of what this process holds, or has reserved on the card (graphs, too), since the last reset. Bytes."""

    def __init__(self, device: str) -> None:
        self._on_cuda = device.startswith("cuda")
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        gc.collect()
        if self._on_cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        else:
            Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets VmHWM

    def peak(self) -> int:
        """So far."""
        if self._on_cuda:
            return torch.cuda.max_memory_reserved()
        [line] = [li for li in Path("/proc/self/status").read_text().splitlines() if li.startswith("VmHWM")]
        return 1024 * int(line.split()[1])


def time_official(tts: Qwen3TTSModel, voice: Voice, frames: int, streams: int) -> Round:
    """All of them in one batch: nothing is heard before it is whole."""
    prompt: dict[str, list[Any]] = {
        "ref_code": [None], "ref_spk_embedding": [voice.embedding], "x_vector_only_mode": [True], "icl_mode": [False]
    }  # fmt: skip
    started = time.perf_counter()
    tts.generate_voice_clone(
        [TEXT] * streams, language=["english"] * streams,
        voice_clone_prompt={name: values * streams for name, values in prompt.items()}, max_new_tokens=frames + 1,
        eos_token_id=NEVER, non_streaming_mode=True,
    )  # fmt: skip
    whole = time.perf_counter() - started
    return Round([Times(whole, whole, whole, frames)] * streams, whole)


def listen(chunks: Iterable[np.ndarray], started: float) -> Times:
    """Times of an utterance whose chunks come one by one; each is whole frames."""
    first, audible, heard, at_first = 0.0, None, 0, 0
    for chunk in chunks:
        since = time.perf_counter() - started
        first, at_first = first or since, at_first or len(chunk)
        if audible is None and len(loud := np.flatnonzero(np.abs(chunk) > AUDIBLE)):
            # played as it comes: after what came before it, or when it is there
            audible = max(since, first + heard / SAMPLE_RATE) + int(loud[0]) / SAMPLE_RATE
        heard += len(chunk)
    whole = time.perf_counter() - started
    return Times(whole, first, audible or whole, heard // FRAME_SAMPLES, at_first // FRAME_SAMPLES)


def time_faster(faster: Faster, voice: Voice, frames: int) -> Round:
    """One utterance."""
    started = time.perf_counter()
    times = listen(faster.stream(TEXT, voice, frames=frames), started)
    return Round([times], times.whole)


def time_engine(engine: Engine, voice: Voice, frames: int, streams: int) -> Round:
    """So many utterances at once; of each when its chunks came."""
    times, begun = list[Times](), time.perf_counter()

    def speak(seed: int) -> None:
        started = time.perf_counter()
        utterance = engine.core.lay_out(Request(TEXT, voice.name, language="en", seed=seed), voice, budget=frames)
        times.append(listen(engine.scheduler.submit(utterance), started))

    threads = [threading.Thread(target=speak, args=(seed,)) for seed in range(streams)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Round(times, time.perf_counter() - begun)


def time_parts(engine: Engine, voice: Voice, frames: int) -> dict[str, float]:
    """Seconds a frame that each part of one utterance takes; the device is waited for after each."""
    core, parts = engine.core, dict[str, float]()
    decode = core.samples

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            started = time.perf_counter()
            result = function(*arguments)
            _wait(str(core.device))
            parts[name] = parts.get(name, 0.0) + time.perf_counter() - started
            return result

        return call

    with ExitStack() as patched:
        for name, part, function in (
            ("draw", "predictor", core.draw),
            ("read", "talker", core.read),
            ("read_prompt", "prompt", core.read_prompt),
            ("samples", "codec", lambda due: list(decode(due))),
        ):
            patched.enter_context(mock.patch.object(core, name, timed(part, function)))
        # whole frames are one graph on CUDA, which cannot be told apart
        patched.enter_context(mock.patch.object(type(core), "runs_whole_frames", property(lambda _: False)))
        [times] = time_engine(engine, voice, frames, 1).times
    spent = {name: seconds / times.frames for name, seconds in parts.items()}
    return {**spent, "host": max(times.frame - sum(spent.values()), 0.0)}


@dataclass
class Turns:
    """What was measured in turns, with one number of streams."""

    streams: int
    copies: list[float] = field(default_factory=list)  # bytes a second
    official: list[Round] = field(default_factory=list)
    faster: list[Round] = field(default_factory=list)
    ours: list[Round] = field(default_factory=list)
    parts: list[dict[str, float]] = field(default_factory=list)


def measure(
    tts: Qwen3TTSModel | None, faster: Faster | None, engine: Engine, voice: Voice, options: argparse.Namespace
) -> Turns:
    """Everything that is there, in turns."""
    turns = Turns(engine.core.slots)
    time_engine(engine, voice, 4, turns.streams)
    if faster:
        time_faster(faster, voice, 4)
    for _ in range(options.rounds):
        turns.copies.append(copy_rate(str(engine.core.device)))
        if tts:
            turns.official.append(time_official(tts, voice, options.frames, turns.streams))
        if faster:
            turns.faster.append(time_faster(faster, voice, options.frames))
        turns.ours.append(time_engine(engine, voice, options.frames, turns.streams))
        if turns.streams == 1:
            turns.parts.append(time_parts(engine, voice, options.frames))
    return turns


def report(turns: Turns, precision: Precision, bytes_read: int) -> None:
    """Rows of one precision and number of streams."""
    floor = bytes_read / statistics.median(turns.copies)
    for system, rounds in (
        ("qwen_tts", turns.official),
        ("faster-qwen3-tts", turns.faster),
        ("engine", turns.ours),
    ):
        if rounds:
            print(_row(system, precision, turns.streams, rounds, floor))
    for name in turns.parts[0] if turns.parts else ():
        spent = statistics.median(parts[name] for parts in turns.parts)
        print(f"|   of which {name} | | | {1e3 * spent:.1f} | | | | | | | | |")


def _row(system: str, precision: Precision, streams: int, rounds: Sequence[Round], floor: float) -> str:
    every = [times for one in rounds for times in one.times]
    frame, first, audible, later, whole = (
        statistics.median(getattr(t, name) for t in every)
        for name in ("frame", "first_chunk", "first_audible", "later_frame", "whole")
    )
    audio = statistics.median(FRAME_SECONDS * sum(t.frames for t in one.times) / one.elapsed for one in rounds)
    cells = [
        *(system, precision, streams, f"{1e3 * frame:.1f}", f"{1e3 * later:.1f}" if later else ""),
        *(f"{first:.3f}", f"{audible:.3f}", f"{_p95([t.first_audible for t in every]):.3f}"),
        *(f"{frame / FRAME_SECONDS:.2f}", f"{frame / floor:.2f}", f"{whole:.2f}", f"{audio:.2f}"),
    ]
    return f"| {' | '.join(map(str, cells))} |"


def _p95(values: Sequence[float]) -> float:
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]


def main() -> None:
    """Build or load, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="reduced")
    parser.add_argument("--model", help="a checkpoint's folder instead of random weights")
    parser.add_argument("--precision", nargs="+", type=Precision, default=[Precision.float32], choices=list(Precision))
    parser.add_argument("--frames", type=int, default=25)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", nargs="+", type=int, default=[1])
    parser.add_argument("--official-streams", type=int, default=64, help="no larger batch for qwen_tts")
    parser.add_argument("--faster", action="store_true", help="faster-qwen3-tts as well, one stream on CUDA")
    parser.add_argument("--faster-chunk", type=int, default=4, help="frames that it gives at a time")
    options = parser.parse_args()
    device = checkpoint.default_device()
    nothing_to_time = 1 not in options.streams or not SHARED & set(options.precision)
    if options.faster and (device == "cpu" or options.model or nothing_to_time):
        parser.error(
            "--faster is for CUDA, random weights, float32 or bfloat16 and one stream (others may stand beside)"
        )
    memory = Memory(device)
    name = torch.cuda.get_device_name() if device != "cpu" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{options.model or options.shape}, {name}, {options.frames} frames, {options.rounds} rounds\n")
    columns = "ms a frame | of later ones | first chunk s | first audible s | its p95 | RTF | x floor | whole s"
    print(f"| who | weights | streams | {columns} | audio s a second |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    notes = [run(options, precision, device, memory) for precision in options.precision]
    print("\n" + "\n".join(notes))


def run(options: argparse.Namespace, precision: Precision, device: str, memory: Memory) -> str:
    """Print the rows of one precision. Returns a line on copies and memory."""
    dtype = torch.float32 if precision is Precision.float32 else torch.bfloat16
    if options.model:
        tts = checkpoint.load(Path(options.model), device=device, dtype=dtype, cloning=True)
    else:
        tts = build_model(options.shape, device=device, dtype=dtype)
    config = tts.model.config.talker_config
    config.codec_eos_token_id = NEVER
    voice = Voice("me", embedding=torch.randn(config.hidden_size, generator=torch.Generator().manual_seed(0)))
    notes, copies = list[str](), list[float]()
    shared = precision in SHARED
    if shared:
        batch = min(max(options.streams), options.official_streams)
        memory.reset()
        time_official(tts, voice, options.frames, batch)
        notes.append(f"{memory.peak() / 1e9:.2f} GB qwen_tts with {batch} streams")
    positions = POSITIONS + options.frames
    faster = Faster(tts, positions=positions, chunk=options.faster_chunk) if options.faster and shared else None
    engine: Engine | None = None
    for streams in sorted(options.streams):
        engine = None  # the one before is gone before the next one takes its memory
        memory.reset()
        engine = Engine.of(tts, slots=streams, positions=positions, precision=precision)
        official = tts if shared and streams <= options.official_streams else None
        turns = measure(official, faster if streams == 1 else None, engine, voice, options)
        report(turns, precision, bytes_a_frame(tts.model.talker, precision))
        copies += turns.copies
    assert engine is not None
    del tts, official, faster
    memory.reset()
    time_engine(engine, voice, options.frames, streams)
    notes.append(f"{memory.peak() / 1e9:.2f} GB the engine with {streams}")
    rates = " ".join(f"{rate / 1e9:.1f}" for rate in copies)
    return f"{precision}: a copy moves {rates} GB/s; at the peak {', '.join(notes)}"


if __name__ == "__main__":
    main()
