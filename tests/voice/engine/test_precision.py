"""What is rounded where: by the weights' precision and by what the processor multiplies."""

import pytest
import torch

from voice.engine import engine, native, talker
from voice.engine.linear import Precision


@pytest.mark.parametrize(
    ("line", "has"),
    [
        ("flags\t\t: fpu sse2 avx512f avx512_bf16 avx512_vnni", True),
        ("flags\t\t: fpu sse2 amx_tile amx_bf16", True),
        ("Features\t: fp asimd sve bf16 i8mm", True),
        ("flags\t\t: fpu sse2 avx512f avx512_vnni", False),
    ],
)
def test_a_processor_says_whether_it_multiplies_bfloat16(line: str, has: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(native, "_cpu_lines", lambda: ["processor\t: 0", line])
    assert native.has_bfloat16_products.__wrapped__() is has


def test_the_codec_rounds_where_weights_are_and_the_processor_multiplies_it(monkeypatch: pytest.MonkeyPatch):
    def rounds(precision: Precision, device: str = "cpu") -> bool:
        return engine.codec_dtype(precision, device) == torch.bfloat16

    monkeypatch.setattr(engine, "has_bfloat16_products", lambda: True)
    assert [rounds(precision) for precision in Precision] == [False, True, True]
    assert not rounds(Precision.bfloat16, "cuda")
    monkeypatch.setattr(engine, "has_bfloat16_products", lambda: False)
    assert not any(rounds(precision) for precision in Precision)


def test_prompts_are_read_by_whoever_is_faster(monkeypatch: pytest.MonkeyPatch):
    def few() -> list[int]:
        return [talker.few_positions(dtype) for dtype in (torch.float32, torch.bfloat16, torch.int8)]

    monkeypatch.setattr(talker, "has_bfloat16_products", lambda: True)
    assert few() == [16, 4, 48]
    monkeypatch.setattr(talker, "has_bfloat16_products", lambda: False)
    assert few() == [16, 24, 48]
