"""At the published width (0.6B, two of its layers) logits are the library's, and rounded weights stay close to them."""

from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks import shapes
from voice.engine.linear import Precision, maker
from voice.engine.talker import Talker

POSITIONS, STEPS = 40, 3
# relative to the spread of the logits: float32 to rounding, weights in bf16 and int8 to some percent
TOLERANCE = {Precision.float32: 1e-5, Precision.bfloat16: 0.02, Precision.int8: 0.08}


@pytest.fixture(scope="module")
def talker() -> Any:
    few = {**shapes.SHAPES["0.6b"], "num_hidden_layers": 2, "text_vocab_size": 100}
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        patch.setitem(shapes.SHAPES, "few", few)
        return shapes.build_talker("few", device="cpu", dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def inputs(talker: Any) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(POSITIONS + STEPS, talker.config.hidden_size, generator=generator)


@pytest.mark.parametrize("precision", list(Precision))
def test_logits_at_the_published_width(talker: Any, inputs: Tensor, precision: Precision):
    with torch.no_grad():
        expected = talker.codec_head(talker.model(inputs_embeds=inputs[None]).last_hidden_state)[0]
    ours = Talker(talker, slots=2, positions=64, make=maker(precision), dtype=torch.float32)
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
    wrong = (torch.stack(found) - expected[POSITIONS - 1 :]).abs().max() / expected.std()
    assert wrong < TOLERANCE[precision]
