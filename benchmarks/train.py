"""Our training step beside upstream's: the same clips, the same number of clips an update, one process each, in turns.

python -m benchmarks.train                      # the reduced shape; minutes on a CPU
python -m benchmarks.train --only "upstream, bf16, 8 clips" "ours, full"
python -m benchmarks.train --shape 0.6b         # published size, random weights: for a CUDA device
python -m benchmarks.train --shape 0.6b --budgets  # what it would need there; computed on a CPU
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from benchmarks.shapes import CODE_GROUPS, CODEBOOK_SIZE, SHAPES, build_talker
from benchmarks.upstream import UpstreamTrainer
from pipelines.train.budget import (
    Budget,
    available_memory,
    compute_budget,
    enable_checkpointing,
    listening_bytes,
    measure_activations,
)
from pipelines.train.dataset import Example
from pipelines.train.lora import add_adapters
from pipelines.train.parts import set_trainable
from pipelines.train.settings import Checkpointing, Lora, Optimizer, Rates, Schedule, Train
from pipelines.train.trainer import Material, Trainer
from voice.prompt import Slot, Vocabulary

BATCH, CLIPS, WARM_UP = 8, 128, 3
FULL = Train(
    lora=None,
    rates=Rates(text_embedding=0, text_projection=1, codec_embedding=0, layers=1, codec_head=1, code_predictor=0.1),
    lr=2e-6, schedule=Schedule.cosine, warmup_share=0.1, optimizer=Optimizer.adamw, weight_decay=0.01, epochs=1_000,
    batch_size=BATCH, max_positions=4_096, clip_norm=1.0, tag_probability=0.5, predictor_share=0.25,
    gradient_checkpointing=Checkpointing.never, max_first_loss=None, listen=None, checkpoint_every=1_000, seed=0,
)  # fmt: skip
LORA = replace(
    FULL,
    lora=Lora(rank=32, alpha=32, dropout=0.05, scale=1.0),
    rates=Rates(text_embedding=0, text_projection=0, codec_embedding=0, layers=0, codec_head=0, code_predictor=0),
)
OURS = {
    "ours, full": FULL,
    "ours, full, all of the predictor's frames": replace(FULL, predictor_share=1.0),
    "ours, full, predictor frozen": replace(FULL, rates=replace(FULL.rates, code_predictor=0)),
    "ours, full, checkpointing": replace(FULL, gradient_checkpointing=Checkpointing.always),
    "ours, full, 8-bit, checkpointing": replace(
        FULL, gradient_checkpointing=Checkpointing.always, optimizer=Optimizer.adamw_8bit
    ),
    "ours, LoRA": LORA,
    "ours, LoRA, checkpointing": replace(LORA, gradient_checkpointing=Checkpointing.always),
}
UPSTREAM = {  # dtype, clips of a forward pass
    "upstream, bf16, 8 clips": (torch.bfloat16, BATCH),
    "upstream, bf16, 4 x 2 clips (its defaults)": (torch.bfloat16, 2),
    "upstream, float32, 8 clips": (torch.float32, BATCH),
}


def clips() -> list[Example]:
    """Clips of the lengths that people record: 1.5 to 12 s, half of them under 4 s."""
    generator = np.random.default_rng(0)
    seconds = np.clip(generator.lognormal(np.log(4.0), 0.5, CLIPS), 1.5, 12.0)
    return [
        Example(
            str(i), [1, 2, 3], generator.integers(4, 1_000, round(4 * length)).tolist(), "english",
            torch.from_numpy(generator.integers(0, CODEBOOK_SIZE, (round(12.5 * length), CODE_GROUPS))),
        )
        for i, length in enumerate(seconds)
    ]  # fmt: skip


def vocabulary(config: Any) -> Vocabulary:
    """The control ids of a talker's config."""
    rows = (Slot.THINK, Slot.NOTHINK, Slot.THINK_BOS, Slot.THINK_EOS, Slot.PAD, Slot.BOS)
    ids: dict[Slot, int] = {slot: getattr(config, f"codec_{slot}_id") for slot in rows}
    return Vocabulary(5, 6, 7, config.codec_eos_token_id, ids, config.codec_language_id, CODE_GROUPS)


def trainer_and_budget(shape: str, train: Train, device: str, *, as_cuda: bool) -> tuple[Trainer, Budget]:
    """A trainer of ours, and what it needs: with `as_cuda` what a CUDA device would need, bf16 autocast included."""
    accelerator = Accelerator(mixed_precision="bf16" if device == "cuda" else "no", cpu=device == "cpu")
    talker = build_talker(shape, device=device, dtype=torch.float32)
    if train.lora:
        add_adapters(talker, train.lora)
    set_trainable(talker, train.rates, train.lora, frozen_dtype=torch.bfloat16 if as_cuda else torch.float32)
    speaker = torch.zeros(talker.config.hidden_size)
    material = Material(clips(), clips()[:1], vocabulary(talker.config), speaker)
    trainer = Trainer(talker, material, train, accelerator)
    small, large = (probe.to(accelerator.device) for probe in trainer.probes())
    kept, checkpointed = measure_activations(
        trainer.objective,
        (small, large),
        positions=trainer.largest_forward(),
        autocast=partial(torch.autocast, device, torch.bfloat16, enabled=as_cuda),
    )
    on = train.gradient_checkpointing is Checkpointing.always
    if on:
        enable_checkpointing(talker)
    available = available_memory(accelerator.device, held=0.0)
    activations = checkpointed if on else kept
    listening = listening_bytes(talker, torch.device("cuda")) if as_cuda and device == "cpu" else 0.0  # none is timed
    needs = compute_budget(talker, train, activations=activations, listening=listening, others=0.0, available=available)
    return trainer, needs


def ours(shape: str, train: Train, device: str) -> tuple[Callable[[], int], float]:
    """An update of ours, which returns its clips' positions, and the bytes that the budget expects."""
    trainer, budget = trainer_and_budget(shape, train, device, as_cuda=device == "cuda")
    lengths = [e.positions for e in clips()]

    def run() -> int:
        epoch, position = divmod(trainer.step, trainer.per_epoch)
        chosen = trainer.draws(epoch)[position]
        trainer.update()
        return sum(lengths[d.index] for d in chosen)

    return run, budget.total


def upstream(shape: str, dtype: torch.dtype, micro: int, device: str) -> tuple[Callable[[], int], float]:
    """An update of upstream's over the same number of clips, in random order."""
    material = clips()
    trainer = UpstreamTrainer(build_talker(shape, device=device, dtype=dtype), device=device)
    generator = np.random.default_rng(0)
    order: list[int] = []

    def run() -> int:
        if len(order) < BATCH:
            order[:] = generator.permutation(CLIPS).tolist()
        chosen = [material[order.pop()] for _ in range(BATCH)]
        trainer.update([chosen[at : at + micro] for at in range(0, BATCH, micro)])
        return sum(clip.positions for clip in chosen)

    return run, float("nan")


def measure(case: str, shape: str, steps: int) -> dict[str, float]:
    """Time one case in this process: updates and positions a second, peak memory, the budget."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if case in OURS:
        run, budget = ours(shape, OURS[case], device)
    else:
        run, budget = upstream(shape, *UPSTREAM[case], device)
    for _ in range(WARM_UP):
        run()
    seconds, positions = [], []
    for _ in range(steps):
        started = time.perf_counter()
        positions.append(run())
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1_024
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else resident
    return {
        "updates": 1 / statistics.median(seconds), "positions": sum(positions) / sum(seconds),
        "peak": peak / 1e9, "budget": budget / 1e9,
    }  # fmt: skip


def main() -> None:
    """Measure every case in a process of its own, in turns, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="reduced")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=[*UPSTREAM, *OURS], help="these cases, by name; all if left out")
    parser.add_argument("--case", help="one case only, in this process; prints JSON")
    parser.add_argument("--budgets", action="store_true", help="only what each case would need on a CUDA device")
    options = parser.parse_args()
    if options.budgets and options.case:
        _, needed = trainer_and_budget(options.shape, OURS[options.case], "cpu", as_cuda=True)
        print(f"{options.shape}, {options.case}: {str(needed).replace(' of ', ', free here ')}")
        return
    if options.budgets:
        for case in OURS:  # a process each: the next one starts with all the memory
            subprocess.run([sys.executable, "-m", "benchmarks.train", *sys.argv[1:], "--case", case], check=False)
        return
    if options.case:
        print(json.dumps(measure(options.case, options.shape, options.steps)))
        return
    found: dict[str, list[dict[str, float]]] = {case: [] for case in options.only or [*UPSTREAM, *OURS]}
    for _ in range(options.rounds):
        for case in found:
            command = [sys.executable, "-m", "benchmarks.train", "--case", case, "--shape", options.shape]
            result = subprocess.run(
                [*command, "--steps", str(options.steps)], capture_output=True, text=True, check=False
            )
            if result.returncode:
                print(f"{case}: {result.stderr.strip().splitlines()[-1]}", file=sys.stderr)
                continue
            found[case].append(json.loads(result.stdout.splitlines()[-1]))
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    print(f"{options.shape}, {device}, {BATCH} clips an update\n")
    print("| step | updates/s | positions/s | peak GB | budget GB | against the first |\n|---|---|---|---|---|---|")
    reference = statistics.median(f["updates"] for f in next(iter(found.values())))
    for case, figures in found.items():
        if figures:
            updates, positions, peak, budget = (statistics.median(f[k] for f in figures) for k in figures[0])
            print(
                f"| {case} | {updates:.2f} | {positions:.0f} | {peak:.2f} | {budget:.2f} | {updates / reference:.2f} |"
            )


if __name__ == "__main__":
    main()
