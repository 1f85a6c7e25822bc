"""What is rounded where: by the weights' precision and by what the processor multiplies."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from tests.voice.engine.checkpoints import widened
from voice.engine import engine, linear, predictor, talker
from voice.engine.linear import Dense, Int4, Int8, Precision


def test_the_codec_rounds_where_weights_are_and_the_processor_multiplies_it(monkeypatch: pytest.MonkeyPatch):
    def rounds(precision: Precision, device: str = "cpu") -> bool:
        return engine.codec_dtype(precision, device) == torch.bfloat16

    monkeypatch.setattr(engine, "has_bfloat16_products", lambda: True)
    assert [rounds(precision) for precision in Precision] == [False, True, True, True]
    assert not rounds(Precision.bfloat16, "cuda")
    monkeypatch.setattr(engine, "has_bfloat16_products", lambda: False)
    assert not any(rounds(precision) for precision in Precision)


@pytest.mark.parametrize("has_products", [True, False])
def test_four_bits_are_held_where_the_processor_multiplies_them(
    has_products: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(predictor, "has_int8_products", lambda: has_products)
    made = predictor._layers_maker(Precision.int4, torch.device("cpu"))([nn.Linear(64, 24)])
    assert type(made) is (Int4 if has_products else Int8)
    assert ("int8 instead" in caplog.text) is not has_products
    assert predictor._layers_maker(Precision.int4, torch.device("cuda")) is Int8


@pytest.mark.parametrize(
    ("bfloat16", "int8", "expected"),
    [(True, True, [16, 4, 96]), (False, True, [16, 64, 96]), (False, False, [16, 64, 48])],
)
def test_up_to_how_many_positions_the_kernels_read_hangs_on_what_the_processor_multiplies(
    bfloat16: bool, int8: bool, expected: list[int], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(talker, "has_bfloat16_products", lambda: bfloat16)
    monkeypatch.setattr(talker, "has_int8_products", lambda: int8)
    assert [talker.few_positions(dtype) for dtype in (torch.float32, torch.bfloat16, torch.int8)] == expected


@pytest.mark.parametrize("make", [partial(Dense, dtype=torch.bfloat16), Int8, Int4])
def test_where_the_processor_does_not_multiply_bfloat16_a_matrix_is_widened_for_many_rows(
    make: Any, monkeypatch: pytest.MonkeyPatch
):
    made = make([nn.Linear(64, 24)])
    x = torch.randn(2, 30, 64, generator=torch.Generator().manual_seed(0))
    exact = x @ widened(made).detach().T + made.bias.detach().float()
    errors = []
    for has in (True, False):
        monkeypatch.setattr(linear, "has_bfloat16_products", lambda has=has: has)
        with torch.no_grad():
            errors.append(float((made(x) - exact).abs().max()))
    assert errors[1] < 1e-5 < 1e-3 < errors[0]  # what it reads is not rounded then
