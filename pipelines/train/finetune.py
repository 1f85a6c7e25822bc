"""finetune: codes -> a checkpoint that speaks as the voice, by full fine-tuning or LoRA.

python -m pipelines.train.finetune voice=demo train=lora train.lr=1e-5
python -m pipelines.train.finetune --preflight model=qwen3_tts_0_6b

Stopped by a signal, a crash or a power cut, the same command goes on from the last state. On several devices:

accelerate launch --multi_gpu --num_processes 2 -m pipelines.train.finetune voice=demo model=qwen3_tts_1_7b
"""

import hashlib
import json
import logging
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, InitProcessGroupKwargs

from pipelines.model import Model
from pipelines.train.adapter import ADAPTER, save_adapter
from pipelines.train.curve import EVAL, TRAIN, Step, write_curve
from pipelines.train.ears import Ears
from pipelines.train.export import Change, export
from pipelines.train.listening import COLUMNS, Heard, rows
from pipelines.train.live import Live, Recorder, Silent
from pipelines.train.lora import merge_adapters, set_scale
from pipelines.train.preflight import check_device, preflight
from pipelines.train.prepare import Prepared, fit_memory, prepare
from pipelines.train.run import History, Stopped, Training
from pipelines.train.settings import Train
from pipelines.train.snapshots import CACHE, Snapshots, copy_audio
from pipelines.train.speakers import speaker_name
from voice import checkpoint
from voice.errors import InputError
from voice.pack import Kind, Reference, VoiceCard
from voice.publish import publish
from voice.stage import output_root, stage
from voice.table import write_table

log = logging.getLogger(__name__)

PREFLIGHT = "--preflight"
LONGEST_WAIT = timedelta(hours=6)  # other processes wait while the first one listens
# what decides how a result is computed, not which: a training may go on after these were changed
NOT_IN_KEY = {"max_positions", "gradient_checkpointing", "checkpoint_every"}


@dataclass
class Finetune:  # conf/finetune.yaml
    """Settings of the stage."""

    voice: str
    language: str
    model: Model
    train: Train
    preflight: bool


@dataclass(frozen=True, slots=True)
class Folders:
    """Where a training reads and writes."""

    codes: Path
    processed: Path
    cache: Path

    @classmethod
    def of(cls, voice: str, cache: Path = CACHE) -> "Folders":
        """A voice's, in the project's folder."""
        return cls(Path("data/codes") / voice, Path("data/processed") / voice, cache / voice)


@dataclass(frozen=True, slots=True)
class Result:
    """What a training leaves besides the pack."""

    history: History
    summary: dict[str, Any]
    snapshots: Snapshots


def new_accelerator() -> Accelerator:
    """One process, or one of `accelerate launch`; bf16 autocast on CUDA."""
    return Accelerator(
        mixed_precision="bf16" if torch.cuda.is_available() else "no",
        cpu=not torch.cuda.is_available(),
        kwargs_handlers=[InitProcessGroupKwargs(timeout=LONGEST_WAIT)],
    )


def train_voice(
    config: Finetune, folders: Folders, out: Path, *, accelerator: Accelerator, recorder: Recorder
) -> Result:
    """Train on an encoded voice and, in the first process, write its pack to `out`.

    Raises InputError for what a person can put right, and Stopped after a signal; the state is then on the disk.
    """
    speaker_name(config.voice)  # what can be seen at once comes before a model is fetched
    reference = Reference.read(folders.processed)
    prepared = prepare(config.voice, config.model, config.train, folders.codes, accelerator)
    snapshots = Snapshots(folders.cache / snapshots_key(config, prepared, folders.codes))
    # before the memory is counted: the judges take theirs of it
    ears = _ears(config, prepared, folders, snapshots.audio, accelerator) if accelerator.is_main_process else None
    budget = fit_memory(prepared, accelerator)
    log.info("memory: %s", budget)
    budget.require_fit()
    if accelerator.num_processes > 1:
        log.info("process %d of %d", accelerator.process_index + 1, accelerator.num_processes)
    with accelerator.main_process_first():
        if accelerator.is_main_process:
            snapshots.claim()
    training = Training(prepared.trainer, prepared.train, snapshots, ears, accelerator)
    training.resume()
    training.history.run_id = recorder.open(training.history.run_id)
    for event in training.run():
        if isinstance(event, Step):
            recorder.step(event)
        elif ears:
            recorder.heard(event, ears.judges, snapshots.audio)
    chosen, validation = training.keep_chosen()
    summary = {}
    if accelerator.is_main_process:
        changes = _write_pack(config, prepared, folders.codes, reference, out)
        summary = _summary(training, changes, chosen, validation)
    return Result(training.history, summary, snapshots)


def _ears(config: Finetune, prepared: Prepared, folders: Folders, audio: Path, accelerator: Accelerator) -> Ears | None:
    if config.train.listen is None:
        return None
    return Ears.of(
        prepared, config.train.listen, folders.processed, audio,
        voice=config.voice, language=config.language, accelerator=accelerator,
    )  # fmt: skip


def _write_pack(
    config: Finetune, prepared: Prepared, codes: Path, reference: Reference, out: Path
) -> dict[str, Change]:
    card = _card(config, prepared, codes)
    adapted, lora, model = prepared.adapted, config.train.lora, prepared.tts.model
    if adapted and lora:
        save_adapter(out / ADAPTER, adapted, card, prepared.material.speaker_embedding, reference)
        set_scale(adapted, lora.scale)
        model.talker = merge_adapters(adapted)
    changes = export(prepared.base.path, out, model)
    card.write(out)
    reference.copy_to(out)
    return changes


def _card(config: Finetune, prepared: Prepared, codes: Path) -> VoiceCard:
    return VoiceCard(
        name=config.voice,
        kind=Kind.FINETUNED,
        speaker=prepared.speaker,
        language=config.language,
        base=prepared.base.source,
        base_revision=prepared.base.revision,
        data_hash=checkpoint.content_hash(codes),
        config_hash=_hash(asdict(config)),
    )


def snapshots_key(config: Finetune, prepared: Prepared, codes: Path) -> str:
    """Hash of all that decides what a training becomes: another one starts anew."""
    recipe = {k: v for k, v in asdict(prepared.train).items() if k not in NOT_IN_KEY}
    recipe["own_history"] = config.model.own_history
    return _hash([prepared.base.revision, checkpoint.content_hash(codes), config.voice, config.language, recipe])


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _summary(training: Training, changes: dict[str, Change], chosen: Heard | None, validation: Step) -> dict[str, Any]:
    curve = training.history.curve
    moving = training.trainer.parameters.values()
    summary: dict[str, Any] = {
        "steps": training.trainer.step,
        "first_train_loss": next(s.loss for s in curve if s.side == TRAIN),
        "eval_loss_before": next(s.loss for s in curve if s.side == EVAL),
        "eval_loss": validation.loss,  # of what is exported
        "parameters_trained": sum(p.numel() for p in moving),
        "moved_share": {part: change.moved_share for part, change in changes.items()},
        "drift": {part: change.drift for part, change in changes.items()},
        "run": training.history.run_id,
    }
    if chosen is not None:
        before = training.history.heard[0]
        summary |= {"chosen_step": chosen.step, "heard": _heard(chosen), "heard_before": _heard(before)}
    return summary


def _heard(heard: Heard) -> dict[str, float]:
    return {"wer": heard.wer, "sim": heard.sim, "pace": heard.pace, "runaways": heard.runaways}


def _write_report(result: Result, report: Path) -> None:
    write_curve(report / "training.csv", result.history.curve)
    with publish(report / "training.json") as draft:
        draft.write_text(json.dumps(result.summary, indent=2) + "\n", encoding="utf-8")
    with publish(report / "listening") as draft:
        draft.mkdir()
        copy_audio(result.snapshots, draft)
        write_table(draft / "listening.csv", COLUMNS, rows(result.history.heard))
        write_table(draft / "forgetting.csv", COLUMNS, rows(result.history.forgetting))


def _preflight(config: Finetune, accelerator: Accelerator) -> None:
    print(device := check_device(accelerator.device))  # first: it needs no data and no model
    failed = int(not device.ok)
    prepared = prepare(config.voice, config.model, config.train, Folders.of(config.voice).codes, accelerator)
    for check in preflight(
        prepared, voice=config.voice, language=config.language, accelerator=accelerator, root=Path()
    ):
        print(check)
        failed += not check.ok
    if failed:
        raise InputError(f"{failed} of the checks failed. See the lines above.")


@stage(Finetune)
def main(config: Finetune) -> None:
    """Train one voice and write its pack, its curve and what was heard."""
    accelerator = new_accelerator()
    if config.preflight:
        _preflight(config, accelerator)
    else:
        _finetune(config, accelerator)


def _finetune(config: Finetune, accelerator: Accelerator) -> None:
    root, voice = output_root(), config.voice
    with ExitStack() as stack:
        recorder: Recorder = Silent()
        draft = Path()
        if accelerator.is_main_process:
            recorder = stack.enter_context(Live(Path(), tags={"voice": voice, "stage": "finetune"}))
            draft = stack.enter_context(publish(root / "models" / voice / "finetuned"))
        try:
            result = train_voice(config, Folders.of(voice), draft, accelerator=accelerator, recorder=recorder)
        except Stopped as stopped:
            log.warning("%s", stopped)
            sys.exit(128 + stopped.signum)
        if not accelerator.is_main_process:
            return
    _write_report(result, root / "reports" / voice)
    result.snapshots.discard()
    log.info("held-out loss %.3f -> %.3f", result.summary["eval_loss_before"], result.summary["eval_loss"])


def run() -> None:
    """The command line: `--preflight` is a word of its own, the rest is Hydra's."""
    sys.argv = [f"{PREFLIGHT.lstrip('-')}=true" if word == PREFLIGHT else word for word in sys.argv]
    main()


if __name__ == "__main__":
    run()
