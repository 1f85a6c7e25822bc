"""The talker over slots: from embeddings to hidden states and the logits of codebook 0."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from voice.engine.linear import Dense, Linear, Precision, maker
from voice.engine.native import NativeMatrix, NativeStack, can_run, has_int8_products
from voice.engine.transformer import Cache, Rotary, Stack
from voice.processor import has_bfloat16_products
from voice.prompt import NOTHING, Opening

SavedKeys = tuple[Tensor, Tensor]


def few_positions(weights: torch.dtype) -> int:
    """Up to how many the kernels read a prompt faster than PyTorch, with matrices of this dtype."""
    return {
        torch.float32: 16,
        torch.bfloat16: 4 if has_bfloat16_products() else 64,  # else PyTorch widens the matrix first
        torch.int8: 96 if multiplies_prompts(weights) else 48,  # 96: PyTorch is faster at the attention alone
    }[weights]


def multiplies_prompts(weights: torch.dtype) -> bool:
    """Whether the kernels' products are the faster ones for any number of positions."""
    return weights == torch.int8 and has_int8_products()


class Talker:
    """Weights and cache. Rows of the cache are slots; each slot has a length of its own."""

    def __init__(self, talker: Any, *, slots: int, positions: int, precision: Precision, dtype: torch.dtype) -> None:
        if talker.config.sliding_window is not None:
            raise ValueError("a talker with a sliding window is not supported")
        # no more of the library's module is held: its layers' weights are ours now
        self._text_embedding, projection = talker.model.text_embedding.weight.detach(), talker.text_projection
        self._text_projection = [Dense([part], dtype) for part in (projection.linear_fc1, projection.linear_fc2)]
        self._act = projection.act_fn
        self._dtype = dtype
        make = maker(precision)
        self._stack = Stack(talker.model, talker.config, make, dtype)
        self._rotary = Rotary(talker.model.rotary_emb, positions, dtype)
        self._few = few_positions(self._stack.layers[0].qkv.weight.dtype)
        self._head: Linear = make([talker.codec_head])
        self._codec_embedding = talker.model.codec_embedding.weight.detach()
        self.device, self.positions = self._codec_embedding.device, positions
        self.like = torch.empty(0, talker.config.hidden_size, dtype=dtype, device=self.device)
        self.allocate(slots)
        self._reader = self._stack
        if self._native is not None:
            self._head = NativeMatrix(self._head)
            if multiplies_prompts(self._stack.layers[0].qkv.weight.dtype):
                self._reader = self._stack.multiplied_by(NativeMatrix)

    def allocate(self, slots: int) -> None:
        """Begin anew with so many slots."""
        self.slots = slots
        self.cache = Cache(self._stack, slots=slots, positions=self.positions, like=self.like)
        self._native = NativeStack(self._stack, self.cache, self._rotary) if can_run(self._stack) else None

    def release(self) -> None:
        """Give the cache's memory back; `allocate` makes it anew."""
        self.slots = 0
        self._native = None
        vars(self).pop("cache", None)  # not there where allocating has failed

    @torch.inference_mode()
    def embed_text(self, ids: Int64[Tensor, " n"]) -> Float[Tensor, "n width"]:
        """Text ids as the talker reads them."""
        widen, narrow = self._text_projection
        return narrow(self._act(widen(functional.embedding(ids.to(self.device), self._text_embedding).to(self._dtype))))

    def embed_opening(
        self, opening: Opening, *, embedding: Tensor | None, frames: Float[Tensor, "frames width"] | None
    ) -> Float[Tensor, "length width"]:
        """The talker's inputs before the first frame: both channels, the speaker, and the reference's frames."""
        codec = opening.codec.to(self.device)
        inputs = self.embed_text(opening.text)
        stands = (codec != NOTHING)[:, None]
        inputs = inputs + functional.embedding(codec.clamp(min=0), self._codec_embedding).to(inputs) * stands
        if opening.speaker_at is not None and embedding is not None:
            inputs[opening.speaker_at] += embedding.to(inputs)
        if frames is not None:
            inputs[opening.frames_at :] += frames
        return inputs

    def prefill(
        self, slot: int, start: int, inputs: Float[Tensor, "n width"]
    ) -> tuple[Float[Tensor, " width"], Float[Tensor, " vocabulary"]]:
        """Read inputs at `start` of a slot whose earlier positions are cached: the last one's hidden and logits."""
        n, end = len(inputs), start + len(inputs)
        if self._native is not None and n <= self._few:
            hidden = self._native(inputs, [slot] * n, range(start, end))[-1]
            return hidden, self._head(hidden[None])[0].float()
        keys, values = self.cache.keys, self.cache.values
        sees = torch.arange(end, device=self.device) <= torch.arange(start, end, device=self.device)[:, None]

        def attend(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            keys[layer, slot, :, start:end] = key[0]
            values[layer, slot, :, start:end] = value[0]
            mask = sees.repeat(query.shape[2] // n, 1)
            return functional.scaled_dot_product_attention(
                query, keys[layer, slot, None, :, :end], values[layer, slot, None, :, :end], attn_mask=mask
            )

        cos, sin = (t[None, start:end, None] for t in (self._rotary.cos, self._rotary.sin))
        hidden = self._reader(inputs[None], cos, sin, attend)[0, -1]
        return hidden, self._head(hidden[None])[0].float()

    def read_padded(
        self,
        inputs: Float[Tensor, "n width"],
        slot: Int64[Tensor, " 1"],
        at: Int64[Tensor, " n"],
        last: Int64[Tensor, " 1"],
        length: int,
    ) -> tuple[Float[Tensor, " width"], Float[Tensor, " vocabulary"]]:
        """As `prefill`, over the first `length` positions of a slot: nothing depends on the host.

        What stands after `last` is padding: it is written where the next positions will be, and read by nobody.
        """
        sees = torch.arange(length, device=self.device) <= at[:, None]
        keys, values = self.cache.keys, self.cache.values

        def attend(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            keys[layer][slot, :, at] = key[0].transpose(0, 1)
            values[layer][slot, :, at] = value[0].transpose(0, 1)
            own_keys, own_values = (cache[layer, :, :, :length].index_select(0, slot) for cache in (keys, values))
            mask = sees.repeat(query.shape[2] // len(inputs), 1)
            return functional.scaled_dot_product_attention(query, own_keys, own_values, attn_mask=mask)

        cos, sin = (t[at][None, :, None] for t in (self._rotary.cos, self._rotary.sin))
        hidden = self._stack(inputs[None], cos, sin, attend)[0].index_select(0, last)
        return hidden[0], self._head(hidden)[0].float()

    def save(self, slot: int, length: int) -> SavedKeys:
        """A copy of a slot's first positions."""
        return tuple(cache[:, slot, :, :length].clone() for cache in (self.cache.keys, self.cache.values))  # type: ignore[return-value]

    def load(self, slot: int, saved: SavedKeys) -> None:
        """Put positions back into a slot."""
        for cache, kept in zip((self.cache.keys, self.cache.values), saved, strict=True):
            cache[:, slot, :, : kept.shape[2]].copy_(kept)

    @property
    def is_native(self) -> bool:
        """Whether steps run in the CPU's own kernels: then some slots can move and the others cost nothing."""
        return self._native is not None

    def step_native(
        self, inputs: Float[Tensor, "rows width"], slots: Sequence[int], at: Sequence[int]
    ) -> tuple[Float[Tensor, "rows width"], Float[Tensor, "rows vocabulary"]]:
        """One position of some slots; what is in the batch changes nobody's numbers."""
        assert self._native is not None
        assert isinstance(self._head, NativeMatrix)
        return self._native.with_head(inputs, slots, at, self._head)

    def step(
        self, inputs: Float[Tensor, "slots width"], attend: Any, at: Int64[Tensor, " slots"]
    ) -> tuple[Float[Tensor, "slots width"], Float[Tensor, "slots vocabulary"]]:
        """One position of every slot, at its own place."""
        cos, sin = (t[at][:, None, None] for t in (self._rotary.cos, self._rotary.sin))
        hidden = self._stack(inputs[:, None], cos, sin, attend)[:, 0]
        return hidden, self._head(hidden).float()

    def attend_by_mask(self, at: Int64[Tensor, " slots"], length: int) -> Any:
        """Attention of a step over the first `length` positions, longer than any slot: nothing depends on the host."""
        rows = torch.arange(self.slots, device=self.device)
        mask = (torch.arange(length, device=self.device) <= at[:, None])[:, None, None]
        keys, values = self.cache.keys, self.cache.values

        def attend(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            keys[layer][rows, :, at] = key[:, :, 0]
            values[layer][rows, :, at] = value[:, :, 0]
            return functional.scaled_dot_product_attention(
                query, keys[layer, :, :, :length], values[layer, :, :, :length], attn_mask=mask
            )

        return attend

    def attend_one_by_one(self, lengths: list[int | None]) -> Any:
        """Attention of a step on the CPU: each slot over its own positions, so that none can touch another's result.

        `lengths` are the positions before this step; None for an idle slot.
        """
        keys, values = self.cache.keys, self.cache.values

        def attend(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            mixed = torch.zeros_like(query) if len(lengths) > 1 else query
            for slot, at in enumerate(lengths):
                if at is None:
                    continue
                keys[layer, slot, :, at] = key[slot, :, 0]
                values[layer, slot, :, at] = value[slot, :, 0]
                row = slice(slot, slot + 1)
                one = functional.scaled_dot_product_attention(
                    query[row], keys[layer, row, :, : at + 1], values[layer, row, :, : at + 1]
                )
                if len(lengths) == 1:
                    return one
                mixed[row] = one
            return mixed

        return attend
