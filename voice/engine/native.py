"""The CPU's tight loop: kernels/, compiled once for this machine and called through ctypes.

PyTorch's products of a vector with a matrix reach a fifth to a half of the memory's bandwidth in bf16 and int8, and
each of a frame's 3,000 small operations costs microseconds. Without a compiler the same is computed on PyTorch.
"""

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from voice.engine.linear import Int4, Int8
from voice.engine.transformer import Cache, Rotary, Stack
from voice.processor import lines
from voice.provenance import code_digest

log = logging.getLogger(__name__)

KERNELS = Path(__file__).with_name("kernels")
FLAGS = ("-O3", "-march=native", "-std=c++17", "-fopenmp", "-shared", "-fPIC")
KINDS = {torch.float32: 0, torch.bfloat16: 1, torch.int8: 2, torch.uint8: 3}  # the last holds two of four bits each


class _Matrix(ctypes.Structure):
    _fields_ = [
        ("weight", ctypes.c_void_p), ("scale", ctypes.c_void_p), ("bias", ctypes.c_void_p),
        ("outputs", ctypes.c_int32), ("inputs", ctypes.c_int32), ("kind", ctypes.c_int32),
    ]  # fmt: skip


class _Layer(ctypes.Structure):
    _fields_ = [
        *((name, _Matrix) for name in ("qkv", "out", "gate_up", "down")),
        *((name, ctypes.c_void_p) for name in ("before_attention", "before_mlp", "head_norms")),
    ]


class _Stack(ctypes.Structure):
    _fields_ = [
        *((n, ctypes.c_int32) for n in
          ("layers", "width", "heads", "kv_heads", "head_dim", "inner", "slots", "positions")),
        ("epsilon", ctypes.c_float),
        *((name, ctypes.c_void_p) for name in ("norm", "cos", "sin", "layer", "keys", "values")),
    ]  # fmt: skip


class _Settings(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("temperature", "top_p", "top_k", "greedy")]


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels; None, said in the log, where they cannot be had."""
    if os.environ.get("VOICE_ENGINE_NATIVE") == "0":
        return None
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        log.warning("no C++ compiler: the engine runs on PyTorch, at about half the speed. Install g++.")
        return None
    try:
        return _load(_compiled(compiler))
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:  # RuntimeError: nobody's home to keep it in
        log.warning("the engine's kernels could not be compiled (%s): it runs on PyTorch, at half the speed.", error)
        return None


def _compiled(compiler: str) -> Path:
    cpu = next((line for line in lines() if line.startswith(("flags", "Features"))), platform.processor())
    key = hashlib.sha256(f"{code_digest(KERNELS)}{FLAGS}{cpu}{compiler}".encode()).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "voice-engine"
    target = folder / f"kernels-{key}.so"
    if not target.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        draft = target.with_suffix(f".{os.getpid()}")
        subprocess.run(
            [compiler, *FLAGS, str(KERNELS / "kernels.cpp"), "-o", str(draft)], check=True, capture_output=True
        )
        draft.rename(target)
    return target


def _load(path: Path) -> ctypes.CDLL:
    kernels = ctypes.CDLL(str(path))
    for sizing in (kernels.stack_scratch, kernels.matrix_scratch):
        sizing.restype = ctypes.c_int64
    return kernels


def _pointer(tensor: Tensor | None) -> int | None:
    if tensor is not None and not tensor.is_contiguous():
        raise ValueError("kernels need contiguous tensors")
    return None if tensor is None else tensor.data_ptr()


class Kept:
    """Structs, and the tensors they point into."""

    def __init__(self) -> None:
        self._tensors: list[Tensor] = []

    def matrix(self, linear: Any) -> _Matrix:
        """A projection as the kernels read it."""
        scale = linear.scale if isinstance(linear, Int8 | Int4) else None
        bias = None if linear.bias is None else linear.bias.float()
        outputs = len(linear.weight)
        inputs = linear.weight[0].numel() * (2 if isinstance(linear, Int4) else 1)
        pointers = [self.pointer(t) for t in (linear.weight, scale, bias)]
        return _Matrix(*pointers, outputs, inputs, KINDS[linear.weight.dtype])

    def pointer(self, tensor: Tensor | None) -> int | None:
        """The address of a tensor that stays."""
        if tensor is not None:
            self._tensors.append(tensor)
        return _pointer(tensor)


class NativeMatrix:
    """A projection by the kernels."""

    def __init__(self, linear: Any) -> None:
        self._kept, self._library, self._team = Kept(), library(), torch.get_num_threads()
        self.struct = self._kept.matrix(linear)

    def __call__(self, x: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        """Four rows share a pass over the matrix, so few cost little and many no more than elsewhere."""
        assert self._library is not None
        x, rows = x.contiguous(), x.shape[:-1].numel()
        y = x.new_empty(*x.shape[:-1], self.struct.outputs)
        scratch = x.new_empty(self._library.matrix_scratch(ctypes.byref(self.struct), rows))
        self._library.matrix_product(
            ctypes.byref(self.struct), ctypes.c_void_p(x.data_ptr()), rows, ctypes.c_void_p(y.data_ptr()),
            ctypes.c_void_p(scratch.data_ptr()), self._team,
        )  # fmt: skip
        return y


class NativeStack:
    """A stack over a float32 cache, a few positions of any slots at a time."""

    def __init__(self, stack: Stack, cache: Cache, rotary: Rotary) -> None:
        self._kept, self._library, self._team = Kept(), library(), torch.get_num_threads()
        layers = (_Layer * len(stack.layers))(*(self._layer(layer) for layer in stack.layers))
        first, (_, slots, _, positions, _) = stack.layers[0], cache.keys.shape
        tensors = (stack.norm, rotary.cos, rotary.sin)
        self._layers = layers
        self._stack = _Stack(
            len(layers), len(stack.norm), first.heads, first.kv_heads, first.head_dim, layers[0].down.inputs, slots,
            positions, stack.epsilon, *(self._kept.pointer(t) for t in tensors), ctypes.addressof(layers),
            self._kept.pointer(cache.keys), self._kept.pointer(cache.values),
        )  # fmt: skip

    def _layer(self, layer: Any) -> _Layer:
        matrices = [self._kept.matrix(m) for m in (layer.qkv, layer.out, layer.gate_up, layer.down)]
        norms = (layer.before_attention, layer.before_mlp, layer.head_norms)
        return _Layer(*matrices, *(self._kept.pointer(norm) for norm in norms))

    def __call__(
        self, x: Float[Tensor, "rows width"], slots: Sequence[int], at: Sequence[int]
    ) -> Float[Tensor, "rows width"]:
        """Row r is position `at[r]` of slot `slots[r]`; hidden states after the final norm."""
        x = x.contiguous().clone()
        self._step(x, slots, at, None, None)
        return x

    def with_head(
        self, x: Float[Tensor, "rows width"], slots: Sequence[int], at: Sequence[int], head: NativeMatrix
    ) -> tuple[Float[Tensor, "rows width"], Float[Tensor, "rows outputs"]]:
        """Hidden states, and what the head makes of them: waking the threads once more costs as much as the head."""
        x = x.contiguous().clone()
        y = x.new_empty(len(x), head.struct.outputs)
        self._step(x, slots, at, ctypes.byref(head.struct), ctypes.c_void_p(y.data_ptr()))
        return x, y

    def _step(self, x: Tensor, slots: Sequence[int], at: Sequence[int], head: Any, y: Any) -> None:
        assert self._library is not None
        rows = len(x)
        scratch = x.new_empty(self._library.stack_scratch(ctypes.byref(self._stack), rows, self._team))
        indices = ctypes.c_int32 * rows
        self._library.stack_step(
            ctypes.byref(self._stack), ctypes.c_void_p(x.data_ptr()), rows, indices(*slots), indices(*at),
            ctypes.c_void_p(scratch.data_ptr()), self._team, head, y,
        )  # fmt: skip


def draw(
    logits: Float[Tensor, "slots vocabulary"],
    uniform: Float[Tensor, " slots"],
    *,
    temperature: Float[Tensor, "slots 1"],
    top_p: Float[Tensor, "slots 1"],
    top_k: Int64[Tensor, "slots 1"],
    greedy: Bool[Tensor, "slots 1"],
    width: int,
) -> Int64[Tensor, " slots"]:
    """`sampling.draw` over the `width` likeliest codes, without its twenty small operations."""
    kernels = library()
    assert kernels is not None
    logits, uniform = logits.float().contiguous(), uniform.float().contiguous()
    slots, vocabulary = logits.shape
    # in the types that the struct points to
    settings = [t.contiguous() for t in (temperature.float(), top_p.float(), top_k.long(), greedy.bool())]
    codes = torch.empty(slots, dtype=torch.int64)
    kernels.draw(
        ctypes.c_void_p(logits.data_ptr()), slots, vocabulary, width, ctypes.c_void_p(uniform.data_ptr()),
        ctypes.byref(_Settings(*(setting.data_ptr() for setting in settings))), ctypes.c_void_p(codes.data_ptr()),
    )  # fmt: skip
    return codes


def native_snake() -> Callable[[Tensor, Tensor, Tensor, torch.dtype], Tensor] | None:
    """`snake` where there are kernels."""
    return snake if library() else None


def snake(
    x: Float[Tensor, "rows channels n"],
    rate: Float[Tensor, " channels"],
    gain: Float[Tensor, " channels"],
    dtype: torch.dtype,
) -> Float[Tensor, "rows channels n"]:
    """x + gain sin(rate x)^2 in one pass, of float32, in `dtype` (float32 or bfloat16).

    The sine squared is within 1e-6 for the phase as float32 knows it, up to phases of 1e4.
    """
    kernels = library()
    assert kernels is not None
    if x.dtype != torch.float32 or dtype not in (torch.float32, torch.bfloat16):
        raise ValueError(f"a snake of {x.dtype} in {dtype}")
    rows, channels, n = x.shape
    x, y = x.contiguous(), x.new_empty(x.shape, dtype=dtype)
    kernels.snake(
        *(ctypes.c_void_p(_pointer(t)) for t in (x, rate, gain, y)), KINDS[dtype], rows, channels, n,
        torch.get_num_threads(),
    )  # fmt: skip
    return y


@functools.cache
def has_int8_products() -> bool:
    """Whether the kernels multiply int8 by the processor's instructions for it."""
    kernels = library()
    return kernels is not None and bool(kernels.has_int8_products())


def can_run(stack: Stack) -> bool:
    """Whether the kernels can run a stack: on the CPU, activations in float32, SiLU, and a compiler at hand."""
    is_plain = stack.norm.device.type == "cpu" and stack.norm.dtype == torch.float32
    return (
        is_plain
        and all(type(layer.act).__name__ in ("SiLU", "SiLUActivation") for layer in stack.layers)
        and bool(library())
    )
