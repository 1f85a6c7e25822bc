"""finetune: codes -> a checkpoint that speaks as the voice, by full fine-tuning or LoRA.

python -m pipelines.train.finetune voice=demo model=tiny train=lora train.lr=1e-5
"""

import hashlib
import json
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from datasets import load_from_disk
from safetensors.torch import load_file
from torch import Tensor, nn
from tqdm import tqdm
from transformers import get_cosine_schedule_with_warmup

from pipelines.data.encode import SPEAKER_FILE
from pipelines.model import Model
from pipelines.train.dataset import Batch, Example, epoch, read_examples
from pipelines.train.export import export, speaker_name
from pipelines.train.lora import Lora, add_adapters, merge_adapters
from pipelines.train.loss import Losses, Objective
from pipelines.train.prompt import Vocabulary
from voice import checkpoint
from voice.bounds import within
from voice.errors import InputError
from voice.pack import Kind, Reference, VoiceCard
from voice.publish import publish
from voice.stage import output_root, stage
from voice.table import write_records

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Train:  # conf/train/
    """How a voice is trained."""

    lora: Lora | None  # null tunes all weights
    lr: float = within(above=0)
    weight_decay: float = within(low=0)
    epochs: int = within(low=1)
    batch_size: int = within(low=1)
    warmup_share: float = within(low=0, high=1)
    clip_norm: float = within(above=0)
    tag_probability: float = within(low=0, high=1)
    train_code_predictor: bool
    gradient_checkpointing: bool
    max_first_loss: float | None  # checked on stock bases only
    seed: int


@dataclass
class Finetune:  # conf/finetune.yaml
    """Settings of the stage."""

    voice: str
    language: str
    model: Model
    train: Train


@dataclass(frozen=True, slots=True)
class Step:
    """One line of training.csv; losses are means in nats, validation lines have no rate and norm."""

    side: str
    epoch: int
    step: int
    loss: float
    talker_loss: float
    predictor_loss: float
    lr: float = math.nan
    gradient_norm: float = math.nan


def trainable_parameters(talker: Any, train: Train) -> list[nn.Parameter]:
    """Choose what moves and freeze the rest. The text embedding never does: a voice's few words would only tear holes.

    (Qwen's own tuned voices moved it by 0.01 % where other parts moved by percents; research by FelysNeko.)
    """
    talker.model.text_embedding.requires_grad_(False)
    talker.code_predictor.requires_grad_(train.train_code_predictor)
    return [p for p in talker.parameters() if p.requires_grad]


def validate(objective: nn.Module, batches: Sequence[Batch]) -> Losses:
    """Losses over the held-out clips, each target weighing the same."""
    objective.eval()
    talker, predictor, ends, frames = 0.0, 0.0, 0, 0
    with torch.no_grad():
        for batch in batches:
            losses: Losses = objective(batch)
            n = int(batch.frame_mask.sum())
            e = n + len(batch.codes)
            talker, ends = talker + losses.talker.item() * e, ends + e
            predictor, frames = predictor + losses.predictor.item() * n, frames + n
    objective.train()
    return Losses(torch.tensor(talker / ends), torch.tensor(predictor / frames))


def fit(
    objective: Objective,
    parameters: list[nn.Parameter],
    train_side: Sequence[Example],
    held_out: Sequence[Example],
    vocabulary: Vocabulary,
    speaker_embedding: Tensor,
    train: Train,
    accelerator: Accelerator,
) -> Iterator[Step]:
    """Train in place and yield what happened. Raises InputError if the first or any later loss is not plausible."""
    generator = torch.Generator().manual_seed(train.seed)
    optimizer = torch.optim.AdamW(parameters, lr=train.lr, weight_decay=train.weight_decay)
    steps = train.epochs * math.ceil(len(train_side) / train.batch_size)
    schedule = get_cosine_schedule_with_warmup(optimizer, round(train.warmup_share * steps), steps)
    wrapped, optimizer = accelerator.prepare(objective, optimizer)
    wrapped.train()
    batches = partial(
        epoch,
        vocabulary=vocabulary,
        speaker_embedding=speaker_embedding,
        batch_size=train.batch_size,
    )
    fixed = batches(held_out, tag_probability=0.0, generator=torch.Generator().manual_seed(0))
    validation = [batch.to(accelerator.device) for batch in fixed]
    yield _step("eval", 0, 0, validate(wrapped, validation))
    step = 0
    progress = tqdm(total=steps, desc="finetune", unit="step")
    for number in range(1, train.epochs + 1):
        for batch in batches(train_side, tag_probability=train.tag_probability, generator=generator):
            losses: Losses = wrapped(batch.to(accelerator.device))
            _require_plausible(losses.total.item(), step, train)
            accelerator.backward(losses.total)
            norm = accelerator.clip_grad_norm_(parameters, train.clip_norm)
            lr = schedule.get_last_lr()[0]
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            progress.update()
            progress.set_postfix(loss=f"{losses.total.item():.3f}")
            yield _step("train", number, step, losses, lr=lr, gradient_norm=float(norm))
        yield _step("eval", number, step, validate(wrapped, validation))
    progress.close()


def _step(side: str, number: int, step: int, losses: Losses, **rest: float) -> Step:
    return Step(side, number, step, losses.total.item(), losses.talker.item(), losses.predictor.item(), **rest)


def _require_plausible(loss: float, step: int, train: Train) -> None:
    if not math.isfinite(loss):
        raise InputError(f"the loss is {loss} at step {step}. Lower train.lr (now {train.lr:g}); nothing was written.")
    if step == 0 and train.max_first_loss is not None and loss > train.max_first_loss:
        raise InputError(
            f"the first batch's loss is {loss:.2f}, above train.max_first_loss={train.max_first_loss:g}: codes, texts "
            "and model do not belong together. Run `dvc repro -f encode`; an aligned stock base starts at 2.5 to 3.0."
        )


def train_voice(config: Finetune, codes: Path, out: Path) -> tuple[list[Step], dict[str, Any]]:
    """Train on an encoded voice and write its checkpoint to `out`. Returns the curve and the summary."""
    set_seed(config.train.seed)
    train = config.train if config.model.stock else replace(config.train, max_first_loss=None)
    accelerator = Accelerator(mixed_precision="bf16" if torch.cuda.is_available() else "no")
    base = checkpoint.resolve(config.model.source, config.model.revision)
    # float32 master weights: in pure bf16 most updates at these rates round to nothing
    tts = checkpoint.load(base.path, device=str(accelerator.device), dtype=torch.float32)
    talker, vocabulary = tts.model.talker, Vocabulary.of(tts.model.config)
    sides = load_from_disk(codes)
    size = talker.config.code_predictor_config.vocab_size
    train_side, held_out = (
        read_examples(sides[name], tts.processor.tokenizer, vocabulary, codebook_size=size)
        for name in ("train", "eval")
    )
    embedding = load_file(codes / SPEAKER_FILE)["speaker_embedding"]
    if config.train.gradient_checkpointing:
        # not reentrant: with adapters no input of a layer needs a gradient, and the reentrant kind then gives none
        talker.gradient_checkpointing_enable({"use_reentrant": False})
    adapted = add_adapters(talker, config.train.lora) if config.train.lora else None
    parameters = (
        [p for p in talker.parameters() if p.requires_grad] if adapted else trainable_parameters(talker, config.train)
    )
    objective = Objective(talker, codec_eos=vocabulary.codec_eos)
    curve = list(fit(objective, parameters, train_side, held_out, vocabulary, embedding, train, accelerator))
    merged = merge_adapters(adapted) if adapted else talker
    speaker = speaker_name(config.voice)
    moved = export(base.path, out, merged, speaker=speaker, speaker_embedding=embedding)
    _card(config, base, codes, speaker).write(out)
    return curve, _summary(curve, moved, sum(p.numel() for p in parameters))


def _card(config: Finetune, base: checkpoint.Checkpoint, codes: Path, speaker: str) -> VoiceCard:
    settings = json.dumps(asdict(config), sort_keys=True, default=str)
    return VoiceCard(
        name=config.voice,
        kind=Kind.FINETUNED,
        speaker=speaker,
        language=config.language,
        base=base.source,
        base_revision=base.revision,
        data_hash=checkpoint.content_hash(codes),
        config_hash=hashlib.sha256(settings.encode()).hexdigest()[:16],
    )


def _summary(curve: list[Step], moved: float, trained: int) -> dict[str, Any]:
    validation = [s for s in curve if s.side == "eval"]
    return {
        "steps": curve[-1].step,
        "first_train_loss": next(s.loss for s in curve if s.side == "train"),
        "eval_loss_before": validation[0].loss,
        "eval_loss": validation[-1].loss,
        "parameters_trained": trained,
        "parameters_moved_share": moved,
    }


def write_curve(path: Path, curve: Sequence[Step]) -> None:
    """Write training.csv, one line per step and validation."""
    write_records(path, Step, curve)


@stage(Finetune)
def main(config: Finetune) -> None:
    """Train one voice and write its pack and curve."""
    root = output_root()
    speaker_name(config.voice)
    reference = Reference.read(Path("data/processed") / config.voice)
    with publish(root / "models" / config.voice / "finetuned") as draft:
        curve, summary = train_voice(config, Path("data/codes") / config.voice, draft)
        reference.copy_to(draft)
    write_curve(root / "reports" / config.voice / "training.csv", curve)
    with publish(root / "reports" / config.voice / "training.json") as draft:
        draft.write_text(json.dumps(summary, indent=2) + "\n")
    log.info("held-out loss %.3f -> %.3f", summary["eval_loss_before"], summary["eval_loss"])


if __name__ == "__main__":
    main()
