"""Tiny checkpoints of every kind, and both ways to speak with them: the official package's and the engine's."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from voice import checkpoint
from voice.engine.core import Core, Utterance
from voice.engine.linear import Int4, Int8, Matrix, Precision
from voice.engine.voices import Voice
from voice.request import Layout, Request, Sampling
from voice.text import language_name

GREEDY = Sampling(do_sample=False)
ROWS = {"anna": 900, "dao": 901}
DIALECT = "sichuan_dialect"


def load_kind(base: Path, folder: Path, kind: str) -> Any:
    """A copy of a tiny base as another kind of checkpoint, with two speakers, one of whom speaks a dialect."""
    shutil.copytree(base, folder)
    config = json.loads((folder / "config.json").read_text())
    config["tts_model_type"] = kind
    talker = config["talker_config"]
    talker["spk_id"], talker["spk_is_dialect"] = ROWS, {"anna": False, "dao": DIALECT}
    talker["codec_language_id"][DIALECT] = 199
    (folder / "config.json").write_text(json.dumps(config))
    return checkpoint.load(folder, device="cpu", dtype=torch.float32)


def widened(made: Matrix) -> Tensor:
    """The numbers that a matrix stands for."""
    if isinstance(made, Int4):
        return made.widened
    return made.weight.float() * made.scale[:, None] if isinstance(made, Int8) else made.weight.float()


def core_of(tts: Any, *, slots: int = 1, positions: int = 400) -> Core:
    """The engine's core over a loaded model, in float32."""
    return Core(
        tts.model,
        tts.processor.tokenizer,
        slots=slots,
        positions=positions,
        precision=Precision.float32,
        dtype=torch.float32,
    )


def begin(core: Core, slot: int, utterance: Utterance) -> None:
    """Put an utterance into a slot and read all of its prompt."""
    core.begin(slot, utterance)
    while not core.read_prompt(slot):
        pass


def speak_all(core: Core, said: list[tuple[Request, Voice]], *, budget: int) -> list[Tensor]:
    """Greedy or drawn codes (frames, codebooks) of requests that begin together, each in a slot of its own."""
    utterances: list[Utterance] = []
    for slot, (request, voice) in enumerate(said):
        utterances.append(core.lay_out(request, voice, budget=budget))
        begin(core, slot, utterances[-1])
    while moving := [slot for slot, u in enumerate(utterances) if not u.is_over]:
        core.draw(moving)
        core.read([slot for slot in moving if not utterances[slot].ended])
    return [torch.stack(u.codes) for u in utterances]


def official(
    tts: Any, requests: list[Request], voices: list[Voice], *, words: list[str | None] | None = None, budget: int
) -> list[Tensor]:
    """What `generate` says to the same batch; it returns one frame fewer than its cap."""
    languages = [language_name(r.language) for r in requests]
    tokens = tts._tokenize_texts
    options: dict[str, Any] = {}
    if voices[0].embedding is not None:
        in_context = [v.codes is not None for v in voices]
        options["voice_clone_prompt"] = {
            "ref_code": [v.codes for v in voices],
            "ref_spk_embedding": [v.embedding for v in voices],
            "x_vector_only_mode": [not c for c in in_context],
            "icl_mode": in_context,
        }
        texts = words or [None] * len(voices)
        options["ref_ids"] = [None if w is None else tokens([tts._build_ref_text(w)])[0] for w in texts]
    else:
        options["speakers"] = [next((k for k, row in ROWS.items() if row == v.row), None) for v in voices]
    if any(r.instruct for r in requests):
        built = [tokens([tts._build_instruct_text(r.instruct)])[0] if r.instruct else None for r in requests]
        options["instruct_ids"] = built
    codes, _ = tts.model.generate(
        input_ids=tokens([tts._build_assistant_text(r.text) for r in requests]),
        languages=languages, non_streaming_mode=requests[0].layout is Layout.WHOLE, max_new_tokens=budget + 1,
        do_sample=False, subtalker_dosample=False, **options,
    )  # fmt: skip
    return codes
