"""An encoded voice, its processed clips, and recipes to train it with."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from datasets import Dataset, DatasetDict
from safetensors.numpy import save_file

from pipelines.data.encode import FEATURES, SPEAKER_FILE
from pipelines.model import Model
from pipelines.train.finetune import Finetune, Folders, Result, train_voice
from pipelines.train.listening import Heard, Take
from pipelines.train.live import Recorder, Silent
from pipelines.train.settings import Checkpointing, Listen, Lora, Optimizer, Rates, Schedule, Train
from tests.sounds import speechlike
from voice.audio import write_wav

FULL = Train(
    lora=None,
    rates=Rates(text_embedding=0, text_projection=1, codec_embedding=0, layers=1, codec_head=1, code_predictor=1),
    lr=1e-3, schedule=Schedule.cosine, warmup_share=0.1, optimizer=Optimizer.adamw, weight_decay=0.01, epochs=2,
    batch_size=2, max_positions=4_096, clip_norm=1.0, tag_probability=0.5, predictor_share=1.0,
    gradient_checkpointing=Checkpointing.auto, max_first_loss=6.0, listen=None, checkpoint_every=50, seed=0,
)  # fmt: skip
LORA = replace(
    FULL,
    lora=Lora(rank=4, alpha=4, dropout=0.1, scale=1.0),
    rates=Rates(text_embedding=0, text_projection=0, codec_embedding=0, layers=0, codec_head=0, code_predictor=0),
)
LISTEN = Listen(
    every=None, takes=1, asr="pocketsphinx", asr_model="", speaker="resemblyzer", speaker_model="", confidence=0.95,
    patience=None, forgetting=True,
)  # fmt: skip
CLIPS = 6


def heard(step: int, *sims: float, wer: float = 0.0) -> Heard:
    """A listening to as many sentences as similarities are given."""
    return Heard(step, tuple(take_of(step, f"en_{n}", 0, sim, wer) for n, sim in enumerate(sims)))


def take_of(step: int, sentence: str, take: int, sim: float, wer: float = 0.0) -> Take:
    """One utterance of a listening."""
    return Take(step, sentence, "en", take, "a b", "a b", wer, sim, 1.0, False, 2.0, "x.flac")


@dataclass(frozen=True)
class Voice:
    """A voice in a folder of its own, with a model to train."""

    root: Path
    model: Path

    @property
    def folders(self) -> Folders:
        return Folders(self.root / "codes", self.root / "processed", self.root / "cache")

    def settings(
        self,
        train: Train,
        *,
        name: str = "Me",
        stock: bool = False,
        model: Path | None = None,
        own_history: float = 0.0,
    ) -> Finetune:
        source = str(model or self.model)
        base = Model(source=source, revision=None, stock=stock, lr_scale=1.0, epochs_scale=1, own_history=own_history)
        return Finetune(name, "en", base, train, preflight=False)

    def train(self, train: Train, out: Path, *, recorder: Recorder | None = None, **settings: Any) -> Result:
        config = self.settings(train, **settings)
        return train_voice(config, self.folders, out, accelerator=Accelerator(cpu=True), recorder=recorder or Silent())


def write_codes(folder: Path, *, clips: int = CLIPS, size: int = 64) -> None:
    generator = np.random.default_rng(0)
    rows = [
        {
            "id": f"c{i}",
            "text": f"Clip number {i}.",
            "language": "en",
            "codes": generator.integers(0, 64, (8 + i, 4)).tolist(),
        }
        for i in range(clips)
    ]
    train = max(clips - 2, 1)
    sides = {"train": rows[:train], "eval": rows[train:]}
    DatasetDict({k: Dataset.from_list(v, FEATURES) for k, v in sides.items()}).save_to_disk(folder)
    save_file({"speaker_embedding": generator.standard_normal(size).astype(np.float32)}, folder / SPEAKER_FILE)


def write_processed(folder: Path) -> None:
    (folder / "wavs").mkdir(parents=True)
    names = [f"c{i}" for i in range(CLIPS)]
    for number, name in enumerate(names):
        write_wav(folder / "wavs" / f"{name}.wav", speechlike(1.2, pitch=100.0 + 10 * number))
    for side, chosen in (("train", names[:4]), ("eval", names[4:])):
        (folder / f"metadata_{side}.csv").write_text("".join(f"{n}|Clip number {n[1:]}.\n" for n in chosen))
    write_wav(folder / "reference.wav", speechlike(1.2))
    (folder / "reference.txt").write_text("Words.\n")
