"""The objective, the export and the official package's generation belong together: what is learnt is what is spoken."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pipelines.train.dataset import Batch, Example, collate, lay_out
from pipelines.train.export import export
from pipelines.train.lora import add_adapters, merge_adapters
from pipelines.train.loss import Objective
from pipelines.train.settings import Lora
from pipelines.train.speakers import add_speaker
from voice import checkpoint
from voice.prompt import Vocabulary, assistant_ids
from voice.tts import Layout

TEXTS = ["One.", "Two words.", "Three more words.", "This is the fourth and longest of them."]


def four_clips(tts: Any) -> list[Example]:
    generator = torch.Generator().manual_seed(3)
    clips = []
    for i, text in enumerate(TEXTS):
        role, ids = assistant_ids(tts.processor.tokenizer, text)
        clips.append(Example(str(i), role, ids, "english", torch.randint(0, 64, (6 + 2 * i, 4), generator=generator)))
    return clips


def draw(clips: list[Example], vocabulary: Vocabulary, embedding: Tensor, generator: torch.Generator) -> Batch:
    tagged = (torch.rand(len(clips), generator=generator) < 0.5).tolist()
    prompts = [lay_out(c, vocabulary, tagged=t, layout=Layout.WHOLE) for c, t in zip(clips, tagged, strict=True)]
    return collate(clips, prompts, embedding, codec_eos=vocabulary.codec_eos)


def learn(tts: Any, clips: list[Example], embedding: Tensor, *, steps: int, lr: float) -> float:
    vocabulary = Vocabulary.of(tts.model.config)
    objective = Objective(tts.model.talker)
    optimizer = torch.optim.Adam([p for p in tts.model.talker.parameters() if p.requires_grad], lr=lr)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        loss = objective(draw(clips, vocabulary, embedding, generator)).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


def speak_greedily(tts: Any, text: str, language: str, *, cap: int) -> Tensor:
    template = f"<|im_start|>assistant\n{text}<|im_end|>\n<|im_start|>assistant\n"
    [codes], _ = tts.model.generate(
        input_ids=[torch.tensor([tts.processor.tokenizer(template)["input_ids"]])],
        speakers=["me"],
        languages=[language],
        non_streaming_mode=True,
        do_sample=False,
        subtalker_dosample=False,
        repetition_penalty=1.0,
        max_new_tokens=cap,
    )
    return codes


@pytest.mark.parametrize("language", ["auto", "english"])
def test_a_voice_that_learnt_four_clips_speaks_exactly_their_codes(overfitted: Path, language: str):
    tts = checkpoint.load(overfitted, device="cpu", dtype=torch.float32)
    for clip, text in zip(four_clips(tts), TEXTS, strict=True):
        spoken = speak_greedily(tts, text, language, cap=len(clip.codes) + 2)
        torch.testing.assert_close(spoken, clip.codes)


@pytest.fixture(scope="module")
def overfitted(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    tts = checkpoint.load(tiny_folder, device="cpu", dtype=torch.float32)
    embedding = torch.randn(64)
    assert learn(tts, four_clips(tts), embedding, steps=150, lr=3e-3) < 0.02
    folder = tmp_path_factory.mktemp("overfitted") / "me"
    add_speaker(tts.model, "me", embedding)
    assert export(tiny_folder, folder, tts.model)["talker"].moved_share > 0.5
    return folder


def test_merged_adapters_compute_what_the_adapted_talker_computed(tiny_folder: Path):
    torch.manual_seed(0)
    tts = checkpoint.load(tiny_folder, device="cpu", dtype=torch.float32)
    vocabulary, clips, embedding = Vocabulary.of(tts.model.config), four_clips(tts), torch.randn(64)
    names = set(tts.model.talker.state_dict())
    adapted = add_adapters(tts.model.talker, Lora(rank=4, alpha=4, dropout=0.0, scale=1.0))
    trained = {n for n, p in tts.model.talker.named_parameters() if p.requires_grad}
    assert trained
    assert all(".lora_" in n and n.startswith("model.layers.") for n in trained)
    before = learn(tts, clips, embedding, steps=1, lr=0.0)
    assert learn(tts, clips, embedding, steps=40, lr=1e-2) < before

    generator = torch.Generator().manual_seed(0)
    batch = draw(clips, vocabulary, embedding, generator)
    with torch.no_grad():
        expected = Objective(tts.model.talker)(batch).total
        merged = merge_adapters(adapted)
        torch.testing.assert_close(Objective(merged)(batch).total, expected)
    assert set(merged.state_dict()) == names
