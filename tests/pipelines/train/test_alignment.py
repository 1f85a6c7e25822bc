"""The objective's teacher-forced logits are those that the official `generate` computes step by step."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from pipelines.train import loss
from pipelines.train.dataset import Batch, Example, collate, lay_out
from pipelines.train.loss import Objective
from voice.prompt import Vocabulary, assistant_ids
from voice.tts import Layout

TEXTS = ["A short one.", "This sentence is a good deal longer than the other, so that the batch must be padded."]
FRAMES = 9


class Recording:
    """What `generate` computed: per step the talker's logits (batch, vocabulary), per frame each head's."""

    def __init__(self) -> None:
        self.talker: list[Tensor] = []
        self.predictor: list[list[Tensor]] = []

    def on_talker(self, module: Any, inputs: Any, logits: Tensor) -> None:
        self.talker.append(logits[:, -1])

    def on_head(self, index: int, logits: Tensor) -> None:
        if index == 0:
            self.predictor.append([])
        self.predictor[-1].append(logits[:, -1])


@contextmanager
def recording(talker: Any) -> Iterator[Recording]:
    heard = Recording()
    hooks = [talker.codec_head.register_forward_hook(heard.on_talker)]
    for i, head in enumerate(talker.code_predictor.lm_head):
        hooks.append(head.register_forward_hook(lambda m, x, y, i=i: heard.on_head(i, y)))
    try:
        yield heard
    finally:
        for hook in hooks:
            hook.remove()


def generate(
    tts: Any, texts: list[str], languages: list[str], embedding: Tensor, layout: Layout
) -> tuple[list[Tensor], Recording]:
    """Let the official package speak; return its codes (frames, codebooks) and every logit on the way."""
    n = len(texts)
    prompt = {
        "ref_code": [None] * n,
        "ref_spk_embedding": [embedding] * n,
        "x_vector_only_mode": [True] * n,
        "icl_mode": [False] * n,
    }
    template = "<|im_start|>assistant\n{}<|im_end|>\n<|im_start|>assistant\n"
    ids = [torch.tensor([tts.processor.tokenizer(template.format(t))["input_ids"]]) for t in texts]
    eos_never = 0x7FFF  # an id the model never draws, so that every row runs to the cap
    with torch.random.fork_rng(), recording(tts.model.talker) as heard:
        torch.manual_seed(7)
        codes, _ = tts.model.generate(
            input_ids=ids,
            voice_clone_prompt=prompt,
            languages=languages,
            non_streaming_mode=layout is Layout.WHOLE,
            max_new_tokens=FRAMES + 1,
            eos_token_id=eos_never,
        )
    return codes, heard


def teacher_forced(
    tts: Any, texts: list[str], languages: list[str], embedding: Tensor, layout: Layout, codes: list[Tensor]
) -> tuple[Objective, Batch]:
    vocabulary = Vocabulary.of(tts.model.config)
    examples = []
    for text, language, frames in zip(texts, languages, codes, strict=True):
        role, ids = assistant_ids(tts.processor.tokenizer, text)
        examples.append(Example("clip", role, ids, None if language == "auto" else language, frames))
    prompts = [lay_out(e, vocabulary, tagged=True, layout=layout) for e in examples]
    return Objective(tts.model.talker), collate(examples, prompts, embedding, codec_eos=vocabulary.codec_eos)


@pytest.mark.parametrize("layout", list(Layout))
@pytest.mark.parametrize("languages", [["auto", "auto"], ["english", "english"], ["auto", "german"]])
def test_teacher_forced_logits_equal_those_of_generate(tiny_of_each_shape: Any, layout: Layout, languages: list[str]):
    tts = tiny_of_each_shape
    embedding = torch.randn(tts.model.config.talker_config.hidden_size, generator=torch.Generator().manual_seed(1))
    codes, heard = generate(tts, TEXTS, languages, embedding, layout)
    assert [c.shape for c in codes] == [(FRAMES, tts.model.config.talker_config.num_code_groups)] * 2

    objective, batch = teacher_forced(tts, TEXTS, languages, embedding, layout, codes)
    with torch.no_grad():
        logits = objective.logits(batch)

    for row in range(len(TEXTS)):
        talker = logits.talker[row * (FRAMES + 1) : (row + 1) * (FRAMES + 1)]
        for step in range(FRAMES + 1):
            torch.testing.assert_close(talker[step], heard.talker[step][row], atol=1e-5, rtol=0)
        predictor = logits.predictor[row * FRAMES : (row + 1) * FRAMES]
        for frame in range(FRAMES):
            for head, expected in enumerate(heard.predictor[frame]):
                torch.testing.assert_close(predictor[frame, head], expected[row], atol=1e-5, rtol=0)


def expected_losses(codes: list[Tensor], heard: Recording, codec_eos: int) -> tuple[Tensor, Tensor]:
    """Cross-entropy of `generate`'s own logits with what followed them."""
    talker, predictor = [], []
    for row, frames in enumerate(codes):
        targets = torch.cat([frames[:, 0], torch.tensor([codec_eos])])
        talker.append(cross_entropy(torch.stack([step[row] for step in heard.talker]), targets, reduction="none"))
        for frame, heads in enumerate(heard.predictor):
            logits = torch.stack([head[row] for head in heads])
            predictor.append(cross_entropy(logits, frames[frame, 1:], reduction="none"))
    return torch.cat(talker).mean(), torch.cat(predictor).mean()


def deviation(objective: Objective, batch: Batch, expected: tuple[Tensor, Tensor]) -> float:
    with torch.no_grad():
        losses = objective(batch)
    return max(abs(losses.talker - expected[0]), abs(losses.predictor - expected[1])).item()


@pytest.fixture(scope="module")
def heard_batch(tiny: Any) -> tuple[Batch, tuple[Tensor, Tensor]]:
    embedding = torch.randn(64, generator=torch.Generator().manual_seed(1))
    codes, heard = generate(tiny, TEXTS, ["auto", "english"], embedding, Layout.WHOLE)
    _, batch = teacher_forced(tiny, TEXTS, ["auto", "english"], embedding, Layout.WHOLE, codes)
    return batch, expected_losses(codes, heard, tiny.model.config.talker_config.codec_eos_token_id)


def test_the_loss_is_the_cross_entropy_of_what_generate_computes(tiny: Any, heard_batch: Any):
    batch, expected = heard_batch
    assert deviation(Objective(tiny.model.talker), batch, expected) < 1e-5


# upstream's four mistakes, each made on purpose in the source of the objective
MISALIGNMENTS = {
    "text is not projected": (
        "self.talker.text_projection(self.talker.get_text_embeddings()(batch.text))",
        "torch.nn.functional.pad(self.talker.get_text_embeddings()(batch.text), (0, 24))",
    ),
    "the talker learns the frame after the next": (
        "hidden[batch.targets_at - 1]",
        "hidden[batch.targets_at - 2]",
    ),
    "the code predictor has already seen its frame": (
        "hidden[batch.frames_at[batch.predicted] - 1]",
        "hidden[batch.frames_at[batch.predicted]]",
    ),
    "the code predictor's heads learn one codebook too late": (
        "logits.predictor.float().transpose(1, 2), batch.frames[batch.predicted, 1:]",
        "logits.predictor[:, :-1].float().transpose(1, 2), batch.frames[batch.predicted, 2:]",
    ),
}


@pytest.mark.parametrize("mistake", MISALIGNMENTS)
def test_each_of_upstreams_misalignments_would_be_noticed(tiny: Any, heard_batch: Any, mistake: str):
    right, wrong = MISALIGNMENTS[mistake]
    source = Path(loss.__file__).read_text()
    assert source.count(right) == 1
    mutant: dict[str, Any] = {"__name__": loss.__name__}
    exec(source.replace(right, wrong), mutant)
    batch, expected = heard_batch
    assert deviation(mutant["Objective"](tiny.model.talker), batch, expected) > 1e-3


def test_talker_loss_at_a_frame_is_blind_to_the_frames_after_it(tiny: Any):
    embedding = torch.zeros(tiny.model.config.talker_config.hidden_size)
    frames = torch.randint(0, 64, (6, 4), generator=torch.Generator().manual_seed(0))
    changed = frames.clone()
    changed[4:] = (changed[4:] + 1) % 64
    both = []
    for codes in (frames, changed):
        objective, batch = teacher_forced(tiny, TEXTS[:1], ["auto"], embedding, Layout.WHOLE, [codes])
        with torch.no_grad():
            both.append(objective.logits(batch).talker)
    torch.testing.assert_close(both[0][:5], both[1][:5])
    assert not torch.allclose(both[0][5], both[1][5])


def test_padding_a_batch_leaves_its_loss_unchanged(tiny: Any):
    embedding = torch.zeros(tiny.model.config.talker_config.hidden_size)
    generator = torch.Generator().manual_seed(0)
    codes = [torch.randint(0, 64, (n, 4), generator=generator) for n in (5, 11)]
    weights = torch.tensor([6.0, 12.0])  # talker targets: frames and the end

    def losses(rows: slice) -> Any:
        objective, batch = teacher_forced(
            tiny, TEXTS[rows], ["auto"] * len(TEXTS[rows]), embedding, Layout.WHOLE, codes[rows]
        )
        with torch.no_grad():
            return objective(batch)

    alone = torch.stack([losses(slice(i, i + 1)).talker for i in range(2)])
    torch.testing.assert_close(losses(slice(0, 2)).talker, (alone * weights).sum() / weights.sum())
