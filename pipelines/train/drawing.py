"""What a code predictor makes of many frames at once."""

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from transformers import DynamicCache


@torch.no_grad()
def draw_codes(
    talker: Any,
    hidden: Float[Tensor, "frames hidden"],
    first: Int64[Tensor, " frames"],
    *,
    temperature: float,
    dice: Float[Tensor, "frames codebooks_but_first"],
) -> Int64[Tensor, "frames codebooks"]:
    """All codes of frames whose first ones are known; `hidden` is the talker's last state before each.

    `dice` are even in [0, 1): what is drawn does not depend on which frames are drawn together.
    `voice.engine.predictor` draws the same codes, in three times the time: it is made for few rows.
    """
    predictor = talker.code_predictor
    inputs = torch.stack([hidden, talker.get_input_embeddings()(first).to(hidden.dtype)], dim=1)
    codes, cache = [first], DynamicCache()
    for embed, head, die in zip(predictor.get_input_embeddings(), predictor.lm_head, dice.T, strict=True):
        narrow = predictor.small_to_mtp_projection(inputs)
        out = predictor.model(inputs_embeds=narrow, past_key_values=cache, use_cache=True)
        codes.append(draw(head(out.last_hidden_state[:, -1]), temperature=temperature, dice=die))
        inputs = embed(codes[-1])[:, None].to(hidden.dtype)
    return torch.stack(codes, dim=1)


def draw(
    logits: Float[Tensor, "rows codes"], *, temperature: float, dice: Float[Tensor, " rows"]
) -> Int64[Tensor, " rows"]:
    """One code a row: the one at whose odds the die falls, all odds laid end to end."""
    ends = torch.softmax(logits.float() / temperature, dim=-1).cumsum(dim=-1)
    drawn = torch.searchsorted(ends, dice[:, None] * ends[:, -1:])[:, 0]
    return drawn.clamp(max=logits.shape[-1] - 1)  # NaN odds give one past the end; the loss names the clips
