"""The code predictor: from the talker's hidden state and codebook 0 to the rest of a frame."""

import logging
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from voice.engine.linear import Dense, Linear, MakeLinear, Precision, in_four_bits, maker
from voice.engine.native import NativeMatrix, NativeStack, can_run, has_int8_products
from voice.engine.transformer import Cache, Rotary, Stack

log = logging.getLogger(__name__)

Draw = Callable[[Float[Tensor, "slots vocabulary"], int], Int64[Tensor, " slots"]]


class Predictor:
    """Weights and cache; all slots go through a frame's codebooks together."""

    def __init__(self, predictor: Any, talker: Any, *, slots: int, precision: Precision, dtype: torch.dtype) -> None:
        config = predictor.config
        if any(kind != "full_attention" for kind in config.layer_types):
            raise ValueError("a code predictor with a sliding window is not supported")
        self.groups = config.num_code_groups
        self._stack = Stack(predictor.model, config, _layers_maker(precision, talker.device), dtype)
        self._rotary = Rotary(predictor.model.rotary_emb, self.groups, dtype)
        make = maker(precision)
        self._heads: list[Linear] = [make([head]) for head in predictor.lm_head]
        first = talker.model.codec_embedding.weight.detach()
        tables = [e.weight.detach() for e in predictor.model.codec_embedding]
        self._rest = torch.cat(tables)  # codebooks 1 and on, one below the other
        self._first, size = first, tables[0].shape[0]
        self._offsets = torch.arange(0, (self.groups - 1) * size, size, device=first.device)
        self._narrow = _narrowing(predictor.small_to_mtp_projection, dtype)
        # narrowed once instead of in every step; the last codebook is no input
        self._inputs = [self._narrow(first), *(self._narrow(table) for table in tables[:-1])]
        self._dtype = dtype
        self._like = torch.empty(0, dtype=dtype, device=first.device)
        self.allocate(slots)
        if self._native is not None:
            self._heads = [NativeMatrix(head) for head in self._heads]

    def allocate(self, slots: int) -> None:
        """Begin anew with so many slots."""
        self._cache = Cache(self._stack, slots=slots, positions=self.groups, like=self._like)
        self._native = NativeStack(self._stack, self._cache, self._rotary) if can_run(self._stack) else None

    def release(self) -> None:
        """Give the cache's memory back; `allocate` makes it anew."""
        self._native = None
        vars(self).pop("_cache", None)  # not there where allocating has failed

    def predict(
        self, hidden: Float[Tensor, "slots width"], first: Int64[Tensor, " slots"], draw: Draw
    ) -> Int64[Tensor, "slots codebooks"]:
        """Draw the rest of a frame; `draw` takes logits and the codebook's number."""
        codes = [first]
        inputs = torch.stack([self._narrow(hidden), self._input(first, 0)], 1)
        for book in range(1, self.groups):
            codes.append(draw(self._logits(inputs, book).float(), book))
            if book < self.groups - 1:
                inputs = self._input(codes[-1], book)[:, None]
        return torch.stack(codes, 1)

    def _input(self, codes: Int64[Tensor, " slots"], book: int) -> Float[Tensor, "slots width"]:
        return functional.embedding(codes, self._inputs[book]).to(self._dtype)

    def _logits(self, inputs: Float[Tensor, "slots n width"], book: int) -> Float[Tensor, "slots vocabulary"]:
        rows, n, _ = inputs.shape
        start, head = 0 if book == 1 else book, self._heads[book - 1]
        if self._native is not None:
            at = [start + i for i in range(n) for _ in range(rows)]
            assert isinstance(head, NativeMatrix)
            return self._native.with_head(inputs.transpose(0, 1).flatten(0, 1), [*range(rows)] * n, at, head)[1][-rows:]
        cos, sin = (t[None, start : start + n, None] for t in (self._rotary.cos, self._rotary.sin))
        return head(self._stack(inputs, cos, sin, self._attend(start, start + n))[:, -1])

    def embed(self, codes: Int64[Tensor, "rows codebooks"]) -> Float[Tensor, "rows width"]:
        """Frames as the talker reads them: all codebooks summed."""
        first = functional.embedding(codes[:, :1], self._first)
        rest = functional.embedding(codes[:, 1:] + self._offsets, self._rest)
        return torch.cat([first, rest], 1).to(self._dtype).sum(1)

    def _attend(self, start: int, end: int) -> Any:
        keys, values = self._cache.keys, self._cache.values

        def attend(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            keys[layer, :, :, start:end] = key
            values[layer, :, :, start:end] = value
            mask = self._two_at_once(query) if end - start > 1 else None
            return functional.scaled_dot_product_attention(
                query, keys[layer, :, :, :end], values[layer, :, :, :end], attn_mask=mask
            )

        return attend

    def _two_at_once(self, query: Tensor) -> Tensor:
        # the first step reads hidden state and codebook 0 together
        causal = torch.ones(2, 2, dtype=torch.bool, device=query.device).tril()
        return causal.repeat(query.shape[2] // 2, 1)


def _layers_maker(precision: Precision, device: torch.device) -> MakeLinear:
    if precision is Precision.int4:
        if device.type == "cpu" and has_int8_products():
            return in_four_bits
        log.warning("int4 is for x86-64 processors with AVX2, and needs a C++ compiler: int8 instead.")
    return maker(precision)


def _narrowing(module: Any, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    return Dense([module], dtype) if isinstance(module, torch.nn.Linear) else lambda x: x
