"""What a processor can do is read off its flags."""

import pytest

from voice import processor


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
    monkeypatch.setattr(processor, "lines", lambda: ["processor\t: 0", line])
    assert processor.has_bfloat16_products.__wrapped__() is has
