"""The CPU's own kernels compute what PyTorch computes, for any precision, and no row touches another."""

import platform
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.voice.engine.checkpoints import begin, core_of, speak_all, widened
from voice.engine import native
from voice.engine.core import Core
from voice.engine.linear import Dense, Int4, Int8, in_four_bits
from voice.engine.native import NativeMatrix
from voice.engine.voices import Voice
from voice.processor import lines
from voice.request import Request

pytestmark = pytest.mark.skipif(native.library() is None, reason="no C++ compiler")

MAKERS = {
    "float32": partial(Dense, dtype=torch.float32),
    "bfloat16": partial(Dense, dtype=torch.bfloat16),
    "int8": Int8,
    "int4": in_four_bits,
}


def linear(outputs: int, inputs: int, *, bias: bool) -> nn.Linear:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Linear(inputs, outputs, bias=bias)


def rounded(x: Tensor, block: int = 64) -> Tensor:
    """What an int8 matrix multiplies: 127 steps each way, of the largest number in each block."""
    parts = []
    for part in x.split(block, dim=1):
        scale = part.abs().amax(1, keepdim=True) / 127
        parts.append((part / scale).round() * scale)
    return torch.cat(parts, 1)


def assert_is_its_own_product(precision: str, *, inputs: int, bias: bool) -> None:
    made = MAKERS[precision]([linear(37, inputs, bias=bias)])
    x = torch.randn(7, inputs, generator=torch.Generator().manual_seed(1))
    read = rounded(x) if isinstance(made, Int8 | Int4) else x
    expected = read @ widened(made).T + (0 if made.bias is None else made.bias.float())
    with torch.no_grad():
        torch.testing.assert_close(NativeMatrix(made)(x), expected, atol=1e-5, rtol=1e-5)


def assert_no_row_touches_another(precision: str, *, inputs: int) -> None:
    product = NativeMatrix(MAKERS[precision]([linear(33, inputs, bias=False)]))
    x = torch.randn(9, inputs, generator=torch.Generator().manual_seed(2))
    together = product(x)
    for row in range(9):
        assert torch.equal(product(x[row : row + 1])[0], together[row])


@pytest.mark.parametrize("precision", MAKERS)
@pytest.mark.parametrize("inputs", [48, 64, 192, 200])
@pytest.mark.parametrize("bias", [True, False])
def test_a_matrix_is_its_own_product(precision: str, inputs: int, bias: bool):
    assert_is_its_own_product(precision, inputs=inputs, bias=bias)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="other processors have one kind of product")
@pytest.mark.parametrize(
    ("processor", "needs", "has_int8"),
    [("x86-64", "sse2", False), ("haswell", "avx2", True), ("icelake-server", "avx512_vnni", True)],
)
def test_older_and_newer_processors_multiply_alike(
    processor: str, needs: str, has_int8: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    flags = [f"-march={processor}" if flag == "-march=native" else flag for flag in native.FLAGS]
    monkeypatch.setattr(native, "FLAGS", flags)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiler = shutil.which("g++") or shutil.which("clang++")
    assert compiler
    compiled = native._compiled(compiler)
    if not any(needs in line.split() for line in lines()):
        pytest.skip(f"compiled; this processor has no {needs} to run it")
    kernels = native._load(compiled)
    assert bool(kernels.has_int8_products()) == has_int8
    monkeypatch.setattr(native, "library", lambda: kernels)
    for precision in MAKERS:
        for inputs in (192, 200):  # whole blocks, and not
            assert_is_its_own_product(precision, inputs=inputs, bias=True)
            assert_no_row_touches_another(precision, inputs=inputs)


@pytest.mark.parametrize(("make", "lowest"), [(Int8, -127), (Int4, 0)])  # the code of -127
def test_a_rounded_matrix_multiplies_zeros_and_the_largest_weights(make: type[Int8 | Int4], lowest: int):
    made = make([linear(8, 128, bias=False)])
    made.weight = torch.full_like(made.weight, lowest)
    made.scale = torch.ones_like(made.scale)
    x = torch.stack([torch.zeros(128), torch.full((128,), 2.0), torch.full((128,), -2.0)])
    expected = torch.tensor([0.0, -2.0 * 127 * 128, 2.0 * 127 * 128])[:, None].expand(3, 8)
    torch.testing.assert_close(NativeMatrix(made)(x), expected)


@pytest.mark.parametrize("precision", MAKERS)
@pytest.mark.parametrize("inputs", [128, 130])
def test_what_stands_in_other_rows_changes_no_bit(precision: str, inputs: int):
    assert_no_row_touches_another(precision, inputs=inputs)


@pytest.mark.parametrize("precision", MAKERS)
def test_rows_may_lie_in_any_shape(precision: str):
    product = NativeMatrix(MAKERS[precision]([linear(33, 128, bias=True)]))
    x = torch.randn(2, 3, 128, generator=torch.Generator().manual_seed(3))
    assert torch.equal(product(x), product(x.flatten(0, 1)).unflatten(0, (2, 3)))


def test_int8_is_close_to_the_matrix_it_was():
    original = linear(64, 256, bias=False)
    made = Int8([original])
    with torch.no_grad():
        error = (made.weight * made.scale[:, None] - original.weight).abs().amax(1)
    assert (error <= made.scale / 2 * 1.001).all()


def test_four_bits_lose_a_thirteenth_of_normally_distributed_weights():
    original = nn.Linear(512, 64, bias=False)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        nn.init.normal_(original.weight, std=0.02)
    with torch.no_grad():
        lost = (Int4([original]).widened - original.weight).square().mean().sqrt() / 0.02
    assert lost < 0.077


def test_four_bits_hold_zeros_and_blocks_of_any_size():
    original = nn.Linear(128, 3, bias=False)
    with torch.no_grad():
        original.weight.zero_()
        original.weight[1, :32] = torch.linspace(-3e4, 3e4, 32)
        original.weight[1, 32:64] = torch.linspace(-3e-4, 3e-4, 32)
        held = Int4([original]).widened
        assert held[0].abs().max() < 1e-9
        assert (held - original.weight)[1, :32].abs().max() < 3e3
        assert (held - original.weight)[1, 32:64].abs().max() < 3e-5


def test_rows_that_are_not_whole_blocks_are_held_in_int8():
    assert isinstance(in_four_bits([linear(4, 128, bias=False)]), Int4)
    assert isinstance(in_four_bits([linear(4, 96, bias=False)]), Int8)


def test_a_changed_header_makes_another_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shutil.copytree(native.KERNELS, tmp_path / "kernels")
    monkeypatch.setattr(native, "KERNELS", tmp_path / "kernels")
    monkeypatch.setattr(native, "FLAGS", [flag for flag in native.FLAGS if flag not in ("-O3", "-march=native")])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiler = shutil.which("g++") or shutil.which("clang++")
    assert compiler
    before = native._compiled(compiler)
    with (tmp_path / "kernels/step.hpp").open("a") as header:
        header.write("// changed\n")
    after = native._compiled(compiler)
    assert before != after
    assert before.is_file()
    assert after.is_file()


def without_kernels(tts: Any, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Core:
    with monkeypatch.context() as context:
        context.setattr("voice.engine.talker.can_run", lambda stack: False)
        context.setattr("voice.engine.predictor.can_run", lambda stack: False)
        return core_of(tts, **options)


def logits_of(core: Core, codes: Tensor, voice: Voice) -> Tensor:
    """The talker's logits before each of some given frames, in slot 1."""
    utterance = core.lay_out(Request("A few words.", "me"), voice, budget=30)
    begin(core, 1, utterance)
    found = [core.frames.slots.logits[1].clone()]
    for frame in codes:
        core.frames.slots.codes[1] = frame
        core.read([1])
        found.append(core.frames.slots.logits[1].clone())
    return torch.stack(found)


def test_a_user_without_a_home_runs_on_pytorch(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    def nobody() -> None:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("VOICE_ENGINE_NATIVE", raising=False)
    monkeypatch.setattr("voice.engine.native.Path.home", nobody)
    assert native.library.__wrapped__() is None
    assert "home directory" in caplog.text


def test_logits_with_and_without_kernels_agree(tiny_of_each_shape: Any, monkeypatch: pytest.MonkeyPatch):
    tts = tiny_of_each_shape
    voice = Voice("me", embedding=torch.randn(tts.model.config.talker_config.hidden_size))
    codes = torch.randint(64, (20, 4))
    plain = without_kernels(tts, monkeypatch, slots=2)
    assert not plain.frames.talker.is_native
    with_kernels = core_of(tts, slots=2)
    assert with_kernels.frames.talker.is_native
    torch.testing.assert_close(logits_of(with_kernels, codes, voice), logits_of(plain, codes, voice), atol=1e-4, rtol=0)


def test_codes_without_kernels_depend_on_the_seed_alone_too(tiny: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(native, "library", lambda: None)
    voice = Voice("me", embedding=torch.randn(64))
    core = core_of(tiny, slots=3)
    said = [(Request("word " * n, "me", seed=n), voice) for n in (1, 2, 3)]
    together = speak_all(core, said, budget=12)
    for slot in range(3):
        core.end(slot)
    assert torch.equal(speak_all(core, said[:1], budget=12)[0], together[0])


def test_attention_by_mask_is_attention_one_by_one(tiny: Any, monkeypatch: pytest.MonkeyPatch):
    # what a CUDA graph runs, on the CPU: every slot over the whole cache
    monkeypatch.setattr(native, "library", lambda: None)
    voice = Voice("me", embedding=torch.randn(64, generator=torch.Generator().manual_seed(0)))
    core = core_of(tiny, slots=3)
    said = [(Request("word " * n, "me", seed=n), voice) for n in (1, 4)]
    expected = speak_all(core, said, budget=10)
    talker = core.frames.talker
    monkeypatch.setattr(
        talker, "attend_one_by_one", lambda lengths: talker.attend_by_mask(core.frames.slots.at, talker.positions)
    )
    assert all(torch.equal(a, b) for a, b in zip(speak_all(core, said, budget=10), expected, strict=True))


def test_a_snake_of_other_numbers_is_refused():
    with pytest.raises(ValueError, match="bfloat16"):
        native.snake(torch.zeros(1, 1, 4, dtype=torch.bfloat16), torch.ones(1), torch.ones(1), torch.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_snake_is_its_own_formula(dtype: torch.dtype):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 5, 403, generator=generator) * torch.tensor([0.0, 0.1, 1.0, 30.0, 900.0])[:, None]
    rate, gain = torch.rand(5, generator=generator) * 3 + 0.1, torch.randn(5, generator=generator)
    wave = (x.double() * rate.double()[:, None]).sin().square()
    expected = x.double() + gain.double()[:, None] * wave
    y = native.snake(x, rate, gain, dtype)
    assert y.dtype == dtype
    # the phase is a float32 number: at 2,700 it is known to 2e-4
    tolerance = (1e-6 + 4e-7 * x.abs()) if dtype == torch.float32 else (1e-6 + expected.abs() / 256)
    assert ((y.double() - expected).abs() <= tolerance).all()
    in_steps = torch.addcmul(x, gain[:, None], (x * rate[:, None]).sin().square())
    if dtype == torch.bfloat16:
        assert (y == in_steps.bfloat16()).float().mean() > 0.99
