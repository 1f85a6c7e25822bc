"""At the published widths logits are the library's, and rounded weights stay close to them.

Of the talker's layers two are enough to see a wrong one, and all 28 of 0.6B (slow: 6 GB) to see what adds up.
"""

from typing import Any

import psutil
import pytest
import torch
from torch import Tensor

from benchmarks import shapes
from voice.engine.linear import Precision
from voice.engine.native import NativeMatrix, library
from voice.engine.predictor import Predictor
from voice.engine.talker import Talker

POSITIONS, STEPS = 40, 3
# relative to the spread of the logits: float32 to rounding, weights in bf16 and int8 to some percent
TOLERANCE = {Precision.float32: 1e-5, Precision.bfloat16: 0.02, Precision.int8: 0.08, Precision.int4: 0.08}
PREDICTOR_TOLERANCE = {**TOLERANCE, Precision.int4: 0.3}  # its layers are what is held in 4 bits


def build(shape: str, *, layers: int = 2) -> Any:
    """With so many layers of the talker's and all of the code predictor's; logits need no table of texts."""
    few = {**shapes.SHAPES[shape], "num_hidden_layers": layers, "text_vocab_size": 100}
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        patch.setitem(shapes.SHAPES, "few", few)
        return shapes.build_talker("few", device="cpu", dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def talker() -> Any:
    return build("0.6b")


@pytest.fixture(scope="module")
def inputs(talker: Any) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(POSITIONS + STEPS, talker.config.hidden_size, generator=generator)


@pytest.mark.parametrize("precision", list(Precision))
def test_logits_at_the_published_width(talker: Any, inputs: Tensor, precision: Precision):
    assert furthest(talker, inputs, precision) < TOLERANCE[precision]


@pytest.mark.parametrize("has_products", [True, False])
@pytest.mark.parametrize("precision", [Precision.bfloat16, Precision.int8])
def test_logits_of_a_prompt_that_pytorch_multiplies(
    talker: Any, inputs: Tensor, precision: Precision, has_products: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("voice.engine.talker.few_positions", lambda weights: 0)
    monkeypatch.setattr("voice.engine.talker.has_int8_products", lambda: False)
    monkeypatch.setattr("voice.engine.linear.has_bfloat16_products", lambda: has_products)
    assert furthest(talker, inputs, precision) < TOLERANCE[precision]


@pytest.mark.skipif(library() is None, reason="no C++ compiler")
@pytest.mark.parametrize("int8", [True, False])
def test_the_kernels_multiply_a_long_prompt_in_int8_where_the_processor_has_such_products(
    talker: Any, inputs: Tensor, int8: bool, monkeypatch: pytest.MonkeyPatch
):
    class Counted(NativeMatrix):
        def __call__(self, x: Tensor) -> Tensor:
            rows.append(x.shape[:-1].numel())
            return super().__call__(x)

    rows = list[int]()
    monkeypatch.setattr("voice.engine.talker.has_int8_products", lambda: int8)
    monkeypatch.setattr("voice.engine.talker.few_positions", lambda weights: 0)
    monkeypatch.setattr("voice.engine.talker.NativeMatrix", Counted)
    ours = Talker(talker, slots=1, positions=64, precision=Precision.int8, dtype=torch.float32)
    with torch.inference_mode():
        ours.prefill(0, 0, inputs[:POSITIONS])
    assert rows == [POSITIONS] * (4 * len(talker.model.layers) if int8 else 0) + [1]  # the last is the head
    assert furthest(talker, inputs, Precision.int8) < TOLERANCE[Precision.int8]


@pytest.mark.slow
def test_logits_at_the_published_width_and_depth(inputs: Tensor):
    if psutil.virtual_memory().available < 7e9:
        pytest.skip("all layers take 6 GB of memory")
    talker = build("0.6b", layers=shapes.TALKER["num_hidden_layers"])
    assert len(talker.model.layers) == 28
    assert furthest(talker, inputs, Precision.float32) < TOLERANCE[Precision.float32]


def furthest(talker: Any, inputs: Tensor, precision: Precision) -> float:
    """How far a logit is from the library's at most, in standard deviations: of a prompt and of steps after it."""
    with torch.no_grad():
        expected = talker.codec_head(talker.model(inputs_embeds=inputs[None]).last_hidden_state)[0]
    ours = Talker(talker, slots=2, positions=64, precision=precision, dtype=torch.float32)
    with torch.inference_mode():
        _, read = ours.prefill(1, 0, inputs[:POSITIONS])
        found = [read]
        for step in range(POSITIONS, POSITIONS + STEPS):
            at, slots = [step], [1]
            if ours.is_native:
                found.append(ours.step_native(inputs[step : step + 1], slots, at)[1][0])
            else:
                attend = ours.attend_one_by_one([None, step])
                found.append(ours.step(inputs[step].expand(2, -1), attend, torch.tensor([0, step]))[1][1])
    return float((torch.stack(found) - expected[POSITIONS - 1 :]).abs().max() / expected.std())


@pytest.mark.parametrize("shape", ["0.6b", "1.7b"])
@pytest.mark.parametrize("precision", list(Precision))
def test_the_code_predictor_s_logits_at_the_published_width(shape: str, precision: Precision):
    assert predictor_error(shape, precision) < PREDICTOR_TOLERANCE[precision]


def test_four_bits_multiplied_by_pytorch_are_as_close(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("voice.engine.predictor.can_run", lambda stack: False)
    monkeypatch.setattr("voice.engine.predictor.has_int8_products", lambda: True)
    assert predictor_error("0.6b", Precision.int4) < PREDICTOR_TOLERANCE[Precision.int4]


def predictor_error(shape: str, precision: Precision) -> float:
    """How far the code predictor's logits are from the library's, in standard deviations: not the worst of 61,000."""
    talker = build(shape)
    official, generator = talker.code_predictor, torch.Generator().manual_seed(0)
    groups = official.config.num_code_groups
    hidden = torch.randn(2, talker.config.hidden_size, generator=generator)
    codes = torch.randint(0, official.config.vocab_size, (2, groups), generator=generator)
    tables = [talker.get_input_embeddings(), *official.get_input_embeddings()]
    with torch.no_grad():
        said = [table(codes[:, book]) for book, table in enumerate(tables[:-1])]
        read = official.small_to_mtp_projection(torch.stack([hidden, *said], 1))
        states = official.model(inputs_embeds=read).last_hidden_state
        expected = torch.stack([head(states[:, book + 1]) for book, head in enumerate(official.lm_head)])

    found = list[Tensor]()

    def draw(logits: Tensor, book: int) -> Tensor:
        found.append(logits)
        return codes[:, book]

    ours = Predictor(official, talker, slots=2, precision=precision, dtype=torch.float32)
    with torch.inference_mode():
        assert torch.equal(ours.predict(hidden, codes[:, 0], draw), codes)
    return float((torch.stack(found) - expected).square().mean().sqrt() / expected.std())
